import dataclasses
import math

import pytest

from lm_eval_mdlm.decoding.policies import (
    ConfidenceFactor,
    ConfidenceThreshold,
    EntropyBound,
    EvenSchedule,
    FixedK,
    MultiTokenEntropy,
)
from lm_eval_mdlm.decoding.samplers.ada_block import AdaBlock
from lm_eval_mdlm.decoding.samplers.credit import Credit
from lm_eval_mdlm.decoding.samplers.dream import Dream
from lm_eval_mdlm.decoding.samplers.dus import DilatedSchedule
from lm_eval_mdlm.decoding.samplers.edit import Edit
from lm_eval_mdlm.decoding.samplers.klass import Klass
from lm_eval_mdlm.decoding.samplers.local_leap import LocalLeap
from lm_eval_mdlm.decoding.samplers.remdm import ReMask
from lm_eval_mdlm.decoding.samplers.sliding_block import SlidingBlock
from lm_eval_mdlm.decoding.samplers.slow_fast import SlowFast
from lm_eval_mdlm.decoding.scores import by_confidence, by_entropy
from lm_eval_mdlm.decoding.wrapping import Deferred, Spaced
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig


def config(**options) -> DecodingConfig:
    return DecodingConfig.from_options(options)


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({}, FixedK(1, by_entropy)),
        ({"k": 4, "score": "confidence"}, FixedK(4, by_confidence)),
        ({"steps": 64}, EvenSchedule(64, by_entropy)),
        ({"sampler": "med"}, MultiTokenEntropy(0.2, None)),
        ({"sampler": "med", "entropy_threshold": 0.3, "k_max": 8}, MultiTokenEntropy(0.3, 8)),
        ({"sampler": "entropy_bound"}, EntropyBound(0.1)),
        ({"sampler": "confidence_threshold"}, ConfidenceThreshold(0.9)),
        ({"sampler": "confidence_factor"}, ConfidenceFactor(1.0)),
        ({"sampler": "slow_fast"}, SlowFast(0.1, 0.85, 8, 2, 1.0)),
        ({"sampler": "ada_block"}, AdaBlock(32, 0.9, 0.3, ("\n",))),
        ({"sampler": "ada_block", "delimiters": [198, "11", "."]}, AdaBlock(delimiters=(198, 11, "."))),
        ({"sampler": "sliding_block"}, SlidingBlock(32, None, 0.9)),
        ({"sampler": "dus"}, DilatedSchedule(1, 0.3)),
        ({"sampler": "remdm"}, ReMask(0.875, 32)),
        ({"sampler": "klass"}, Klass(0.9, 0.01, 2)),
        ({"sampler": "credit"}, Credit(0.9, 0.8, 0.2, 0.7)),
        ({"sampler": "local_leap"}, LocalLeap(0.9, 0.75, 4)),
        ({"sampler": "edit"}, Edit(0.7, 0.5, 16)),
        ({"sampler": "dream"}, Dream("entropy", None, 0.0, None, None)),
        ({"sampler": "dream", "alg": "origin", "temperature": 0.2, "top_p": 0.95}, Dream("origin", top_p=0.95)),
    ],
)
def test_options_make_the_policy_with_the_defaults_of_the_spec(options, policy):
    assert config(**options).policy() == policy


def test_values_may_arrive_as_text_or_as_whole_floats():
    got = config(sampler="med", entropy_threshold="0.3", k_max=4.0, stop_when_settled="true", seed=-1.0)
    assert got == config(sampler="med", entropy_threshold=0.3, k_max=4, stop_when_settled=True, seed=-1)
    assert isinstance(got.k_max, int) and isinstance(got.seed, int)


def test_request_options_are_laid_over_the_models():
    base = config(sampler="med", gen_length=64, seed=3)
    over = DecodingConfig.from_options({"gen_length": 32, "entropy_threshold": 0.5}, base)
    assert over == config(sampler="med", entropy_threshold=0.5, gen_length=32, seed=3)


@pytest.mark.parametrize(
    ("model", "request_", "message"),
    [
        ({"exit_threshold": 0.5}, {"exit_rule": "confidence"}, "exit_threshold=0.5 was given for exit_rule=entropy"),
        ({"exit_threshold": 3}, {"exit_rule": "stable"}, "and would be read by exit_rule=stable, in another unit"),
        ({"exit_rule": "confidence", "exit_threshold": 0.9}, {"exit_threshold": 0.5}, "was given for exit_rule=ent"),
        ({"exit_rule": "confidence", "exit_threshold": 0.9}, {"exit_rule": None}, "was given for exit_rule=confidence"),
    ],
    ids=str,
)
def test_a_threshold_is_not_read_by_another_rule_than_it_was_given_for(model, request_, message):
    with pytest.raises(UsageError, match=message) as caught:
        DecodingConfig.from_options(request_, config(**model))
    assert "\n" not in str(caught.value)
    both = {"exit_rule": model.get("exit_rule"), "exit_threshold": model["exit_threshold"], **request_}
    if both["exit_rule"]:
        assert DecodingConfig.from_options(both, config(**model)).exit_rule == both["exit_rule"]


@pytest.mark.parametrize(
    ("model", "request_"),
    [
        ({"exit_threshold": 0.5}, {"exit_rule": "entropy"}),
        ({"exit_threshold": 0.5}, {"exit_threshold": 0.7}),
        ({"exit_threshold": 0.5}, {"exit_rule": "logit_gap", "exit_threshold": None}),
        ({"exit_rule": "logit_gap"}, {"exit_rule": "confidence", "exit_threshold": 0.7}),
        ({"exit_rule": "confidence", "exit_threshold": 0.9}, {"exit_rule": None, "exit_threshold": None}),
        ({"exit_rule": "confidence", "exit_threshold": 0.9}, {"k": 2}),
    ],
    ids=str,
)
def test_rules_and_thresholds_of_two_places_that_mean_the_same_go_together(model, request_):
    assert DecodingConfig.from_options(request_, config(**model))


def test_none_takes_an_option_back_to_its_default():
    base = config(template=[{"answer": 2}], block_length=8)
    over = DecodingConfig.from_options({"template": None, "block_length": None}, base)
    assert over == config()


def test_effective_options_name_every_default_that_acts():
    effective = config(sampler="med").effective()
    assert (effective["entropy_threshold"], effective["k_max"], effective["gen_length"]) == (0.2, None, 256)
    assert "k" not in effective and "factor" not in effective
    assert config().effective()["score"] == "entropy"
    shaped = config(sampler="dream", top_p=0.9).effective()
    assert (shaped["alg"], shaped["steps"], shaped["top_p"], shaped["block_length"]) == ("entropy", None, 0.9, None)
    named = config(template=[{"reasoning": 6}, {"text": "x"}, {"answer": 2}]).effective()
    assert (named["gen_length"], named["template"]) == (8, [{"reasoning": 6}, {"text": "x"}, {"answer": 2}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_lenght": 3}, "unknown decoding option 'block_lenght'. Did you mean 'block_length'"),
        ({"sampler": "mde"}, "sampler must be one of .* got 'mde'. Did you mean 'med'"),
        ({"score": "entropi"}, "Did you mean 'entropy'"),
        ({"k": 0}, "k must be a whole number, at least 1, got 0"),
        ({"k": 2**31}, "k must be a whole number, at most 2147483647, got 2147483648"),
        ({"sampler": "dream", "steps": 1e30}, "steps must be a whole number, at most 1000000, got 1e"),
        ({"temperature": 1e-310}, "temperature must be 0 or at least 1e-100, got 1e-310"),
        ({"sampler": "dream", "alg_temp": 1e-310}, "alg_temp must be 0 or at least 1e-100"),
        ({"sampler": "credit", "credit_strength": 1e39}, "credit_strength must be a number from 0 to 1e"),
        ({"exit_rule": "stable", "exit_threshold": math.inf}, "a number of passes from 1 on, got inf"),
        ({"k": 1.5}, "k must be a whole number"),
        ({"k": True}, "k must be a whole number"),
        ({"k": "two"}, "k must be a whole number"),
        ({"k": math.inf}, "k must be a whole number"),
        ({"steps": 0}, "steps must be"),
        ({"k": 2, "steps": 8}, "k and steps exclude each other"),
        ({"gen_length": 0}, "gen_length must be"),
        ({"block_length": -1}, "block_length must be"),
        ({"sampler": "med", "entropy_threshold": math.nan}, "entropy_threshold must be a number at least 0, got nan"),
        ({"sampler": "med", "entropy_threshold": -0.1}, "entropy_threshold must be a number at least 0, got -0.1"),
        ({"sampler": "med", "k_max": 0}, "k_max must be"),
        ({"sampler": "entropy_bound", "entropy_bound": -1}, "entropy_bound must be"),
        ({"sampler": "confidence_threshold", "confidence_threshold": 1.1}, "from 0 to 1, got 1.1"),
        ({"sampler": "confidence_factor", "factor": "x"}, "factor must be a number"),
        ({"exit_threshold": -1}, "exit_threshold must be"),
        ({"temperature": -1}, "temperature must be"),
        ({"cfg_scale": math.nan}, "cfg_scale must be"),
        ({"cfg_scale": 1e39}, r"cfg_scale must be a number from 0 to 1e\+06, got 1e\+39"),
        ({"stop_when_settled": "maybe"}, "stop_when_settled must be True or False"),
        ({"until": 3}, "until must be a string or a list"),
        ({"suppress_tokens": [1.5]}, "suppress_tokens must hold"),
        ({"k": 2, "sampler": "med"}, "k=2 belongs to sampler=fixed_k and would be ignored by sampler=med"),
        ({"entropy_threshold": 0.2}, "entropy_threshold=0.2 belongs to sampler=med"),
        ({"template": "nonsense"}, "template must be JSON"),
        ({"sampler": "slow_fast", "slow_threshold": 2}, "slow_threshold must be a number from 0 to 1, got 2"),
        ({"sampler": "slow_fast", "max_slow_steps": 0}, "max_slow_steps must be a whole number, at least 1, got 0"),
        ({"sampler": "slow_fast", "stable_window": 0}, "stable_window must be"),
        ({"sampler": "slow_fast", "stable_variance": -1}, "stable_variance must be"),
        ({"sampler": "slow_fast", "block_length": 8}, "block_length=8 would be ignored by sampler=slow_fast"),
        ({"sampler": "slow_fast", "cache": "dual"}, "sampler=slow_fast has no fixed blocks; leave cache out"),
        ({"sampler": "sliding_block", "cache": "prefix"}, "sampler=sliding_block has no fixed blocks"),
        ({"sampler": "sliding_block", "max_block_length": 0}, "max_block_length must be"),
        ({"sampler": "ada_block", "delimiters": ""}, "delimiters must hold texts or token ids, got ''"),
        ({"sampler": "ada_block", "delimiters": []}, "delimiters must hold texts or token ids"),
        ({"sampler": "ada_block", "delimiters": [1.5]}, "delimiters must hold texts or token ids"),
        ({"sampler": "ada_block", "delimiters": True}, "delimiters must hold texts or token ids"),
        ({"sampler": "ada_block", "delimiter_threshold": -0.1}, "delimiter_threshold must be"),
        ({"sampler": "dus", "skip": 0}, "skip must be a whole number, at least 1, got 0"),
        ({"sampler": "dus", "remask_below": 1.5}, "remask_below must be a number from 0 to 1"),
        ({"sampler": "dus", "delimiters": 5}, r"delimiters=\(5,\) belongs to sampler=ada_block and would be ignored"),
        ({"sampler": "remdm", "remdm_share": 1.5}, "remdm_share must be a number from 0 to 1"),
        ({"sampler": "remdm", "remdm_loops": -1}, "remdm_loops must be a whole number, at least 0, got -1"),
        ({"sampler": "remdm", "block_length": 8}, "block_length=8 would be ignored by sampler=remdm"),
        ({"remdm_loops": 3}, "remdm_loops=3 belongs to sampler=remdm"),
        ({"score": "pc"}, "score=pc needs token_frequencies=FILE, which lm-eval-mdlm frequencies writes"),
        ({"score": "pc", "token_frequencies": 3}, "token_frequencies must name a file, got 3"),
        ({"score": "pc", "token_frequencies": "no/file"}, "token_frequencies=no/file must be a file"),
        ({"pc_lambda": 0.5}, "pc_lambda=0.5 belongs to score=pc and would be ignored by score=entropy"),
        ({"score": "margin", "pc_alpha": 5}, "pc_alpha=5.0 belongs to score=pc and would be ignored by score=margin"),
        ({"sampler": "med", "pc_alpha": 5}, "pc_alpha=5.0 belongs to sampler=fixed_k"),
        ({"score": "pc", "pc_alpha": 0}, "pc_alpha must be above 0, got 0"),
        ({"min_distance": -1}, "min_distance must be a number at least 0, got -1"),
        ({"min_distance": math.inf}, "min_distance must be a finite number"),
        ({"defer_end_of_text": "maybe"}, "defer_end_of_text must be True or False"),
        ({"sampler": "klass", "kl_threshold": -0.1}, "kl_threshold must be a number at least 0, got -0.1"),
        ({"sampler": "klass", "history": 0}, "history must be a whole number, at least 1, got 0"),
        ({"sampler": "klass", "radius": 2}, "radius=2 belongs to sampler=local_leap and would be ignored by"),
        ({"sampler": "credit", "credit_decay": 1.5}, "credit_decay must be a number from 0 to 1, got 1.5"),
        ({"sampler": "credit", "credit_exponent": -1}, "credit_exponent must be a number at least 0, got -1"),
        ({"sampler": "credit", "credit_strength": "inf"}, "credit_strength must be a number from 0 to 1e"),
        ({"sampler": "local_leap", "relaxed_threshold": 0.95}, r"at most confidence_threshold \(0.9\), got 0.95"),
        ({"sampler": "local_leap", "radius": 0}, "radius must be a whole number, at least 1"),
        ({"sampler": "med", "steps": 4}, "steps=4 belongs to sampler=fixed_k or dream and would be ignored"),
        ({"kl_threshold": 0.1}, "kl_threshold=0.1 belongs to sampler=klass and would be ignored by sampler=fixed_k"),
        ({"alg": "entropy"}, "alg=entropy belongs to sampler=dream and would be ignored by sampler=fixed_k"),
        ({"sampler": "dream", "alg": "margin"}, "alg must be one of .* What others call so is topk_margin here"),
        ({"sampler": "dream", "alg_temp": -1}, "alg_temp must be a number at least 0, got -1"),
        ({"sampler": "dream", "alg": "origin", "alg_temp": 0.1}, "alg_temp=0.1 would be ignored by alg=origin"),
        ({"sampler": "dream", "block_length": 8}, "block_length=8 would be ignored by sampler=dream"),
        ({"sampler": "dream", "cache": "dual"}, "cache=dual keeps what is outside of a block, and sampler=dream"),
        ({"sampler": "dream", "min_p": 0.1}, "min_p=0.1 would be ignored by sampler=dream as it is set here"),
        ({"sampler": "dream", "alg": "origin", "top_p": 0.9}, "top_p=0.9 would be ignored by sampler=dream"),
        ({"sampler": "dream", "alg": "origin", "top_k": 9}, "top_k=9 would be ignored by sampler=dream"),
    ],
)
def test_bad_option_is_refused_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        config(**options)
    assert "\n" not in str(caught.value)


def test_options_over_all_samplers_wrap_them_and_stand_beside_theirs_in_the_record():
    both = config(sampler="sliding_block", block_length=7, min_distance=4, defer_end_of_text="true")
    assert both.policy() == Spaced(Deferred(SlidingBlock(7)), 4.0)
    record = both.effective()
    assert (record["block_length"], record["max_block_length"], record["confidence_threshold"]) == (7, None, 0.9)
    assert (record["min_distance"], record["defer_end_of_text"]) == (4.0, True)
    assert config(sampler="ada_block").effective()["delimiters"] == ["\n"]
    assert config(sampler="ada_block").effective()["block_length"] == 32
    assert config(sampler="remdm").effective()["block_length"] is None


def test_exit_needs_an_answer_to_watch():
    with pytest.raises(UsageError, match="exit_threshold=0.1 needs a template with an answer segment"):
        config(exit_threshold=0.1, template=[{"reasoning": 4}]).resolved_template()
    assert config(exit_threshold=0.1, template=[{"answer": 4}]).resolved_template() is not None


def test_every_field_can_be_given_as_an_option():
    for field in dataclasses.fields(DecodingConfig):
        # The harness reads the word none on a command line as None.
        expected = config(cache="none") if field.name == "cache" else config()
        assert DecodingConfig.from_options({field.name: None}) == expected


@pytest.mark.parametrize("seed", [2**53 + 1, -(2**62) - 1])
def test_large_seeds_are_not_rounded(seed):
    assert config(seed=seed).seed == seed


@pytest.mark.parametrize("text", ["null", "none", "None"])
def test_template_can_be_taken_away_on_a_command_line(text):
    base = config(template=[{"answer": 2}])
    assert DecodingConfig.from_options({"template": text}, base).template is None

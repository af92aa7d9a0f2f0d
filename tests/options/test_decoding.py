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
from lm_eval_mdlm.decoding.samplers.credit import Credit
from lm_eval_mdlm.decoding.samplers.dream import Dream
from lm_eval_mdlm.decoding.samplers.klass import Klass
from lm_eval_mdlm.decoding.samplers.local_leap import LocalLeap
from lm_eval_mdlm.decoding.scores import by_confidence, by_entropy
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
        ({"sampler": "klass"}, Klass(0.9, 0.01, 2)),
        ({"sampler": "credit"}, Credit(0.9, 0.8, 0.2, 0.7)),
        ({"sampler": "local_leap"}, LocalLeap(0.9, 0.75, 4)),
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
        ({"stop_when_settled": "maybe"}, "stop_when_settled must be True or False"),
        ({"until": 3}, "until must be a string or a list"),
        ({"suppress_tokens": [1.5]}, "suppress_tokens must hold"),
        ({"k": 2, "sampler": "med"}, "k=2 belongs to sampler=fixed_k and would be ignored by sampler=med"),
        ({"entropy_threshold": 0.2}, "entropy_threshold=0.2 belongs to sampler=med"),
        ({"template": "nonsense"}, "template must be JSON"),
        ({"sampler": "klass", "kl_threshold": -0.1}, "kl_threshold must be a number at least 0, got -0.1"),
        ({"sampler": "klass", "history": 0}, "history must be a whole number, at least 1, got 0"),
        ({"sampler": "klass", "radius": 2}, "radius=2 belongs to sampler=local_leap and would be ignored by"),
        ({"sampler": "credit", "credit_decay": 1.5}, "credit_decay must be a number from 0 to 1, got 1.5"),
        ({"sampler": "credit", "credit_exponent": -1}, "credit_exponent must be a number at least 0, got -1"),
        ({"sampler": "credit", "credit_strength": "inf"}, "credit_strength must be a finite number"),
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


def test_exit_needs_an_answer_to_watch():
    with pytest.raises(UsageError, match="exit_threshold=0.1 needs a template with an answer segment"):
        config(exit_threshold=0.1, template=[{"reasoning": 4}]).resolved_template()
    assert config(exit_threshold=0.1, template=[{"answer": 4}]).resolved_template() is not None


def test_every_field_can_be_given_as_an_option():
    for field in dataclasses.fields(DecodingConfig):
        assert DecodingConfig.from_options({field.name: None}) == config()


@pytest.mark.parametrize("seed", [2**53 + 1, -(2**62) - 1])
def test_large_seeds_are_not_rounded(seed):
    assert config(seed=seed).seed == seed


@pytest.mark.parametrize("text", ["null", "none", "None"])
def test_template_can_be_taken_away_on_a_command_line(text):
    base = config(template=[{"answer": 2}])
    assert DecodingConfig.from_options({"template": text}, base).template is None

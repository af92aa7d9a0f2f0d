"""Names of other tools: what to write instead, and no guess from spelling where the word means something else."""

import re

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.foreign_names import INSTEAD, VALUES
from lm_eval_mdlm.options.likelihood import LIKELIHOODS, LikelihoodConfig
from lm_eval_mdlm.options.loading import LoadingConfig, split_options
from lm_eval_mdlm.options.samplers import SAMPLERS, SCORES


KNOWN = {*DecodingConfig.names(), *LikelihoodConfig.names(), *LoadingConfig.__dataclass_fields__}


def message_of(name: str, border) -> str:
    with pytest.raises(UsageError) as caught:
        border({name: 1})
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("border", [split_options, DecodingConfig.from_options], ids=["model_args", "gen_kwargs"])
@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_foreign_name_is_answered_with_what_to_write(name, border):
    text = message_of(name, border)
    assert f"'{name}'" in text and "here write" in text and "Did you mean" not in text


def test_every_advice_names_only_options_that_exist():
    assert not KNOWN & set(INSTEAD)
    for name, advice in INSTEAD.items():
        for option in re.findall(r"(\w+)=", advice):
            assert option in KNOWN or option == "w", (name, option)
        for sampler in re.findall(r"sampler=([a-z_]+)", advice):
            assert sampler in SAMPLERS, name
        for likelihood in re.findall(r"likelihood=([a-z0-9_]+)", advice):
            assert likelihood in LIKELIHOODS, name
        for score in re.findall(r"score=([a-z_]+)", advice):
            assert score in SCORES, name


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("threshold", "sampler=confidence_threshold"),
        ("block_size", "block_length"),
        ("diffusion_steps", "steps="),
        ("num_inference_steps", "steps="),
        ("remasking", "score=confidence"),
        ("algorithm", "sampler=dream"),
        ("credit_alpha", "sampler=credit,credit_strength"),
        ("cfg", "cfg_scale"),
        ("model_path", "pretrained"),
        ("logits_eos_inf", "suppress_tokens"),
        ("dynamic_threshold", "sampler=confidence_threshold"),
        ("editing_threshold", "sampler=edit,edit_threshold"),
    ],
)
def test_names_of_the_peers_that_users_asked_about(name, advice):
    for border in (split_options, DecodingConfig.from_options):
        assert advice in message_of(name, border)


@pytest.mark.parametrize("name", ["kl_limit", "answer_threshold", "min_threshold", "early_threshold", "exit_step"])
def test_word_that_only_shares_a_part_is_not_taken_for_a_misspelling(name):
    assert "Did you mean" not in message_of(name, DecodingConfig.from_options)


@pytest.mark.parametrize(
    ("name", "meant"), [("exit_treshold", "exit_threshold"), ("gen_lenght", "gen_length"), ("sed", "seed")]
)
def test_slip_of_a_letter_is_answered_with_the_name(name, meant):
    assert f"Did you mean '{meant}'?" in message_of(name, DecodingConfig.from_options)


@pytest.mark.parametrize(("option", "value"), sorted(VALUES))
def test_foreign_value_is_answered_with_ours(option, value):
    with pytest.raises(UsageError, match="What others call so is"):
        DecodingConfig.from_options({option: value})

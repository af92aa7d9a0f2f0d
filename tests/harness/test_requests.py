"""Options of a request as the harness and its tasks spell them."""

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.requests import asked_for
from lm_eval_mdlm.options.foreign_names import LENGTH_NAMES


def test_harness_names_become_options():
    assert asked_for({"do_sample": False, "temperature": 0.7}, {}).options == {"temperature": 0.0}
    assert asked_for({"do_sample": 0, "temperature": 0.7}, {}).options == {"temperature": 0.0}
    assert asked_for({"do_sample": True, "temperature": 0.7}, {}).options == {"temperature": 0.7}
    assert asked_for({"top_p": 0.95, "num_beams": 1}, {}).options == {"top_p": 0.95}
    with pytest.raises(UsageError, match="do_sample must be True or False, got 'maybe'"):
        asked_for({"do_sample": "maybe"}, {})


@pytest.mark.parametrize(
    "options", [{"num_beams": 10}, {"repetition_penalty": 1.2}, {"num_beams": 2, "do_sample": True}]
)
def test_decoding_of_other_kinds_of_model_is_refused_with_the_option_to_set(options):
    name = next(iter(options))
    with pytest.raises(UsageError, match=f"{name}=.* is not available for .* add {name}=1"):
        asked_for(options, {})


@pytest.mark.parametrize("task_name", LENGTH_NAMES)
@pytest.mark.parametrize("own_name", ["gen_length", *LENGTH_NAMES])
def test_length_of_the_command_line_wins_however_it_is_spelt(task_name, own_name):
    asked = asked_for({"until": [], task_name: 64, own_name: 8}, {own_name: 8})
    explicit = asked.options.get("gen_length")
    assert (asked.free_length or ("gen_length", explicit)) == (own_name, 8)
    assert asked.passed_over is None and not set(LENGTH_NAMES) & set(asked.options)
    assert (explicit is None) == (own_name != "gen_length")


@pytest.mark.parametrize("name", LENGTH_NAMES)
def test_command_line_wins_over_a_gen_length_of_the_task(name):
    asked = asked_for({"gen_length": 116, name: 8}, {name: 8})
    assert asked.free_length == (name, 8) and "gen_length" not in asked.options


def test_harness_names_without_a_value_say_nothing():
    assert asked_for({"max_gen_toks": None, "max_tokens": None, "gen_length": 4}, {}).options == {"gen_length": 4}
    assert asked_for({"max_gen_toks": None, "num_beams": None}, {}).options == {}


def test_one_of_several_lengths_from_one_place_is_taken_and_the_other_said():
    asked = asked_for({"max_new_tokens": 9, "max_gen_toks": 64}, {})
    assert asked.free_length == ("max_gen_toks", 64) and "max_new_tokens=9 gives way" in asked.passed_over
    assert asked_for({"max_new_tokens": 9, "max_gen_toks": 9}, {}).passed_over is None
    assert asked_for({"max_new_tokens": None, "max_gen_toks": 9}, {}).free_length == ("max_gen_toks", 9)

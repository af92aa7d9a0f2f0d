"""Chat templates, thinking and special tokens, as the harness and its tasks use them."""

import logging

import pytest
from lm_eval.api.instance import Instance
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from tests.tiny import make_checkpoint


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
NO_SYSTEM = {
    "refused by name": "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}",
    "turns must alternate": "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}",
    "an undefined name": "{% for m in messages %}{{ {'user': 'U', 'assistant': 'A'}[m.role].upper() }}{% endfor %}",
}


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "lm_eval.mdlm"]


@pytest.mark.parametrize("template", NO_SYSTEM.values(), ids=NO_SYSTEM)
def test_system_turn_that_a_template_refuses_is_dropped_with_one_line(checkpoint, said, template):
    model = MDLM(checkpoint, device="cpu")
    model.tokenizer.chat_template = template + "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    for _ in range(3):
        assert model.apply_chat_template(TURNS).endswith("[Hello]")
    assert sum("system turns are left out" in line for line in said()) == 1
    assert "Be brief." not in model.apply_chat_template(TURNS)


@pytest.mark.parametrize("turns", [TURNS[1:], TURNS, [{"role": "tool", "content": "x"}]])
def test_template_that_refuses_other_roles_too_ends_in_one_line(checkpoint, turns):
    model = MDLM(checkpoint, device="cpu")
    model.tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(UsageError, match=r"the chat template refuses the roles .* \(never\)") as caught:
        model.apply_chat_template(turns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "--"),
        ({"enable_thinking": True, "think_end_token": "</think>"}, "True--"),
        ({"enable_thinking": "False"}, "False--"),
        ({"chat_template_args": {"style": "plain"}}, "-plain-"),
        ({"chat_template_args": {"style": 2, "enable_thinking": True}, "enable_thinking": False}, "False-2-"),
    ],
)
def test_variables_of_the_chat_template_reach_it(checkpoint, options, text):
    model = MDLM(checkpoint, device="cpu", **options)
    model.tokenizer.chat_template = "{{ enable_thinking }}-{{ style }}-"
    assert model.apply_chat_template(TURNS[1:]) == text


def test_bad_variables_are_refused(checkpoint):
    with pytest.raises(UsageError, match="chat_template_args must be a mapping"):
        MDLM(checkpoint, device="cpu", chat_template_args="style=plain")


def read(model: MDLM, tokens: str, **generation_kwargs) -> str:
    request = Instance("generate_until", {}, ("x", {"until": [], **generation_kwargs}), 0, ("mine", 0, 1))
    (posed,) = model._reader.rows([request], model._run)
    rule = posed.question.plan(model.backbone).text_rule
    ids = model.tokenizer.encode(tokens, add_special_tokens=False)
    return rule.read([*ids, *[model.backbone.mask_token_id] * 300][: rule.spans[-1].stop]).text


@pytest.fixture(scope="module", params=["llada", "dream"])
def families(request, tmp_path_factory):
    marker = {"llada": "<|start_header_id|>", "dream": "<|im_start|>"}[request.param]
    folder = make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)
    return MDLM(str(folder), device="cpu"), marker


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("{m}", "It is 18."),
        ("{m}user", "It is 18."),
        ("18.{m}", "It is "),
        ("{m}assistant", "It is 18.user Next"),
        ("{m}nobody", "It is 18.user Nextassistant"),
        ("Next", "It is 18.user "),
    ],
)
def test_stop_strings_with_special_tokens_match_in_the_text_with_them_written_out(families, stop, text):
    model, marker = families
    tokens = f"It is 18.{marker}user Next{marker}assistant"
    assert read(model, tokens, until=[stop.format(m=marker)]) == text
    assert marker not in read(model, tokens)


@pytest.mark.parametrize("spelt", ["text", "id", "id as text"])
def test_thinking_ends_at_a_text_or_a_token(families, spelt):
    model, marker = families
    number = model.tokenizer.convert_tokens_to_ids(marker)
    end = {"text": marker, "id": number, "id as text": str(number)}[spelt]
    tokens = f"Stop here. {marker} or there {marker}\n\nIt is 18. Stop"
    assert read(model, tokens, think_end_token=end, until=["Stop", "\n"]) == "It is 18. "
    assert read(model, "never ends", think_end_token=end) == "never ends"


@pytest.mark.parametrize("think_end", [True, "", 1.5, ["a"]])
def test_bad_end_of_thinking_is_refused(checkpoint, think_end):
    with pytest.raises(UsageError, match="think_end_token must be a text or a token id"):
        MDLM(checkpoint, device="cpu", think_end_token=think_end)


def test_sampling_restrictions_of_stock_tasks_change_nothing_at_temperature_zero(checkpoint, tasks):
    def texts(**gen_kwargs):
        manager = TaskManager(include_path=tasks, include_defaults=False)
        options = {"limit": 3, "bootstrap_iters": 2, "task_manager": manager, "gen_kwargs": gen_kwargs or None}
        results = simple_evaluate(model=model, tasks=["pens"], **options)
        return [line["resps"] for line in results["samples"]["pens"]]

    model = MDLM(checkpoint, device="cpu", gen_length=8, block_length=8)
    plain = texts()
    for restriction in ({"top_p": 0.95}, {"top_k": 3}, {"min_p": 0.5}, {"top_p": 1.0, "top_k": -1, "min_p": 0}):
        assert texts(**restriction) == plain
    sampled = {"do_sample": True, "temperature": 9.0}
    assert texts(**sampled, top_k=1) == plain != texts(**sampled)
    assert texts(**sampled, top_p=1e-6) == plain == texts(**sampled, min_p=1.0)


def test_repeats_that_cannot_differ_are_said(checkpoint, said):
    model = MDLM(checkpoint, device="cpu", gen_length=4)
    request = Instance("generate_until", {}, ("x", {"until": []}), 0, ("mine", 0, 3))
    model.generate_until([request] * 3, disable_tqdm=True)
    assert sum("repeats of a document are all the same text" in line for line in said()) == 1

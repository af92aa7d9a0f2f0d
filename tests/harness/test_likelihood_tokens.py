"""Contexts and continuations become the tokens that lm_eval's own Hugging Face model would score."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.evaluation import Started
from lm_eval_mdlm.harness.model import MDLM
from tests.tiny import make_checkpoint, token_id


BOS_HABIT = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|startoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {
        "<|startoftext|>": {"id": "<|startoftext|>", "ids": [token_id("llada", "<|startoftext|>")], "tokens": []}
    },
}
PAIRS = [
    ("", "alpha"),
    ("", " alpha"),
    ("", "<|startoftext|>alpha"),
    ("Question: pens?\nAnswer:", " red pens"),
    ("Question: pens?\nAnswer: ", "red pens"),
    ("Question: pens?  \n ", "red"),
    ("The answ", "er is 12, or so they say at noon"),  # tokens across the seam
    ("The number of sol", "utions is the same as it was"),
    ("<|startoftext|>Ann has", " 3"),
    ("Ünklar 3.5", " é"),
    ("She sells", " 12 * 3 = 36 loaves. "),
]


@pytest.fixture(scope="module", params=["llada", "dream", "habit"])
def model(request, tmp_path_factory) -> MDLM:
    folder = make_checkpoint(tmp_path_factory.mktemp(request.param), "dream" if request.param == "dream" else "llada")
    if request.param == "habit":
        path = folder / "tokenizer.json"
        special = BOS_HABIT["special_tokens"]["<|startoftext|>"]
        special["tokens"] = ["<|startoftext|>"]
        path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": BOS_HABIT}))
    return MDLM(str(folder), device="cpu", mc_num=4)


class Reading(HFLM):
    """lm_eval's own model without a network: notes what it would score."""

    def __init__(self, tokenizer: Any, max_length: int, add_bos_token: bool | None = None) -> None:
        self.tokenizer, self._max_length, self.add_bos_token = tokenizer, max_length, add_bos_token
        self.custom_prefix_token_id, self.batch_size_per_gpu = None, 64
        self.enable_thinking, self.think_end_token = None, None
        self._rank, self._world_size, self.backend = 0, 1, "causal"
        self.cache_hook = SimpleNamespace(add_partial=lambda *args: None)
        self.noted: list[tuple[list[int], list[int]]] = []

    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> Any:
        self.noted += [(list(context), list(text)) for _, context, text in requests]
        return [(0.0, False)] * len(requests)


def ours(model: MDLM, requests: list[Instance], *, rolling: bool = False, chat: bool = False) -> list[Any]:
    run = model._new_run(Started(chat_template=chat))
    read = model._scores.rolling if rolling else model._scores.pairs
    return [
        (list(text.context_ids), list(text.text_ids)) for posed in read(requests, run) for text in posed.question.texts
    ]


def pairs(texts: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, 0, ("task", i, 1)) for i, pair in enumerate(texts)]


def test_pairs_have_lm_evals_own_tokens(model):
    theirs = Reading(model.tokenizer, 512)
    theirs.loglikelihood(pairs(PAIRS), disable_tqdm=True)
    found = ours(model, pairs(PAIRS))
    assert found == theirs.noted
    assert all(context and text for context, text in found)


@pytest.mark.parametrize("flag", [True, False])
def test_add_bos_token_concerns_contexts_and_never_texts(tmp_path, flag):
    checkpoint = str(make_checkpoint(tmp_path / "checkpoint", "llada"))
    model = MDLM(checkpoint, device="cpu", mc_num=4, add_bos_token=flag)
    bos = token_id("llada", "<|startoftext|>")
    for context, text in ours(model, pairs(PAIRS[3:8])):
        assert (context[0] == bos) == flag and bos not in context[1:] and bos not in text
    for context, text in ours(model, pairs(PAIRS[:2])):
        assert context == [bos] and bos not in text


def test_rendered_chats_have_lm_evals_own_tokens(model):
    turns = [[{"role": "user", "content": text}] for text in ("Which pens?", "Two loaves\n")]
    texts = [(model.apply_chat_template(turn), answer) for turn in turns for answer in ("alpha", "Beta gamma")]
    found = ours(model, pairs(texts), chat=True)
    bos = model.tokenizer.bos_token_id
    if model.tokenizer.encode("a")[0] != bos:
        theirs = Reading(model.tokenizer, 512)
        theirs.loglikelihood(pairs(texts), disable_tqdm=True)
        assert found == theirs.noted
    for (context, text), (rendered, answer) in zip(found, texts, strict=True):
        assert model.tokenizer.decode(context + text) == rendered + answer and context.count(bos) <= 1


def test_context_of_spaces_alone_is_the_prefix_and_its_spaces_are_scored(model):
    ((context, text),) = ours(model, pairs([("  ", "pens")]))
    assert context == [model.tokenizer.bos_token_id]
    assert model.tokenizer.decode(text) == "  pens"


def test_windows_of_long_texts_are_lm_evals_own(model):
    texts = ["She sells 12 loaves. " * 90, "A baker", ""]
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0, ("task", i, 1)) for i, text in enumerate(texts)]
    found = ours(model, requests, rolling=True)
    scored = [token for _, text in found for token in text]
    assert scored == [token for text in texts for token in model.tokenizer.encode(text, add_special_tokens=False)]
    assert all(len(context) == 1 or len(text) < 511 for context, text in found) and len(found) > 2
    if model.tokenizer.encode("a")[0] != model.tokenizer.bos_token_id:
        theirs = Reading(model.tokenizer, 511)
        theirs.loglikelihood_rolling(requests[:2], disable_tqdm=True)
        assert found == theirs.noted


def test_empty_continuation_is_refused_before_the_first_pass_by_one_line(model, monkeypatch):
    monkeypatch.setattr("lm_eval_mdlm.harness.model.answer_all", lambda *args, **kwargs: pytest.fail("a pass was run"))
    with pytest.raises(UsageError, match="task: the continuation '' has no tokens of its own") as caught:
        model.loglikelihood(pairs([("Question:", " yes"), ("Question:", "")]), disable_tqdm=True)
    assert "\n" not in str(caught.value)


def test_text_of_the_mask_is_ordinary_text_and_said(model, caplog):
    mask = model.tokenizer.decode([model.backbone.mask_token_id])
    found = ours(model, pairs([(f"Fill {mask}:", " pens"), ("Fill:", f" {mask}"), ("Fill:", " pens")]))
    assert not any(model.backbone.mask_token_id in context + text for context, text in found)
    assert [model.tokenizer.decode(context + text).endswith(f"Fill: {mask}") for context, text in found][1]
    assert "the text of the mask token stands in 2 of 3 texts to be scored or their contexts" in caplog.text

"""A BERT that has learnt some facts answers a cloze task and likelihood tasks through the harness."""

import functools
import json
import logging

import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, BertTokenizer

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from tests.harness.running import evaluate


COUNTRIES = ("ruritania", "zenda", "lilliput", "utopia", "erewhon", "elbonia", "sylvania", "freedonia")
CAPITALS = ("strelsau", "hentzau", "mildendo", "amaurot", "nowhere", "mudville", "castle", "marx")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "capital", "of", "is", ".", "a", "city", *COUNTRIES, *CAPITALS)
SHARED = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "the capital of {{country}} is",
    "metadata": {"version": 1},
}
CLOZE = {
    "task": "cloze",
    "output_type": "generate_until",
    "doc_to_target": "{{capital}}",
    "generation_kwargs": {"until": [], "template": [{"answer": 1}, {"text": " ."}]},
    "filter_list": [
        {"name": "word", "filter": [{"function": "regex", "regex_pattern": "^(\\w+)"}, {"function": "take_first"}]}
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
CHOICES = {
    "task": "choices",
    "output_type": "multiple_choice",
    "doc_to_choice": list(CAPITALS),
    "doc_to_target": "{{capital}}",
}
PAIRS = {"task": "pairs", "output_type": "loglikelihood", "doc_to_target": " {{capital}} ."}


def trained(folder):
    """A BERT that knows the facts, from a few seconds of training, with its tokenizer."""
    tokenizer = BertTokenizer(vocab={word: place for place, word in enumerate((*SPECIAL, *WORDS))})
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=48, hidden_dropout_prob=0.0, **sizes)
    config.attention_probs_dropout_prob = 0.0
    network = BertForMaskedLM(config)
    for weight in network.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)  # learns faster than from transformers' 0.02
    facts = [f"the capital of {a} is {b}" for a, b in zip(COUNTRIES, CAPITALS, strict=True)]
    kinds = [tokenizer([fact + end for fact in facts], return_tensors="pt")["input_ids"] for end in ("", " .")]
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(120):
        ids = kinds[step % 2]
        hidden = torch.zeros(ids.shape, dtype=torch.bool)
        hidden[:, 6 if step % 3 else 1 + step % (ids.shape[1] - 2)] = True
        labels = torch.where(hidden, ids, -100)
        loss = network(input_ids=ids.masked_fill(hidden, tokenizer.mask_token_id), labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(trained(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"country": a, "capital": b} for a, b in zip(COUNTRIES, CAPITALS, strict=True)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for task in (CLOZE, CHOICES, PAIRS):
        data = {"dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}}}
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump({**SHARED, **data, **task}))
    return str(folder)


@functools.cache
def network(folder):
    return AutoModelForMaskedLM.from_pretrained(folder).eval()


@torch.inference_mode()
def log_probs(folder, ids):
    """Of transformers' own network, for every position of a canvas."""
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    return network(folder)(input_ids=torch.tensor([[cls, *ids, sep]])).logits[0, 1:-1].log_softmax(dim=-1)


def words(text):
    return [len(SPECIAL) + WORDS.index(word) for word in text.split()]


def chain(folder, context, text):
    """Log-probability of `text` from left to right, later words masked."""
    mask, total = SPECIAL.index("[MASK]"), 0.0
    for place, word in enumerate(text):
        canvas = [*context, *text[:place], *[mask] * (len(text) - place)]
        total += float(log_probs(folder, canvas)[len(context) + place, word])
    return total


def test_a_cloze_task_is_filled_and_likelihoods_are_those_computed_directly(bert, folder):
    results = evaluate(bert, folder, ["cloze", "choices", "pairs"], likelihood="l2r", gen_length=None, batch_size=3)
    assert results["results"]["cloze"]["exact_match,word"] == 1.0
    assert results["results"]["choices"]["acc,none"] == 1.0
    for line in results["samples"]["cloze"]:
        assert line["resps"] == [[f"{line['doc']['capital']} ."]]
        assert (line["nfe"], line["tokens"], line["truncated"]) == (1, 1, 0)
    for line in results["samples"]["choices"]:
        context = words(f"the capital of {line['doc']['country']} is")
        expected = log_probs(bert, [*context, SPECIAL.index("[MASK]")])[-1]
        for capital, (response,) in zip(CAPITALS, line["resps"], strict=True):
            assert response[0] == pytest.approx(float(expected[words(capital)[0]]), abs=1e-4)
    for line in results["samples"]["pairs"]:
        context = words(f"the capital of {line['doc']['country']} is")
        expected = chain(bert, context, words(f"{line['doc']['capital']} ."))
        assert line["resps"][0][0][0] == pytest.approx(expected, abs=1e-4)


@pytest.fixture(scope="module")
def model(bert):
    return MDLM(bert, device="cpu", likelihood="l2r", batch_size=4)


def test_an_empty_context_is_what_stands_before_every_canvas(model, bert):
    text = "the capital of zenda"
    (pair,) = model.loglikelihood([Instance("loglikelihood", {}, ("", text), 0, ("t", 0, 1))])
    (rolling,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0, ("t", 0, 1))])
    assert pair[0] == rolling == pytest.approx(chain(bert, [], words(text)), abs=1e-4)


def test_long_text_is_scored_in_windows_that_end_before_what_stands_behind_them(bert):
    text = " ".join(["the capital of zenda is a city ."] * 9)
    ids = words(text)
    for options, room in (({}, 46), ({"max_length": 20}, 20)):
        model = MDLM(bert, device="cpu", likelihood="l2r", batch_size=8, **options)
        assert model.max_length == room
        (whole,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0, ("t", 0, 1))])
        parts = []
        for start in range(0, len(ids), room - 1):
            end = min(start + room - 1, len(ids))
            parts.append((ids[max(end - room, 0) : start], ids[start:end]))
        assert len(parts[-1][1]) < room - 1 and len(parts[-1][0]) > 1  # a short last window has more context
        assert whole == pytest.approx(sum(chain(bert, *part) for part in parts), abs=1e-3)


def test_special_tokens_are_the_network_s_and_not_the_prompt_s(model, caplog):
    assert model.tokenizer.encode("the capital") == words("the capital")
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    request = Instance("generate_until", {}, ("the [MASK] of", {"gen_length": 2}), 0, ("t", 0, 1))
    assert model.generate_until([request])
    assert any("the text of the mask token stands in 1 of 1 prompts" in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize("value", [True, False])
def test_a_beginning_of_text_is_refused_in_one_line(bert, value):
    model = MDLM(bert, device="cpu", add_bos_token=value)
    with pytest.raises(UsageError, match="add_bos_token=(False cannot act on an encoder|True, and the token)"):
        model.generate_until([Instance("generate_until", {}, ("the", {"gen_length": 2}), 0, ("t", 0, 1))])

"""`lm-eval-mdlm posterior`: an evaluation's prompts, the model's own greedy reasoning before a given answer."""

import json
import math
from functools import partial

import pytest
import torch
from lm_eval.evaluator import simple_evaluate

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.harness import model as model_module
from lm_eval_mdlm.running import answering
from lm_eval_mdlm.training.examples import read_examples
from lm_eval_mdlm.training.run import train
from tests.checkpoints.plain import plain_logits
from tests.commands.traces import NUM_DOCUMENTS, TEMPLATE, document, lines_of, manager_of, posterior
from tests.tiny import token_id
from tests.training.running import options as training_options


MASK, END = (token_id("llada", name) for name in ("<|mdm_mask|>", "<|endoftext|>"))
FIELDS = ["task", "doc_id", "trace", "prompt", "solution", "answer", "text", "reasoning_tokens", "answer_logprob"]
FIELDS += ["nfe", "tokens", "truncated", "seed", "template", "options", "run"]


@pytest.fixture(scope="module")
def greedy(tasks, checkpoint, tmp_path_factory):
    """The lines of all training documents, one trace each."""
    output = tmp_path_factory.mktemp("greedy") / "traces.jsonl"
    summary = posterior(tasks, checkpoint, output, batch_size="1")
    assert summary == f"{output}: 20 traces of 20 documents of pens; nfe {20 * (12 + 1)}"
    return lines_of(output)


def test_a_line_holds_the_trace_of_its_document_in_order(greedy):
    assert [(line["doc_id"], line["trace"]) for line in greedy] == [(i, 0) for i in range(NUM_DOCUMENTS)]
    for line in greedy:
        doc = document("train", line["doc_id"])
        assert list(line) == FIELDS
        assert doc["question"] in line["prompt"] and line["task"] == "pens"
        assert line["answer"] == doc["answer"].partition("#")[2]
        assert line["text"] == f"{line['solution']}\nThe answer is {line['answer']}"
        assert (len(line["reasoning_tokens"]), line["nfe"], line["truncated"]) == (12, 12, False)
        assert line["template"] == TEMPLATE and line["options"]["block_length"] == 8
        assert line["answer_logprob"] < 0 and line["seed"] == 1234


def probabilities(folder, canvas):
    logits = plain_logits(folder, "llada", torch.tensor(canvas))
    logits[:, MASK] = -math.inf
    return logits.softmax(-1)


def test_greedy_traces_equal_a_slow_decoder_over_a_network_written_out_by_hand(greedy, checkpoint):
    tokenizer = load_backbone(str(checkpoint), device="cpu").tokenizer
    encode = partial(tokenizer.encode, add_special_tokens=False)
    for line in greedy[::6]:
        prompt, gold = encode(line["prompt"]), encode(line["answer"])
        behind = encode("\nThe answer is ") + gold + [END] * (6 - len(gold))
        canvas, start = prompt + [MASK] * 12 + behind, len(prompt)
        while MASK in canvas:
            block = (canvas.index(MASK) - start) // 8
            table = probabilities(checkpoint, canvas)
            entropy = torch.special.entr(table).sum(-1)
            inside = [i for i, token in enumerate(canvas) if token == MASK and (i - start) // 8 == block]
            place = min(inside, key=lambda i: entropy[i].item())
            canvas[place] = int(table[place].argmax())
        assert line["reasoning_tokens"] == canvas[start : start + 12]
        before_end = canvas[start : start + 12]
        before_end = before_end[: before_end.index(END)] if END in before_end else before_end
        assert line["solution"] == tokenizer.decode(before_end, skip_special_tokens=True)
        hidden = canvas[: len(canvas) - 6] + [MASK] * 6
        table = probabilities(checkpoint, hidden)[-6:].log()
        scored = [*gold, END][:6]
        expected = sum(table[i, token].item() for i, token in enumerate(scored))
        assert line["answer_logprob"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_fewshot": 3},
        {"chat_template": True, "num_fewshot": 2, "system_instruction": "Be brief."},
        {"chat_template": True, "num_fewshot": 2, "fewshot_as_multiturn": False},
    ],
    ids=str,
)
def test_prompts_are_those_of_an_evaluation_token_for_token(tasks, checkpoint, tmp_path, monkeypatch, options):
    posed = []

    def recording(backbone, sections, **rest):
        posed.append([(tuple(row.prompt_ids), row.config) for row in sections[0] if hasattr(row, "repeat")])
        return answering.run(backbone, sections, **rest)

    monkeypatch.setattr(model_module, "answer_all", recording)
    chat = options.get("chat_template", False)
    options = {"gen_kwargs": ["gen_length=8"], **options}
    results = simple_evaluate(
        model="mdlm",
        model_args={"pretrained": str(checkpoint), "device": "cpu"},
        tasks=["pens_on_train"],
        task_manager=manager_of(tasks),
        bootstrap_iters=0,
        gen_kwargs="gen_length=8",
        apply_chat_template=chat,
        fewshot_as_multiturn=options.get("fewshot_as_multiturn", chat),
        **{name: options[name] for name in ("num_fewshot", "system_instruction") if name in options},
    )
    contexts = {s["doc_id"]: s["arguments"][0][0] for s in results["samples"]["pens_on_train"]}
    posterior(tasks, checkpoint, tmp_path / "all.jsonl", **options)
    assert {line["doc_id"]: line["prompt"] for line in lines_of(tmp_path / "all.jsonl")} == contexts
    assert posed[0] == posed[1] and len(posed[0]) == NUM_DOCUMENTS
    # Shots that are drawn at random stay those of the evaluation where only some documents are wanted.
    samples = tmp_path / "samples.jsonl"
    rows = [{"doc_id": i, "acc": float(i not in (3, 11))} for i in range(NUM_DOCUMENTS)]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    posterior(tasks, checkpoint, tmp_path / "some.jsonl", only_failed=[samples], **options)
    some = {line["doc_id"]: line["prompt"] for line in lines_of(tmp_path / "some.jsonl")}
    assert some == {i: contexts[i] for i in (3, 11)}


def test_split_chooses_the_documents(tasks, checkpoint, tmp_path):
    posterior(tasks, checkpoint, tmp_path / "test.jsonl", split="test", limit=3)
    lines = lines_of(tmp_path / "test.jsonl")
    assert [line["answer"] for line in lines] == [document("test", i)["answer"].partition("#")[2] for i in range(3)]


def test_a_document_is_no_shot_of_itself(tasks, checkpoint, tmp_path):
    posterior(tasks, checkpoint, tmp_path / "a.jsonl", num_fewshot=NUM_DOCUMENTS - 1, limit=4,
              model_args=["max_length=512"])  # fmt: skip
    for line in lines_of(tmp_path / "a.jsonl"):
        assert line["prompt"].count(f"{document('train', line['doc_id'])['question']}\nAnswer:") == 1
        assert line["truncated"] is True


@pytest.mark.parametrize("gen_kwargs", [{}, {"temperature": 1.0, "seed": 3}], ids=str)
def test_lines_do_not_depend_on_the_batch(tasks, checkpoint, tmp_path, gen_kwargs):
    texts = []
    for batch_size in ("1", "8", "auto"):
        output = tmp_path / f"{batch_size}.jsonl"
        options = {"num_traces": 2, "gen_kwargs": [json.dumps(gen_kwargs)], "limit": 9}
        posterior(tasks, checkpoint, output, batch_size=batch_size, **options)
        texts.append(output.read_text())
    assert texts[0] == texts[1] == texts[2]
    lines = lines_of(output)
    assert [(line["doc_id"], line["trace"]) for line in lines] == [(i // 2, i % 2) for i in range(18)]
    pairs = [lines[i]["reasoning_tokens"] == lines[i + 1]["reasoning_tokens"] for i in range(0, len(lines), 2)]
    assert all(pairs) if not gen_kwargs else not any(pairs)


def test_journal_spares_passes_and_changes_no_line(tasks, checkpoint, tmp_path, monkeypatch):
    options = {"gen_kwargs": ["temperature=1"], "journal": str(tmp_path / "journal"), "limit": 6}
    posterior(tasks, checkpoint, tmp_path / "one.jsonl", **options)
    found = []

    def counting(*args, **rest):
        answered = answering.run(*args, **rest)
        found.extend([sum(answered.nfe_by_process), *answered.known])
        return answered

    monkeypatch.setattr(model_module, "answer_all", counting)
    posterior(tasks, checkpoint, tmp_path / "two.jsonl", **options)
    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "two.jsonl").read_text()
    assert found == [0, *[True] * 6] * 2


def test_file_is_training_data_as_it_is(tasks, checkpoint, tmp_path):
    output = tmp_path / "traces.jsonl"
    posterior(tasks, checkpoint, output)
    examples = read_examples(output)
    assert [(e.prompt, e.solution, e.answer) for e in examples] == [
        (line["prompt"], line["solution"], line["answer"]) for line in lines_of(output)
    ]
    losses = train(training_options(output, tmp_path / "tuned", checkpoint, template=json.dumps(TEMPLATE)))
    assert losses and (tmp_path / "tuned" / "model.safetensors").exists()


def test_several_reasoning_segments_give_one_solution_with_the_text_between_them(tasks, checkpoint, tmp_path):
    template = [
        {"text": "First "},
        {"reasoning": 3},
        {"text": " then "},
        {"reasoning": 4},
        {"text": "="},
        {"answer": 6},
    ]
    output = tmp_path / "a.jsonl"
    posterior(tasks, checkpoint, output, limit=2, gen_kwargs=[json.dumps({"template": template})])
    for line in lines_of(output):
        assert " then " in line["solution"] and len(line["reasoning_tokens"]) == 7
        assert line["text"] == f"First {line['solution']}={line['answer']}"

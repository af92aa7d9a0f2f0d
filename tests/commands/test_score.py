"""`lm-eval-mdlm score`: lines of traces come back with the probability of their answers, whatever computed it."""

import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.commands import score as command
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness import trace_scores
from lm_eval_mdlm.harness.trace_scores import ScoreOptions, score_file
from lm_eval_mdlm.traces import plot
from lm_eval_mdlm.traces.selection import Selection, select_file
from lm_eval_mdlm.training.examples import read_examples
from tests.checkpoints.plain import plain_logits
from tests.commands.traces import posterior
from tests.tiny import token_id
from tests.traces.lines import read, write


ROOT = Path(__file__).parents[2]
MASK, END = (token_id("llada", name) for name in ("<|mdm_mask|>", "<|endoftext|>"))
TEMPLATE = [{"reasoning": 9}, {"text": "\nThe answer is "}, {"answer": 4}]
OPTIONS = {"add_bos_token": None, "cfg_scale": 0.0, "suppress_tokens": [], "max_length": None, "temperature": 1.0}


@functools.cache
def tokenizer(checkpoint):
    return load_backbone(str(checkpoint), device="cpu").tokenizer


def encode(checkpoint, text):
    return tokenizer(checkpoint).encode(text, add_special_tokens=False)


def line(checkpoint, i, **changes):
    """Two traces for each document, the first right and the second wrong; some end before their segment does."""
    solution = f"{i // 2} + {i} = {i // 2 + i + i % 2}"
    tokens = (encode(checkpoint, solution) + [END] * 9)[:9]
    own = {"task": "pens", "doc_id": i // 2, "trace": i % 2, "prompt": f"Question: what is {i // 2} + {i}?\nAnswer:"}
    own |= {"solution": solution, "answer": str(3 * i), "reasoning_tokens": tokens, "template": TEMPLATE}
    return {**own, "options": OPTIONS, "good": i % 3 == 0, "run": "that of posterior", **changes}


@pytest.fixture(scope="module")
def checkpoint(checkpoints):
    return checkpoints["llada"]


@pytest.fixture(scope="module")
def lines(checkpoint):
    return [line(checkpoint, i) for i in range(16)]


@pytest.fixture(scope="module")
def traces(lines, tmp_path_factory):
    return write(tmp_path_factory.mktemp("traces") / "traces.jsonl", lines)


def scored(checkpoint, traces, output, **options):
    options = {"model_args": [f"pretrained={checkpoint}"], "device": "cpu", **options}
    return score_file(ScoreOptions(traces=traces, output=output, **options))


def slowly(checkpoint, record, number):
    """By the network written out by hand: the answer and its end, each at its own place, in one pass."""
    prompt, answer = encode(checkpoint, record["prompt"]), encode(checkpoint, record["answer"])
    seen = [*record["reasoning_tokens"][:number], *[MASK] * (9 - number)]
    canvas = [*prompt, *seen, *encode(checkpoint, "\nThe answer is "), *[MASK] * 4]
    logits = plain_logits(checkpoint, "llada", torch.tensor(canvas))
    logits[:, MASK] = -math.inf
    table = logits.log_softmax(-1)[-4:]
    return sum(table[i, token].item() for i, token in enumerate([*answer, END][:4]))


def test_lines_come_back_whole_with_their_scores(checkpoint, lines, traces, tmp_path):
    output = tmp_path / "scored.jsonl"
    summary = scored(checkpoint, traces, output)
    found = read(output)
    for before, after in zip(lines, found, strict=True):
        assert {**before, "run": after["run"]} == {name: after[name] for name in before}
        assert len(after["prefix_tokens"]) == 4 and after["prefix_tokens"][-1] == 9
        for number, log_prob in zip(after["prefix_tokens"], after["prefix_logprobs"], strict=True):
            assert log_prob == pytest.approx(slowly(checkpoint, before, number), abs=2e-3)
        assert after["score"] == after["prefix_logprobs"][-1]
    text = [token for token in lines[0]["reasoning_tokens"] if token != END]
    assert found[0]["prefix_tokens"] == [*(math.ceil(len(text) * share) for share in (0.25, 0.5, 0.75)), 9]
    assert summary.startswith(f"{output}: 16 traces, mean score -") and summary.endswith("nfe 64")
    whole = json.loads((tmp_path / "scored.jsonl.summary.json").read_text())
    assert (whole["traces"], whole["documents"], whole["nfe"]) == (16, 8, 64)
    assert (
        whole["diversity"]["distinct"] == 1.0 and "label" not in whole and not (tmp_path / "scored.jsonl.png").exists()
    )


@pytest.mark.parametrize("options", [{"at": "sentence"}, {"likelihood": "l2r"}, {"at": "token"}], ids=str)
def test_lines_do_not_depend_on_the_batch(checkpoint, traces, tmp_path, options):
    texts = []
    for batch_size in ("1", "5", "auto"):
        scored(checkpoint, traces, tmp_path / batch_size, batch_size=batch_size, **options)
        texts.append((tmp_path / batch_size).read_text())
    assert texts[0] == texts[1] == texts[2]


def test_labels_give_areas_at_every_prefix_and_bins(checkpoint, traces, tmp_path, caplog, monkeypatch):
    drawn = []
    monkeypatch.setattr(trace_scores, "can_plot", lambda: bool(drawn))
    monkeypatch.setattr(trace_scores, "plot", lambda summary, path: drawn.append(path))
    for label, right in (("good", lambda one: one["good"]), ("arithmetic", lambda one: one["trace"] == 0)):
        output = tmp_path / f"{label}.jsonl"
        said = scored(checkpoint, traces, output, labels=label)
        summary = json.loads((tmp_path / f"{label}.jsonl.summary.json").read_text())
        found = read(output)
        assert summary["label"] == {"name": label, "n": 16, "right": sum(map(right, found)), "without": 0}
        assert [point["share"] for point in summary["at"]] == [0.25, 0.5, 0.75, 1]
        for place, point in enumerate(summary["at"]):
            groups = [[one["prefix_logprobs"][place] for one in found if right(one) == is_right] for is_right in (1, 0)]
            wins = sum((a > b) + (a == b) / 2 for a in groups[0] for b in groups[1])
            assert point["auc"] == pytest.approx(wins / len(groups[0]) / len(groups[1]))
            assert point["low"] <= point["auc"] <= point["high"]
            assert point["mean_of_right"] == pytest.approx(sum(groups[0]) / len(groups[0]))
        assert sum(one["n"] for one in summary["calibration"]) == 16
        assert f"AUC {summary['at'][0]['auc']:.3f} at 0.25, " in said
        drawn.append(None)
    assert drawn == [None, tmp_path / "arithmetic.jsonl.png", None]
    assert [record.message for record in caplog.records if "figure" in record.message] == [
        "no figure is drawn without matplotlib; pip install 'lm-eval-mdlm[report]'."
    ]


def test_prefixes_of_their_own_are_compared_at_common_shares(checkpoint, traces, tmp_path):
    scored(checkpoint, traces, tmp_path / "a.jsonl", labels="good", at="token")
    found = read(tmp_path / "a.jsonl")
    summary = json.loads((tmp_path / "a.jsonl.summary.json").read_text())
    assert [point["share"] for point in summary["at"]] == [i / 10 for i in range(11)]
    for point in summary["at"]:
        values = []
        for one in found:
            length = sum(token != END for token in one["reasoning_tokens"])
            number = 9 if point["share"] == 1 else math.floor(point["share"] * length + 1e-9)
            values.append(one["prefix_logprobs"][one["prefix_tokens"].index(number)])
        right = [value for value, one in zip(values, found, strict=True) if one["good"]]
        assert point["mean_of_right"] == pytest.approx(sum(right) / len(right))


def test_command_line_overrides_what_a_line_was_made_with(checkpoint, lines, tmp_path):
    guided = [{**one, "options": {**OPTIONS, "cfg_scale": 1.0}} for one in lines[:2]]
    path = write(tmp_path / "a.jsonl", guided)
    scored(checkpoint, path, tmp_path / "guided.jsonl")
    scored(checkpoint, path, tmp_path / "plain.jsonl", gen_kwargs=["cfg_scale=0"])
    scored(checkpoint, write(tmp_path / "b.jsonl", lines[:2]), tmp_path / "same.jsonl")
    guided, plain, same = ([one["score"] for one in read(tmp_path / f"{n}.jsonl")] for n in ("guided", "plain", "same"))
    assert plain == same != guided
    other = '{"template": [{"reasoning": 9}, {"text": "\\nSo it is "}, {"answer": 4}]}'
    scored(checkpoint, path, tmp_path / "other.jsonl", gen_kwargs=[other, "cfg_scale=0"])
    assert [one["score"] for one in read(tmp_path / "other.jsonl")] != plain


def test_a_finished_file_is_left_alone_and_another_runs_file_is_refused(checkpoint, traces, tmp_path):
    output = tmp_path / "a.jsonl"
    journal = {"journal": str(tmp_path / "journal")}
    scored(checkpoint, traces, output, **journal)
    text = output.read_text()
    assert scored(checkpoint, traces, output) == f"{output} was complete already"
    for change in ({"likelihood": "l2r"}, {"at": "0.5"}, {"labels": "good"}):
        with pytest.raises(UsageError, match="belongs to another run"):
            scored(checkpoint, traces, output, **change)
    assert output.read_text() == text
    scored(checkpoint, traces, tmp_path / "b.jsonl", **journal)
    assert (tmp_path / "b.jsonl").read_text() == text


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ({"template": None}, {}, "line 2: 'template' must be a list of segments"),
        ({"template": [{"reasoning": 9}]}, {}, "line 2: a given answer needs a template with exactly one answer"),
        ({"template": [{"thoughts": 9}]}, {}, "line 2: template segment 1 has the unknown kind 'thoughts'"),
        ({"answer": "1 + 2 + 3 + 4"}, {}, "line 2: the given answer of .* does not fit"),
        ({"answer": ""}, {}, "line 2: a gold answer to be scored must hold at least one token"),
        ({"reasoning_tokens": [1] * 10}, {}, "line 2: a trace of 10 reasoning tokens does not fit the 9"),
        ({"options": 3}, {}, "line 2: 'options' must be an object, got 3"),
        ({"prompt": ""}, {}, "line 2: the prompt must hold at least one token"),
        ({}, {"labels": "worth"}, "line 1: the label 'worth' must be true, false or null, got nothing"),
        ({}, {"at": "half"}, "--at must be shares"),
        ({}, {"likelihood": "elbo"}, "--likelihood must be one of one_pass, l2r"),
        ({}, {"model_args": ["pretrained=x,likelihood=l2r"]}, "likelihood in --model_args is no option of score"),
        ({}, {"gen_kwargs": ["gen_lenght=3"]}, "line 1: unknown decoding option 'gen_lenght'"),
    ],
    ids=str,
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(checkpoint, lines, tmp_path, second, options, message):
    path = write(tmp_path / "a.jsonl", [lines[0], {**lines[1], **second}])
    with pytest.raises(UsageError, match=message) as caught:
        scored(checkpoint, path, tmp_path / "b.jsonl", **options)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == ["a.jsonl"]


def test_labels_that_say_nothing_are_refused(checkpoint, lines, tmp_path):
    path = write(tmp_path / "a.jsonl", [{**lines[0], "solution": "no equation"}])
    with pytest.raises(UsageError, match="--labels arithmetic: says nothing of any trace"):
        scored(checkpoint, path, tmp_path / "b.jsonl", labels="arithmetic")


def test_figure(tmp_path):
    pytest.importorskip("matplotlib")
    point = {"share": 0.5, "auc": 0.7, "low": 0.6, "high": 0.8}
    summary = {"at": [point, {**point, "auc": None}], "label": {"name": "good", "n": 9, "right": 4}}
    plot.plot({**summary, "calibration": [{"probability": 0.2, "right": 0.3}]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def command_line(checkpoint, traces, output, *more):
    return ["-m", "lm_eval_mdlm", "score", "--model_args", f"pretrained={checkpoint}", "--traces", str(traces),
            "--output", str(output), "--labels", "good", "--device", "cpu", *more]  # fmt: skip


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


@pytest.mark.slow
def test_two_processes_write_the_lines_of_one(checkpoint, traces, tmp_path):
    scored(checkpoint, traces, tmp_path / "one.jsonl", labels="good")
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--rdzv_backend=c10d"]
    launcher += ["--rdzv_endpoint=localhost:0"]
    arguments = [*launcher, *command_line(checkpoint, traces, tmp_path / "two.jsonl", "--journal", str(tmp_path / "j"))]
    done = subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("16 traces") == 1
    for name in ("", ".summary.json"):
        assert (tmp_path / f"one.jsonl{name}").read_text() == (tmp_path / f"two.jsonl{name}").read_text()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_equals_an_undisturbed_one(checkpoint, tmp_path):
    path = write(tmp_path / "traces.jsonl", [line(checkpoint, i) for i in range(120)])
    more = ["--at", "token", "--likelihood", "l2r", "--journal", str(tmp_path / "journal"), "--batch_size", "1"]
    arguments = command_line(checkpoint, path, tmp_path / "killed.jsonl", *more)
    running = subprocess.Popen([sys.executable, *arguments], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while sum(file.read_bytes().count(b"\n") for file in (tmp_path / "journal").glob("*")) < 30:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "killed.jsonl").exists()
    done = subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    scored(checkpoint, path, tmp_path / "whole.jsonl", at="token", likelihood="l2r", labels="good")
    assert (tmp_path / "killed.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


def test_help_needs_no_torch():
    code = "import sys; from lm_eval_mdlm.commands import score, select, judge\n"
    code += "[module.parser() for module in (score, select, judge)]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)
    assert (
        command.parser().parse_args(["--model_args", "a=1", "--traces", "t", "--output", "o"]).at == "0.25,0.5,0.75,1"
    )


@pytest.mark.parametrize("options", [{}, {"chat_template": True, "num_fewshot": 1}], ids=str)
def test_traces_of_posterior_have_the_score_that_it_gave_them_and_go_on_to_finetune(
    checkpoints, family, tasks, tmp_path, options
):
    """From prompts that an evaluation wrote, with or without a chat template, to training examples."""
    checkpoint = checkpoints[family]
    made = {"gen_kwargs": ["temperature=1"], "num_traces": 2, "limit": 5, **options}
    posterior(tasks, checkpoint, tmp_path / "a.jsonl", **made)
    scored(checkpoint, tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    found = read(tmp_path / "b.jsonl")
    assert [one["score"] for one in found] == [one["answer_logprob"] for one in found]
    select_file(tmp_path / "b.jsonl", tmp_path / "c.jsonl", Selection(top=1))
    examples = read_examples(tmp_path / "c.jsonl")
    best = {}
    for one in found:
        best[one["doc_id"]] = max(best.get(one["doc_id"], one), one, key=lambda own: own["score"])
    assert [(own.prompt, own.solution) for own in examples] == [(o["prompt"], o["solution"]) for o in best.values()]

"""Counts, caches, options without effect and bad input in runs that score likelihoods."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from tests.harness import any_tasks
from tests.harness.plain import differences, scores


ROOT = Path(__file__).parents[2]
SHARED: dict[str, Any] = {
    "custom_dataset": any_tasks.documents,
    "test_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "label",
}
CHOICES = {**SHARED, "task": "choices", "output_type": "multiple_choice", "doc_to_choice": "choices"}
EXACT = {**CHOICES, "task": "exact", "metric_list": [{"metric": "exact_match", "aggregation": "mean"}]}
PAIRS = {**SHARED, "task": "pairs", "output_type": "loglikelihood", "doc_to_target": " {{choices[label]}}"}
LONG = {**SHARED, "task": "long", "output_type": "loglikelihood_rolling", "doc_to_target": "{{question}}"}
TEXTS = {**SHARED, "task": "texts", "doc_to_target": "text_answer", "output_type": "generate_until"}
TEXTS |= {"generation_kwargs": {"until": ["."], "do_sample": False}}
OPTIONS: dict[str, Any] = {"device": "cpu", "batch_size": 8, "mc_num": 6, "gen_length": 8, "block_length": 8, "k": 2}


@pytest.fixture
def run(checkpoint):
    def evaluated(*tasks: dict[str, Any], **more: Any) -> Any:
        ours = {name.removeprefix("run_"): more.pop(name) for name in list(more) if name.startswith("run_")}
        options = {**OPTIONS, **more}
        model = MDLM(checkpoint, **{name: value for name, value in options.items() if value is not None})
        manager = TaskManager(include_defaults=False)
        return simple_evaluate(model, tasks=[dict(t) for t in tasks], task_manager=manager, bootstrap_iters=0, **ours)

    return evaluated


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "lm_eval.mdlm"]


# Counts


def test_greedy_decoding_is_run_only_where_a_metric_looks(run):
    results = run(CHOICES, EXACT, PAIRS, likelihood="l2r", mc_num=None)
    for plain, exact in zip(results["samples"]["choices"], results["samples"]["exact"], strict=True):
        assert not any(greedy for ((_, greedy),) in plain["resps"])
        assert exact["nfe"] >= plain["nfe"] + len(exact["resps"])
    for choices, pair in zip(results["samples"]["choices"], results["samples"]["pairs"], strict=True):
        right = choices["resps"][choices["doc"]["label"]][0]
        assert pair["resps"][0][0][0] == right[0]  # the same text after the same context


def test_passes_that_small_errors_save_stand_beside_those_that_were_run(run):
    task = {**CHOICES, "doc_to_choice": "{{['red pens and ' ~ question, 'two or ' ~ question]}}", "doc_to_target": 0}
    whole = run(task, mc_num=64)["samples"]["choices"]
    results = run(task, mc_num=64, mc_se=25.0)
    part = results["samples"]["choices"]
    assert "nfe_saved" not in whole[0] and any(line["nfe_saved"] for line in part)
    for ours, theirs in zip(part, whole, strict=True):
        assert ours["nfe"] + ours["nfe_saved"] == theirs["nfe"]
        assert ours["nfe_saved"] == 0 or ours["likelihood_se"] <= 25.0
    mean = sum(line["nfe_saved"] for line in part) / len(part)
    assert results["results"]["choices"]["nfe_saved,none"] == pytest.approx(mean)
    assert results["higher_is_better"]["choices"]["nfe_saved"] is True


def test_pairs_that_pad_a_process_change_nothing_of_their_document(checkpoint):
    model = MDLM(checkpoint, **{**OPTIONS, "mc_num": 64, "mc_se": 20.0})
    texts = [" red pens and loaves of many", " two"]
    requests = [Instance("loglikelihood", {}, ("Which?", text), i, ("t", 0, 1)) for i, text in enumerate(texts)]
    alone = model.loglikelihood(requests, disable_tqdm=True)
    nfe = model.get_model_info()["mdlm"]["nfe_by_process"]
    padded = model.loglikelihood([*requests, requests[-1], requests[-1]], disable_tqdm=True)
    assert padded == [*alone, alone[-1], alone[-1]]
    assert model.get_model_info()["mdlm"]["nfe_by_process"] == nfe


def test_contexts_that_are_cut_are_counted_and_said(run, said):
    results = run(CHOICES, max_length=24)
    cut = [line["truncated"] for line in results["samples"]["choices"]]
    assert sum(cut) > 0 and results["results"]["choices"]["truncated,none"] == pytest.approx(sum(cut) / len(cut))
    num = sum("contexts were cut from the left to fit max_length=24 beside their text" in line for line in said())
    assert num == 1


def test_long_text_in_windows_is_the_sum_of_its_windows(checkpoint):
    text = "She sells 12 loaves in the morning. " * 9
    model = MDLM(checkpoint, device="cpu", batch_size=4, likelihood="l2r", max_length=40)
    (whole,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0, ("t", 0, 1))])
    tokens = model.tokenizer.encode(text, add_special_tokens=False)
    from lm_eval_mdlm.running.likelihood import loglikelihood

    parts = [([model.tokenizer.bos_token_id], tokens[:39])]
    parts += [([tokens[start - 1]], tokens[start : start + 39]) for start in range(39, len(tokens) - 39, 39)]
    rest = len(tokens) % 39 or 39  # the last window has as much context as there is room for
    parts += [(tokens[-40:-rest], tokens[-rest:])]
    by_hand = loglikelihood(model.backbone, parts, likelihood="l2r", max_length=40)
    assert sum(len(part) for _, part in parts) == len(tokens) > 100
    assert whole == pytest.approx(sum(score.log_prob for score in by_hand), abs=1e-9)


@pytest.mark.parametrize("likelihood", ["l2r", "elbo", "dream"])
def test_windows_of_a_long_text_fill_the_longest_canvas_and_no_more(checkpoint, monkeypatch, likelihood):
    model = MDLM(checkpoint, device="cpu", batch_size=4, likelihood=likelihood, max_length=40)
    lengths, states = [], model.backbone.states

    def noting(token_ids, own, wanted):
        lengths.extend(own)
        return states(token_ids, own, wanted)

    monkeypatch.setattr(model.backbone, "states", noting)
    text = "She sells 12 loaves in the morning. " * 4
    model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0, ("t", 0, 1))])
    assert set(lengths) == {40}


def test_no_room_for_a_window_is_refused_in_one_line(checkpoint):
    model = MDLM(checkpoint, device="cpu", max_length=1)
    with pytest.raises(UsageError, match="t: a text of 1 tokens leaves no room for a context in max_length=1"):
        model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("two",), 0, ("t", 0, 1))])


# --use_cache


@pytest.mark.parametrize(
    "tasks", [(CHOICES, LONG, TEXTS), (EXACT,), (PAIRS, CHOICES), (CHOICES, PAIRS)], ids=lambda t: t[0]["task"]
)
def test_second_run_is_served_by_the_cache(run, tmp_path, monkeypatch, tasks):
    first = run(*tasks, run_use_cache=str(tmp_path / "cache"))
    monkeypatch.setattr("lm_eval_mdlm.harness.model.answer_all", lambda *args, **kwargs: pytest.fail("a pass was run"))
    second = run(*tasks, run_use_cache=str(tmp_path / "cache"))
    assert not list(differences(scores(second), scores(first)))
    ours, theirs = (results["config"]["mdlm"]["totals_of_rank_0"] for results in (second, first))
    assert ours["from_cache"] == ours["requests"] == theirs["requests"] and ours["nfe"] == theirs["nfe"]


def test_pair_without_greedy_decoding_does_not_serve_a_task_that_asks_for_it(run, tmp_path):
    run(CHOICES, run_use_cache=str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="exact: --use_cache holds one of its pairs from another task, which did not"):
        run(EXACT, run_use_cache=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"likelihood": "l2r", "mc_num": None}, 'likelihood="elbo", this run has "l2r"'),
        ({"mc_num": 7}, "mc_num=6, this run has 7"),
        ({"likelihood": "llada", "mc_num": 8}, 'likelihood="elbo", this run has "llada"'),
    ],
    ids=str,
)
def test_cache_of_another_estimate_is_refused(run, tmp_path, change, difference):
    run(CHOICES, run_limit=1, run_use_cache=str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=f"holds results of {difference}; name another file"):
        run(CHOICES, run_limit=1, run_use_cache=str(tmp_path / "cache"), **change)


# Options without effect


@pytest.mark.parametrize(
    ("tasks", "options", "lines"),
    [
        ([TEXTS], {}, ["mc_num in --model_args has no effect in this run: no task of it asks for likelihoods."]),
        ([TEXTS], {"likelihood": "l2r", "mc_num": None}, ["likelihood in --model_args has no effect"]),
        ([TEXTS], {"mc_num": None}, []),
        ([CHOICES], {}, ["gen_length, block_length, k in --model_args has no effect in this run: its tasks ask for"]),
        ([LONG], {"seed": 3}, ["gen_length, block_length, k in --model_args has no effect"]),
        ([PAIRS], {}, ["gen_length in --model_args has no effect"]),
        ([EXACT], {}, ["gen_length in --model_args has no effect"]),
        ([CHOICES], {"likelihood": "path", "mc_num": None}, ["gen_length in --model_args has no effect"]),
        ([CHOICES], {"run_gen_kwargs": {"k": 4}, "gen_length": None, "block_length": None, "k": None}, ["k in --gen"]),
        ([CHOICES, TEXTS], {"run_gen_kwargs": {"k": 4}}, []),
    ],
)
def test_options_without_effect_on_any_request_are_said(run, said, tasks, options, lines):
    run(*tasks, run_limit=2, **options)
    found = [line for line in said() if "has no effect in this run" in line]
    assert len(found) == len(lines) and all(line.startswith(start) for line, start in zip(found, lines, strict=True))


# Bad input


@pytest.fixture
def folder(tmp_path) -> Path:
    rows = "".join(f'{{"question": "How many are {n}?", "answer": "{"" if n == 2 else n}"}}\n' for n in range(4))
    (tmp_path / "test.jsonl").write_text(rows)
    task = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "test.jsonl")}}}
    task |= {"task": "numbers", "test_split": "test", "output_type": "loglikelihood", "doc_to_text": "{{question}}"}
    task |= {"doc_to_target": "{{answer}}", "metric_list": [{"metric": "acc"}]}
    (tmp_path / "numbers.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


@pytest.mark.slow
def test_command_line_ends_with_one_line(checkpoint, folder):
    command = [sys.executable, "-m", "lm_eval_mdlm", "run", "--model", "mdlm", "--tasks", "numbers"]
    command += ["--model_args", f"pretrained={checkpoint},mc_num=4,journal={folder / 'journal'}"]
    command += ["--include_path", str(folder), "--output_path", str(folder), "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert "numbers: the continuation '' has no tokens of its own after its context; give one that is not" in line
    assert not list(folder.rglob("results_*.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 2}, "pairs: a text of [0-9]+ tokens leaves no room for a context in max_length=2"),
        ({"max_length": 4096}, "max_length must be at most the checkpoint's 512, got 4096"),
        ({"likelihood": "path", "mc_num": None, "score": "random"}, "likelihood=path needs a sampler whose choice"),
    ],
    ids=str,
)
def test_bad_options_for_a_task_are_refused_before_the_first_pass(run, monkeypatch, options, message):
    monkeypatch.setattr("lm_eval_mdlm.harness.model.answer_all", lambda *args, **kwargs: pytest.fail("a pass was run"))
    with pytest.raises(UsageError, match=message) as caught:
        run(PAIRS, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mc_num": 0}, "mc_num must be a whole number, at least 1, got 0"),
        ({"likelihood": "llada", "mc_num": 12}, "mc_num must be a multiple of mc_batch, got mc_num=12 and mc_batch=8"),
        ({"likelihood": "l2r", "mc_num": 4}, "mc_num=4 belongs to likelihood=elbo or llada or dream"),
        ({"mc_se": 0}, "mc_se must be above 0, got 0"),
        ({"likelyhood": "l2r"}, "unknown option 'likelyhood'. Did you mean 'likelihood'"),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_anything_is_loaded(checkpoint, monkeypatch, options, message):
    monkeypatch.setattr(
        "lm_eval_mdlm.harness.model.load_backbone", lambda **kwargs: pytest.fail("a checkpoint was loaded")
    )
    with pytest.raises(UsageError, match=message) as caught:
        MDLM(checkpoint, **options)
    assert "\n" not in str(caught.value)


def test_bad_document_costs_nothing_that_a_journal_has(checkpoint, run, tmp_path):
    journal = str(tmp_path / "journal")
    run(PAIRS, run_limit=3, journal=journal)
    bad = {**PAIRS, "doc_to_target": "{{'' if number > 4 else ' ' ~ choices[label]}}"}
    with pytest.raises(UsageError, match="has no tokens of its own"):
        run(bad, journal=journal)
    totals = run(PAIRS, run_limit=3, journal=journal)["config"]["mdlm"]["totals_of_rank_0"]
    assert totals["from_journal"] == totals["requests"] == 3

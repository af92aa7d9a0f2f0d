"""lm_eval's own tasks of likelihoods: scored as by a plain model, and the same however the run is cut up."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.harness.model import MDLM
from tests.harness import stock_likelihoods
from tests.harness.plain import (
    Plain,
    Scripted,
    differences,
    scores,
    scripting,
    without_counts,
    without_greedy,
)


TASKS = list(stock_likelihoods.TASKS)
FEW_PASSES = {"mc_num": 6, "gen_length": 8, "block_length": 4, "k": 2}


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    return stock_likelihoods.manager()


@pytest.fixture(autouse=True)
def made_up_documents(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", stock_likelihoods.load_dataset)


def run(model: Any, manager: TaskManager, tasks: list[str] = TASKS, **options: Any) -> Any:
    return simple_evaluate(model=model, tasks=tasks, task_manager=manager, bootstrap_iters=0, **options)


def by_document(results: Any, task: str) -> dict[str, Any]:
    """What is said of each document, whatever its number in this run, and as it stands in the samples file."""
    names = ("nfe", "nfe_partial", "likelihood_se", "truncated")

    def text(value: Any) -> Any:
        return [text(one) for one in value] if isinstance(value, (list, tuple)) else str(value)

    return {
        line["doc_hash"]: [text(line["resps"]), *(line[name] for name in names)] for line in results["samples"][task]
    }


@pytest.mark.parametrize("options", [{}, {"num_fewshot": 2}, {"apply_chat_template": True}], ids=str)
def test_stock_tasks_and_groups_score_as_by_a_plain_model(checkpoint, manager, options):
    class Chatting(Plain):
        tokenizer_name = "any"

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return model.apply_chat_template(chat_history, add_generation_prompt)

    model = Scripted(checkpoint, device="cpu", max_length=512)
    left_out = ["wikitext"] if "num_fewshot" in options else []
    tasks = [name for name in TASKS if name not in left_out]
    with scripting():
        expected = run(Chatting(None), manager, tasks, limit=4, **options)
        found = run(model, manager, tasks, limit=4, **options)
    ours, theirs = without_greedy(without_counts(found, expected)), without_greedy(scores(expected))
    assert not list(differences(ours, theirs))
    assert all("nfe,none" in found["results"][task] for task in TASKS if task in tasks)


def test_stock_group_scores_as_by_a_plain_model(checkpoint, manager):
    with scripting():
        expected = run(Plain(None), manager, ["mmlu_stem"], limit=2)
        found = run(Scripted(checkpoint, device="cpu"), manager, ["mmlu_stem"], limit=2)
    ours, theirs = without_greedy(without_counts(found, expected)), without_greedy(scores(expected))
    assert not list(differences(ours, theirs))
    assert "mmlu_stem" in theirs["groups"] and len(found["samples"]) > 10
    assert all("nfe,none" in found["results"][task] for task in found["samples"])


@pytest.fixture(scope="module")
def one_by_one(checkpoint, manager):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", stock_likelihoods.load_dataset)
        return run(MDLM(checkpoint, device="cpu", batch_size=1, **FEW_PASSES), manager)


@pytest.mark.parametrize("batch_size", [8, 64, "auto"])
def test_nothing_depends_on_batch_size(checkpoint, manager, one_by_one, batch_size):
    found = run(MDLM(checkpoint, device="cpu", batch_size=batch_size, **FEW_PASSES), manager)
    assert not list(differences(scores(found), scores(one_by_one)))


def test_nothing_depends_on_the_order_of_documents(checkpoint, manager, one_by_one, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda path, name=None, **kwargs: stock_likelihoods.made(path, 3))
    found = run(MDLM(checkpoint, device="cpu", batch_size=8, **FEW_PASSES), manager)
    for task in TASKS:
        assert by_document(found, task) == by_document(one_by_one, task)
        assert len(by_document(found, task)) == stock_likelihoods.NUM_DOCUMENTS
        assert list(by_document(found, task)) != list(by_document(one_by_one, task))
        for name, value in one_by_one["results"][task].items():
            assert found["results"][task][name] == pytest.approx(value), (task, name)


def written(output: Path) -> dict[str, Any]:
    """Results and samples of the run that wrote there."""
    (results,) = output.rglob("results_*.json")
    samples = {
        path.name.removeprefix("samples_").rsplit("_", 1)[0]: list(map(json.loads, path.read_text().splitlines()))
        for path in output.rglob("samples_*.jsonl")
    }
    return {**json.loads(results.read_text()), "samples": samples}


def test_two_processes_give_the_results_of_one(checkpoint, tmp_path, one_by_one, forks):
    options = ",".join(f"{name}={value}" for name, value in FEW_PASSES.items())
    command = ["run", "--model", "mdlm", "--model_args", f"pretrained={checkpoint},{options}", "--log_samples"]
    command += ["--tasks", ",".join(TASKS), "--output_path", str(tmp_path), "--batch_size", "4"]
    ended = forks("tests.harness.stock_likelihoods", *command, processes=2)
    assert [one.returncode for one in ended] == [0, 0], ended
    two = written(tmp_path)
    for task in TASKS:
        assert by_document(two, task) == by_document(one_by_one, task)
        for name, value in one_by_one["results"][task].items():
            assert "stderr" in name or two["results"][task][name] == pytest.approx(value), (task, name)
    assert two["config"]["mdlm"]["world_size"] == 2


def test_passes_are_those_of_the_estimate_and_of_greedy_decoding(checkpoint, manager):
    """By the chain rule a pass per token; greedy ones where they are asked for."""
    model = MDLM(checkpoint, device="cpu", batch_size=16, likelihood="l2r", gen_length=8, block_length=4, k=2)
    results = run(model, manager)

    def num_tokens(context: str, text: str) -> int:
        return len(model.tokenizer.encode(context + text)) - len(model.tokenizer.encode(context))

    for task in TASKS:
        lines = results["samples"][task]
        for line in lines:
            assert line["likelihood_se"] == 0
            lengths = [num_tokens(*pair) if len(pair) == 2 else num_tokens("", *pair) for pair in line["arguments"]]
            # Greedy decoding fills two masks per pass, in blocks of 4, and ends with the first wrong token.
            most = sum(lengths) + (-(-lengths[0] // 2) if task == "lambada_openai" else 0)
            assert sum(lengths) + (task == "lambada_openai") <= line["nfe"] <= most
            greedy = {bool(answer[1]) for (answer,) in line["resps"] if isinstance(answer, tuple)}
            assert greedy <= ({False, True} if task == "lambada_openai" else {False})
        mean = sum(line["nfe"] for line in lines) / len(lines)
        assert results["results"][task]["nfe,none"] == pytest.approx(mean)

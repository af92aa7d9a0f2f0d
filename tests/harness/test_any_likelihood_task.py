"""Any task of likelihoods scores under `--model mdlm` as lm_eval's own code scores the same log-probabilities.

The tasks are generated: every two values of the factors below stand together in at least one. Where a pair's metrics
do not look at greedy decoding, `mdlm` does not look for it either, and only the samples show that.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tests.harness.pairwise import Cell, pairwise
from tests.harness.plain import (
    Plain,
    Scripted,
    differences,
    score_of,
    scores,
    scripting,
    without_counts,
    without_greedy,
)
from tests.harness.yaml_files import Function, text_of


CHOICES = "multiple_choice"
PAIR = "loglikelihood"
ROLLING = "loglikelihood_rolling"
KINDS: dict[str, tuple[str, list[str]]] = {
    "acc": (CHOICES, ["acc"]),
    "acc_norm": (CHOICES, ["acc", "acc_norm"]),
    "acc_bytes": (CHOICES, ["acc", "acc_bytes"]),
    "mutual_info": (CHOICES, ["acc", "acc_mutual_info"]),
    "exact": (CHOICES, ["exact_match", "acc"]),
    "brier": (CHOICES, ["brier_score", "acc"]),
    "mcc": (CHOICES, ["mcc"]),
    "pair_acc": (PAIR, ["acc"]),
    "pair_perplexity": (PAIR, ["perplexity", "acc"]),
    "words": (ROLLING, ["word_perplexity"]),
    "all_perplexities": (ROLLING, ["word_perplexity", "byte_perplexity", "bits_per_byte"]),
    "own_choices": (CHOICES, ["best"]),
    "own_rolling": (ROLLING, ["best", "nfe"]),
}
FACTORS: dict[str, Any] = {
    "kind": tuple(KINDS),
    "task_class": (None, "OwnScores", "AlsoText", "lm_eval_mdlm"),
    "contexts": ("question", "empty", "spaces"),
    "repeats": (1, 2),
    "grouped": (False, True),
    "task_stats": (True, False),
    "use_cache": (False, True),
    "predict_only": (False, False, True),
    "log_samples": (True, False),
    "num_fewshot": (0, 1),
}
CELLS = pairwise(FACTORS, seed=4)
CONTEXTS = {"question": "Question: {{question}}\nAnswer:", "empty": "", "spaces": "{{question}} \n "}
LEAST_IS_BEST = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score")


def task_of(name: str, cell: Cell, split: str = "test") -> dict[str, Any]:
    output_type, metrics = KINDS[cell["kind"]]
    own = {"lm_eval_mdlm": "lm_eval_mdlm.harness.task.MDLMTask"}.get(cell["task_class"], cell["task_class"])
    wrapped = own if own is None or own.startswith("lm_eval_mdlm") else Function(own)
    return {
        "task": name,
        **({"class": wrapped} if own else {}),
        "custom_dataset": Function("documents"),
        "output_type": output_type,
        "test_split": split,
        "fewshot_split": "train",
        "doc_to_text": CONTEXTS[cell["contexts"]],
        "repeats": cell["repeats"],
        **({"doc_to_target": "label", "doc_to_choice": "choices"} if output_type == CHOICES else {}),
        **({"doc_to_target": " {{text_answer}} or {{number}}"} if output_type != CHOICES else {}),
        **({"process_results": Function("process_scores")} if cell["kind"].startswith("own") else {}),
        "metric_list": [
            {
                "metric": metric,
                "higher_is_better": metric not in LEAST_IS_BEST,
                **({"aggregation": "mean"} if metric in ("best", "nfe", "acc", "acc_norm", "acc_bytes") else {}),
            }
            for metric in metrics
        ],
        "metadata": {"version": 1.0},
    }


def files_of(number: int, cell: Cell) -> dict[str, Any]:
    name = f"cell_{number}"
    found = {name: task_of(name, cell)}
    if cell["grouped"]:
        found[f"{name}_few"] = task_of(f"{name}_few", cell, "few")
        means = [m for m in KINDS[cell["kind"]][1] if m in ("acc", "acc_norm", "acc_bytes", "best")]
        found[f"{name}_group"] = {
            "group": f"{name}_group",
            "task": [name, f"{name}_few"],
            "aggregate_metric_list": [{"metric": m, "weight_by_size": True} for m in means],
            "metadata": {"version": 1.0},
        }
    return found


@pytest.fixture(scope="module")
def manager(tmp_path_factory) -> TaskManager:
    folder = tmp_path_factory.mktemp("likelihoods")
    for number, cell in enumerate(CELLS):
        for name, content in files_of(number, cell).items():
            Path(folder, f"{name}.yaml").write_text(text_of(content))
    return TaskManager(include_path=str(folder), include_defaults=False)


@pytest.fixture(scope="module")
def models(checkpoint) -> dict[bool, Scripted]:
    return {stats: Scripted(checkpoint, device="cpu", gen_length=8, task_stats=stats) for stats in (True, False)}


def script(doc: Any, key: Any) -> tuple[str, int]:
    return f"Pen {doc['number']}.", 2


def outcome(model: Any, manager: TaskManager, number: int, cell: Cell, **more: Any) -> Any:
    """Results, or the exception in words."""
    name = f"cell_{number}_group" if cell["grouped"] else f"cell_{number}"
    options = {k: cell[k] for k in ("predict_only", "log_samples", "num_fewshot")}
    try:
        return simple_evaluate(model=model, tasks=[name], task_manager=manager, bootstrap_iters=0, **options, **more)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def check_counts(found: Any, expected: Any, cell: Cell) -> None:
    """NFE of a document is the sum over its requests; the error of a likelihood is their mean."""
    wanted = cell["task_stats"] or cell["task_class"] == "lm_eval_mdlm"
    for task, own in found["results"].items():
        if task not in found["n-samples"]:
            continue
        theirs = expected["results"][task]
        # predict_only leaves nothing of these tasks in the table, and counts do not stand there alone.
        in_table = wanted and any("," in name for name in theirs)
        assert any(name.startswith("likelihood_se,") for name in own) == in_table
        assert any(name.startswith("nfe_saved") for name in own) is False
        all_nfe, all_errors = [], []
        for line in found.get("samples", {}).get(task, []):
            pairs = [args for args in line["arguments"] if not isinstance(args[-1], dict)]
            said = [score_of(args) for args in pairs]
            texts = len(line["arguments"]) - len(pairs)
            all_nfe.append(cell["repeats"] * sum(score.nfe for score in said) + 2 * texts)
            all_errors.append(sum(score.standard_error for score in said) / len(said))
            if wanted:
                assert line["likelihood_se"] == pytest.approx(all_errors[-1])
                assert "nfe" in expected["samples"][task][0] or line["nfe"] == all_nfe[-1]
        if in_table and all_nfe:
            assert own["likelihood_se,none"] == pytest.approx(sum(all_errors) / len(all_errors))
            assert "nfe,none" in theirs or own["nfe,none"] == pytest.approx(sum(all_nfe) / len(all_nfe))


def test_every_two_values_stand_together_in_a_generated_task():
    for one, other in itertools.combinations(FACTORS, 2):
        together = {(cell[one], cell[other]) for cell in CELLS}
        assert together == set(itertools.product(FACTORS[one], FACTORS[other]))


@pytest.mark.parametrize("number", range(len(CELLS)))
def test_generated_task_scores_as_lm_evals_own_code_does(manager, models, tmp_path, number):
    cell = CELLS[number]
    with scripting():
        expected = outcome(Plain(script), manager, number, cell)
        assert not isinstance(expected, str), expected
        model = models[cell["task_stats"]]
        model.script = script
        cache = {"use_cache": str(tmp_path / "cache")} if cell["use_cache"] else {}
        for again in range(1 + bool(cache)):
            model.num_decoded = 0
            found = outcome(model, manager, number, cell, **cache)
            assert not isinstance(found, str), found
            ours, theirs = without_counts(found, expected), scores(expected)
            if KINDS[cell["kind"]][0] == CHOICES and (cell["kind"] != "exact" or cell["predict_only"]):
                ours, theirs = without_greedy(ours), without_greedy(theirs)
            assert not list(differences(ours, theirs))
            assert (model.num_decoded == 0) == (again == 1)
            check_counts(found, expected, cell)

"""Any task scores under `--model mdlm` as lm_eval's own code scores the same texts, and counts stand beside that.

The tasks are generated: every two values of the factors below stand together in at least one. What lm_eval itself
cannot score (a metric of strings over lists, say) must fail in the same words.
"""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.running import answering
from tests.harness.pairwise import Cell, pairs_of, pairwise
from tests.harness.plain import Plain, Scripted, differences, keyed, scores, scripting, without_counts
from tests.harness.yaml_files import Function, text_of


REGEX = {"function": "regex", "regex_pattern": "([A-Za-z0-9.]+)"}
MAP = {"function": "map", "mapping_dict": {"red": 1, "two": "2", "a": "red pens"}, "default_value": "other"}
FIRST = {"function": "take_first"}
FILTERS: dict[str, Any] = {
    "default": None,
    "take_first": [("first", [FIRST])],
    "take_first_k": [("k", [{"function": "take_first_k", "k": 1}])],
    "majority_vote": [("vote", [{"function": "majority_vote"}, FIRST])],
    "regex": [("strict", [{**REGEX, "group_select": -1, "fallback": "none"}, FIRST])],
    "regex_map": [("mapped", [REGEX, MAP, FIRST])],
    "map_to_nothing": [("mapped", [REGEX, {**MAP, "default_value": None}, FIRST])],
    "lowercase": [("lower", [{"function": "lowercase"}, {"function": "remove_whitespace"}, FIRST])],
    "custom": [("own", [{"function": "custom", "filter_fn": Function("reverse_words")}, FIRST])],
    "lists": [("all", [{"function": "uppercase"}])],
    "pipelines": [
        ("raw", [FIRST]),
        ("vote", [{"function": "lowercase"}, {"function": "majority_vote"}, FIRST]),
        ("strict", [REGEX, FIRST]),
    ],
}
TARGETS: dict[str, Any] = {
    "string": {"doc_to_target": "text_answer"},
    "template": {"doc_to_target": "{{text_answer}} "},
    "integer": {"doc_to_target": "number"},
    "float": {"doc_to_target": "real"},
    "list": {"doc_to_target": "several"},
    "choice": {"doc_to_target": "label", "doc_to_choice": "choices"},
    "choice_template": {"doc_to_target": "{{label}}", "doc_to_choice": ["alpha", "Beta", "7"]},
}


def metric(name: str, **more: Any) -> dict[str, Any]:
    return {
        "metric": name,
        "aggregation": name if name in ("bleu", "chrf", "ter") else "mean",
        "higher_is_better": name != "ter",
        **more,
    }


EXACT = metric("exact_match")
OVERLAP = {**metric("overlap"), "metric": Function("overlap"), "aggregation": Function("largest")}
LENGTHS = {**metric("lengths"), "metric": Function("lengths")}
METRICS: dict[str, Any] = {
    "exact_match": {"metric_list": [EXACT]},
    "exact_match_lenient": {
        "metric_list": [{**EXACT, "ignore_case": True, "ignore_punctuation": True, "regexes_to_ignore": [",", "pens"]}]
    },
    "bleu": {"metric_list": [metric("bleu")]},
    "chrf": {"metric_list": [metric("chrf"), metric("bleu")]},
    "ter": {"metric_list": [metric("ter")]},
    "own": {"metric_list": [OVERLAP]},
    "several": {"metric_list": [EXACT, LENGTHS, OVERLAP]},
    "unnamed": {},
    "process_results": {
        "process_results": Function("process"),
        "metric_list": [metric("hit"), {**metric("pair"), "aggregation": Function("share_of_equal_pairs")}],
    },
    "process_results_by_kind": {
        "process_results": Function("process_by_kind"),
        "metric_list": [metric("hit"), metric("small"), metric("large"), metric("truncated")],
    },
}
CLASSES = (None, "OwnResults", "OwnFilters", "OwnAggregation", "TwoRequests", "Direct", "lm_eval_mdlm")
FACTORS: dict[str, Any] = {
    "filters": tuple(FILTERS),
    "targets": tuple(TARGETS),
    "metrics": tuple(METRICS),
    "task_class": CLASSES,
    "repeats": (1, 3),
    "grouped": ("no", "group", "nested"),
    "task_stats": (True, False),
    "use_cache": (False, True),
    "predict_only": (False, False, True),
    "log_samples": (True, False),
    "num_fewshot": (0, 1),
}
CELLS = pairwise(FACTORS, seed=9)
NUM_CELLS, NUM_PAIRS = 114, 1074


def task_of(name: str, cell: Cell, split: str = "test") -> dict[str, Any]:
    pipelines = FILTERS[cell["filters"]]
    own = {"lm_eval_mdlm": "lm_eval_mdlm.harness.task.MDLMTask"}
    draws = cell["repeats"] > 1 and not cell["use_cache"]
    return {
        "task": name,
        **({"class": Function(cell["task_class"])} if cell["task_class"] else {}),
        "custom_dataset": Function("documents"),
        "output_type": "generate_until",
        "test_split": split,
        "fewshot_split": "train",
        "fewshot_config": {"doc_to_target": "text_answer", "doc_to_choice": None},  # shots must be strings
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "repeats": cell["repeats"],
        "generation_kwargs": {"until": ["\n\n"], "do_sample": draws, "temperature": 1.0 if draws else 0.0},
        **TARGETS[cell["targets"]],
        **METRICS[cell["metrics"]],
        **({"filter_list": [{"name": n, "filter": steps} for n, steps in pipelines]} if pipelines else {}),
        "metadata": {"version": 1.0},
    } | ({"class": own[cell["task_class"]]} if cell["task_class"] in own else {})


def files_of(number: int, cell: Cell) -> dict[str, Any]:
    """The task of a cell, and the groups around it with a smaller sister task, so that sizes weigh."""
    name = f"cell_{number}"
    found = {name: task_of(name, cell)}
    if cell["grouped"] != "no":
        found[f"{name}_few"] = task_of(f"{name}_few", cell, "few")
        names = ["exact_match", "bleu", "ter", "overlap", "hit", "small", "characters", "bypass", "longest", "same"]
        found[f"{name}_group"] = {
            "group": f"{name}_group",
            "task": [name, f"{name}_few"],
            "aggregate_metric_list": [{"metric": m, "weight_by_size": m != "ter"} for m in names],
            "metadata": {"version": 1.0},
        }
    if cell["grouped"] == "nested":
        aggregated = found[f"{name}_group"]["aggregate_metric_list"]
        outer = {"group": f"{name}_outer", "task": [f"{name}_group"], "aggregate_metric_list": aggregated}
        found[f"{name}_outer"] = outer
    return found


@pytest.fixture(scope="module")
def manager(tmp_path_factory) -> TaskManager:
    folder = tmp_path_factory.mktemp("any")
    for number, cell in enumerate(CELLS):
        for name, content in files_of(number, cell).items():
            Path(folder, f"{name}.yaml").write_text(text_of(content))
    return TaskManager(include_path=str(folder), include_defaults=False)


@pytest.fixture(scope="module")
def models(checkpoint) -> dict[bool, Scripted]:
    return {
        stats: Scripted(checkpoint, device="cpu", gen_length=8, block_length=8, task_stats=stats)
        for stats in (True, False)
    }


@pytest.fixture(autouse=True)
def no_decoding():
    with scripting():
        yield


def script_of(cell: Cell):
    """Texts that are right about half of the time; equal ones for equal prompts, as a cache makes them."""

    def script(doc: Any, key: Any) -> tuple[str, int]:
        _, _, index, sample = key
        draw = random.Random(f"{doc['question']} {index} {0 if cell['use_cache'] else sample}")
        right = [
            doc["text_answer"],
            str(doc["number"]),
            str(doc["real"]),
            *doc["several"],
            doc["choices"][doc["label"]],
        ]
        wrong = ["", "Ünklar\n #### 12", "two", f"The answer is {doc['text_answer'].upper()}.", "B"]
        return draw.choice(right if draw.random() < 0.5 else wrong), draw.randrange(1, 9)

    return script


def outcome(model: Any, manager: TaskManager, number: int, cell: Cell, **more: Any) -> Any:
    """Results, or the exception in words."""
    name = f"cell_{number}" + {"no": "", "group": "_group", "nested": "_outer"}[cell["grouped"]]
    options = {k: cell[k] for k in ("predict_only", "log_samples", "num_fewshot")}
    try:
        return simple_evaluate(model=model, tasks=[name], task_manager=manager, bootstrap_iters=0, **options, **more)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def check_counts(found: Any, expected: Any, cell: Cell, script: Any) -> None:
    """NFE of every document and of every task are means of what the script has spent, unless the task has its own."""
    # predict_only replaces the methods of a task that is not a ConfigurableTask by attributes of the object.
    wanted = cell["task_stats"] or cell["task_class"] == "lm_eval_mdlm"
    wanted = wanted and not (cell["predict_only"] and cell["task_class"] == "Direct")
    for task in found["results"].keys() & found["n-samples"].keys():
        if "nfe" in json.dumps(expected["results"][task]):
            continue
        spent = {}
        for line in found.get("samples", {}).get(task, []):
            keys = itertools.product([task], [line["doc_id"]], range(len(line["resps"])), range(cell["repeats"]))
            all_nfe = [script(line["doc"], key)[1] for key in keys]
            spent[line["doc_id"]] = sum(all_nfe) / len(all_nfe)
            assert line.get("nfe") == (pytest.approx(spent[line["doc_id"]]) if wanted else None)
        means = [value for name, value in found["results"][task].items() if name.startswith("nfe,")]
        assert bool(means) == wanted
        if spent and cell["metrics"] != "process_results_by_kind":
            assert means == [pytest.approx(sum(spent.values()) / len(spent))] * (len(means) if wanted else 0)


def test_every_two_values_stand_together_in_a_generated_task():
    for one, other in itertools.combinations(FACTORS, 2):
        together = {(cell[one], cell[other]) for cell in CELLS}
        assert together == set(itertools.product(FACTORS[one], FACTORS[other]))
    num_pairs = len(set().union(*map(pairs_of, CELLS)))
    assert (len(CELLS), num_pairs) == (NUM_CELLS, NUM_PAIRS)


BEYOND_LM_EVAL = {
    "TypeError: 'float' object is not iterable": {"lists", "take_first_k", "regex_map", "map_to_nothing"},
    "TypeError: NoneType takes no arguments": {"map_to_nothing"},
}
"""What lm_eval itself cannot score, and after which filters."""


@pytest.mark.parametrize("number", range(len(CELLS)))
def test_generated_task_scores_as_lm_evals_own_code_does(manager, models, tmp_path, number):
    cell = CELLS[number]
    script = script_of(cell)
    expected = outcome(Plain(script), manager, number, cell)
    model = models[cell["task_stats"]]
    model.script = script
    cache = {"use_cache": str(tmp_path / "cache")} if cell["use_cache"] else {}
    for again in range(1 + bool(cache)):
        model.num_decoded = 0
        found = outcome(model, manager, number, cell, **cache)
        if isinstance(expected, str):
            assert found == expected and cell["filters"] in BEYOND_LM_EVAL[expected]
            continue
        assert not isinstance(found, str), found
        assert not list(differences(without_counts(found, expected), scores(expected)))
        assert (model.num_decoded == 0) == (again == 1)
        check_counts(found, expected, cell, script)


class Recording(MDLM):
    """Decodes, and remembers what it has answered."""

    texts: dict[Any, str]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        texts = super().generate_until(requests, disable_tqdm=True)
        self.texts |= dict(zip(keyed(requests), texts, strict=True))
        return texts


@pytest.mark.parametrize("number", [n for n, cell in enumerate(CELLS) if not cell["use_cache"]][::12])
def test_texts_that_the_network_decodes_score_as_lm_evals_own_code_scores_them(
    manager, checkpoint, monkeypatch, number
):
    monkeypatch.setattr("lm_eval_mdlm.harness.model.answer_all", answering.run)
    model = Recording(checkpoint, device="cpu", gen_length=6, block_length=6, k=3, batch_size=8)
    model.texts = {}
    cell = {**CELLS[number], "task_stats": True}
    found = outcome(model, manager, number, cell)
    expected = outcome(Plain(lambda doc, key: (model.texts[key], 0)), manager, number, cell)
    assert model.texts and len(set(model.texts.values())) > 1
    if isinstance(expected, str):
        assert found == expected
    else:
        assert not list(differences(without_counts(found, expected), scores(expected)))

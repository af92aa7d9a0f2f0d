"""Every task of a kind that lm_eval brings, over made documents: `mdlm` must score as a plain model does.

    python -m tests.harness.stock_tasks [--output_type multiple_choice] [--shard 0/4] [--seconds 600] [--report FILE]

Both models return the same texts or likelihoods, so nothing is decoded. What cannot be made without its data is counted
by reason.
"""

import argparse
import copy
import json
import logging
import os
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")

import datasets
import lm_eval.tasks
from lm_eval import evaluator
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

import lm_eval_mdlm.harness.model  # noqa: F401  watches evaluations
from lm_eval_mdlm.errors import UsageError
from tests.harness.plain import Plain, Scripted, differences, scores, scripting, without_counts, without_greedy
from tests.harness.stock_documents import STRATEGIES, Fields, fields_of, learn
from tests.tiny import make_checkpoint


LIMIT = 3
MOST_ATTEMPTS = 40
SCORED = "scored as by a plain model"


class Splits(dict):  # type: ignore[type-arg]
    """Whatever split a task asks for."""

    def __missing__(self, name: str) -> datasets.Dataset:
        return self["test"]


class HubMetric:
    """In place of a metric from the hub: shares of equal characters, under the names that the metric reports."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.name = name.split("/")[-1]

    def compute(self, predictions: Any = None, references: Any = None, **kwargs: Any) -> Any:
        assert predictions is not None and references is not None
        value = sum(map(ord, repr((predictions, references)))) % 101 / 100
        named = {
            "code_eval": ({"pass@1": value, "pass@10": value}, {}),
            "rouge": dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), value),
            "bertscore": {name: [value] for name in ("precision", "recall", "f1")},
            "bleurt": {"scores": [value]},
            "squad_v2": dict.fromkeys(("exact", "f1", "HasAns_exact", "HasAns_f1", "best_exact", "best_f1"), value),
            "squad": {"exact_match": value, "f1": value},
        }
        return named.get(self.name, {self.name: value})


OUTPUT_TYPES = ("generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling")


def of_type(manager: TaskManager, output_type: str) -> dict[str, Path]:
    """Names and files of all tasks that ask for this."""
    found = {}
    for name in manager.all_subtasks:
        path = manager.task_index[name].yaml_path
        if path is not None and path.is_relative_to(Path(lm_eval.tasks.__file__).parent):
            config = load_yaml(path, resolve_func=False)
            if config.get("output_type", "generate_until") == output_type:
                found[name] = path
    return found


def build(manager: TaskManager, name: str) -> ConfigurableTask:
    """A task over made documents.

    Raises:
        Exception: The last one, if no documents that were tried suit it.
    """
    config = load_yaml(manager.task_index[name].yaml_path, resolve_func=True)
    fields = fields_of(config)
    last: Exception | None = None
    attempts = 0
    for strategy in STRATEGIES:
        again = True
        while again and attempts < MOST_ATTEMPTS:
            attempts += 1
            try:
                return _try(manager, config, fields, strategy)
            except (ImportError, OSError):
                raise
            except (Exception, SystemExit) as error:
                last, again = error, learn(error, fields)
    assert last is not None
    raise last


def _try(manager: TaskManager, config: dict[str, Any], fields: Fields, strategy: Any) -> ConfigurableTask:
    made = Splits(test=fields.documents(strategy))
    datasets.load_dataset = lambda *args, **kwargs: made
    name = config["task"]
    if "class" in config:
        task = manager.load([name])["tasks"][name]
    else:
        task = ConfigurableTask(config={k: v for k, v in copy.deepcopy(config).items() if k not in ("tag", "group")})
    task.set_config("num_fewshot", task.config.num_fewshot or 0)
    task.set_fewshot_seed(0)
    task.build_all_requests(limit=LIMIT)
    model = Plain(script_for({name: task}))
    for instance in task.instances:
        instance.resps = list(getattr(model, instance.request_type)([instance] * instance.repeats))
    task.apply_filters()  # most of what can be wrong with a document shows while it is scored
    first = task.instances[0]
    for pipeline in first.filtered_resps:
        own = [instance for instance in task.instances if instance.doc_id == first.doc_id]
        task.process_results(first.doc, [instance.filtered_resps[pipeline] for instance in own])
    return task


def script_for(tasks: dict[str, Any]) -> Any:
    """Texts of which about half hold the target of their document."""

    def script(doc: Any, key: Any) -> tuple[str, int]:
        draw = random.Random(repr(key))
        try:
            target = tasks[key[0]].doc_to_target(doc)
        except (Exception, SystemExit):
            target = "7"
        gold = str(target[0] if isinstance(target, list) and target else target)
        right = [
            gold,
            f" {gold}.\n",
            f"So the answer is ({gold}).",
            f"#### {gold}",
            f"The answer is \\boxed{{{gold}}}.",
        ]
        wrong = ["", "7", "Ünklar [1, 2]", "(B)", "def f(x):\n    return x\n"]
        return draw.choice(right if draw.random() < 0.6 else wrong), draw.randrange(1, 9)

    return script


def outcome(model: Any, tasks: dict[str, Any]) -> Any:
    """Results, or the exception in words."""
    options = {"limit": LIMIT, "bootstrap_iters": 0, "confirm_run_unsafe_code": True}
    random.seed(0)  # some tasks shuffle choices
    for task in tasks.values():
        task.set_fewshot_seed(0)
    try:
        return evaluator.evaluate(lm=model, task_dict={"tasks": dict(tasks)}, **options)
    except UsageError as error:
        return error
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"


def compare(model: Scripted, tasks: dict[str, Any]) -> dict[str, str]:
    """For each task what became of it; one by one only where not all of them ran."""
    model.script = script_for(tasks)
    expected, found = outcome(Plain(model.script), tasks), outcome(model, tasks)
    both = isinstance(expected, dict) and isinstance(found, dict)
    if both and not list(unlike(found, expected)):
        counted = {n: any(k.startswith("nfe,") for k in found["results"][n]) for n in tasks}
        return {n: SCORED if counted[n] else "DIFFERS: no counts" for n in tasks}
    if len(tasks) > 1:
        return {n: became for name, task in tasks.items() for n, became in compare(model, {name: task}).items()}
    (name,) = tasks
    if isinstance(found, UsageError):
        return {name: f"refused: {found}"}
    if isinstance(expected, str) or isinstance(found, str):
        same = str(found) == str(expected)
        return {name: f"not made: {reason(str(expected))}" if same else f"DIFFERS: {expected!s:.300} | {found!s:.300}"}
    return {name: f"DIFFERS: {list(unlike(found, expected))!r:.600}"}


def unlike(found: Any, expected: Any) -> Iterator[str]:
    """Where results differ beside the counts, and beside greedy decoding, which is run only where a metric looks."""
    ours, theirs = without_counts(found, expected), scores(expected)
    if all(config.get("output_type") == "multiple_choice" for config in theirs["configs"].values()):
        ours, theirs = without_greedy(ours), without_greedy(theirs)
    return differences(ours, theirs)


def reason(text: str) -> str:
    """An exception without what is particular to one task."""
    if missing := re.search(r"No module named '([\w.]+)'", text):
        return f"package {missing.group(1).split('.')[0]} is not installed"
    text = re.sub(r"'(\w+) object'", r"\1 object", text)
    if re.search(r"offline|Couldn't (?:reach|find)|resolve|HTTPSConnection|Connection|cached files|NLTK|Hub", text):
        return "fetches something from the network"
    return re.sub(r"\d+", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", text.split("\n")[0]))[:110]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output_type", choices=OUTPUT_TYPES, default="generate_until")
    parser.add_argument("--shard", default="0/1", help="I/N: every N-th task, from the I-th on")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further batch after so long")
    parser.add_argument("--batch", type=int, default=40, help="tasks in one evaluation")
    parser.add_argument(
        "--report", type=Path, help="what became of each task, as JSON; what is scored there is not run again"
    )
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    import evaluate as hub_metrics

    hub_metrics.load = HubMetric
    began = time.monotonic()
    manager = TaskManager()
    names = sorted(of_type(manager, given.output_type))
    random.Random(0).shuffle(names)  # so that a part of them is like the whole
    shard, of = map(int, given.shard.split("/"))
    before = json.loads(given.report.read_text()) if given.report and given.report.exists() else {}
    became = {name: what for name, what in before.items() if what == SCORED}
    own = [name for name in names[shard::of] if name not in became]
    with tempfile.TemporaryDirectory() as folder, scripting():
        model = Scripted(
            str(make_checkpoint(Path(folder) / "checkpoint", "llada", max_length=1 << 17)), device="cpu", gen_length=8
        )
        for start in range(0, len(own), given.batch):
            if time.monotonic() - began > given.seconds:
                break
            tasks = {}
            for name in own[start : start + given.batch]:
                try:
                    tasks[name] = build(manager, name)
                except (Exception, SystemExit) as error:
                    became[name] = f"not made: {reason(f'{type(error).__name__}: {error}')}"
            became |= compare(model, tasks) if tasks else {}
            print(
                f"{start + given.batch} of {len(own)} after {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            if given.report:
                given.report.write_text(json.dumps(became, indent=1))
    print(f"{len(became)} of {len(names)} {given.output_type} tasks")
    for what, count in Counter(became.values()).most_common():
        print(f"{count:6d}  {what}")


if __name__ == "__main__":
    main()

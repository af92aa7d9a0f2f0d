"""The oracle of "any task": lm_eval's own code over the same texts, from a model that knows nothing of this package.

`Scripted` is `--model mdlm` without the network: requests are read, checked, cached and counted as always, and only
`run_rows` gives way to a script. `Plain` is an `LM` that returns what the script says and does nothing else.
"""

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy
import pytest
from lm_eval import evaluator
from lm_eval.api.model import LM

from lm_eval_mdlm.engine.record import Generation
from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.harness.reporting import HIGHER_IS_BETTER
from lm_eval_mdlm.running.answering import Answered


Key = tuple[str, Any, int, int]
"""Task, document, index of the request among its document's, and number of the sample."""
Script = Callable[[Any, Key], tuple[str, int]]
"""From a document and what names the response to a text and its NFE."""


def keyed(requests: list[Any]) -> list[Key]:
    """What names each response; the harness hands out a request that is to be sampled again as the same object."""
    seen: Counter[int] = Counter()
    keys = []
    for request in requests:
        keys.append((request.task_name, request.doc_id, request.idx, seen[id(request)]))
        seen[id(request)] += 1
    return keys


class Plain(LM):
    """Returns the script's texts."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return [self.script(r.doc, key)[0] for r, key in zip(requests, keyed(requests), strict=True)]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


class Scripted(MDLM):
    """Decodes by a script; to be used inside `scripting`."""

    script: Script
    num_decoded = 0
    asked: list[Any] = []  # noqa: RUF012  replaced as a whole

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        before, self.asked = self.asked, requests
        state = random.getstate()  # of which beartype draws in tests, to pick the items of a list that it checks
        _decoding.model = self
        try:
            return super().generate_until(requests, disable_tqdm=True)
        finally:
            self.asked = before
            random.setstate(state)


_decoding = threading.local()
"""Has the model whose requests this thread decodes."""


def _answer_all(backbone: Any, sections: Any, *, on_finish: Any, **rest: Any) -> Answered:
    model = _decoding.model
    generations = []
    for index, (request, key) in enumerate(zip(model.asked, keyed(model.asked), strict=True)):
        text, nfe = model.script(request.doc, key)
        generations.append(Generation(token_ids=[], text=text, nfe=nfe, tokens=2 * nfe))
        on_finish(index, generations[-1])
    model.num_decoded += len(generations)
    return Answered(
        records=generations, known=[False] * len(generations), nfe_by_process=[sum(g.nfe for g in generations)]
    )


@contextmanager
def scripting() -> Iterator[None]:
    """While it lasts, `Scripted` models decode by their scripts; nor does the harness look for commits and hardware."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_eval_mdlm.harness.model.answer_all", _answer_all)
        patch.setattr(evaluator, "add_env_info", lambda results: None)
        patch.setattr(evaluator, "get_git_commit_hash", lambda: None)
        yield


SAME = ("group_subtasks", "configs", "versions", "n-shot", "n-samples")
"""Parts of the results that no count has a place in."""
TABLES = ("results", "groups", "higher_is_better", "samples")


def scores(results: Any) -> dict[str, Any]:
    """The parts of results that tell of tasks."""
    return {**{name: results.get(name) for name in SAME}, **{name: results.get(name, {}) for name in TABLES}}


def without_counts(results: Any, plain: Any) -> dict[str, Any]:
    """The same parts without the counts, but for those that the plain model's results have too: the task's own."""

    def rest(values: Any, known: Any) -> Any:
        def own(name: str) -> bool:
            return name in known or name.split(",")[0].removesuffix("_stderr") not in HIGHER_IS_BETTER

        if isinstance(values, dict):
            return {name: value for name, value in values.items() if own(name)}
        return [name for name in values if own(name)] if isinstance(values, list) else values

    def lines(task: str) -> list[Any]:
        known = set().union(*plain["samples"].get(task, []))
        found = [rest(line, known) for line in results["samples"][task]]
        return [{**line, "metrics": rest(line["metrics"], known)} for line in found]

    parts = scores(results)
    for table in TABLES[:3]:
        parts[table] = {task: rest(v, plain.get(table, {}).get(task, {})) for task, v in parts[table].items()}
    return {**parts, "samples": {task: lines(task) for task in parts["samples"]}}


def differences(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Where two results differ, types included; NaN equals itself."""
    if type(ours) is not type(theirs):
        yield f"{where}: {ours!r:.200} is of another type than {theirs!r:.200}"
    elif isinstance(ours, dict):
        if list(ours) != list(theirs):
            yield f"{where}: names {list(ours)} and {list(theirs)}"
        for name in ours.keys() & theirs.keys():
            yield from differences(ours[name], theirs[name], f"{where}/{name}")
    elif isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            yield f"{where}: {len(ours)} and {len(theirs)} entries"
        for index, pair in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(*pair, f"{where}[{index}]")
    elif isinstance(ours, numpy.ndarray):
        if not numpy.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
            yield f"{where}: {ours!r:.200} and {theirs!r:.200}"
    elif isinstance(ours, partial):  # copies of one are not equal
        yield from differences(
            [ours.func, ours.args, ours.keywords], [theirs.func, theirs.args, theirs.keywords], where
        )
    elif ours != theirs and not (isinstance(ours, float) and math.isnan(ours) and math.isnan(theirs)):
        yield f"{where}: {ours!r:.200} and {theirs!r:.200}"

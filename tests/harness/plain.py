"""The oracle of "any task": lm_eval's own code over the same answers, from a model that knows nothing of this package.

`Scripted` is `--model mdlm` without the network: requests are read, checked, cached and counted as always, and only
`answer_all` gives way to a script. `Plain` is an `LM` that returns what the script says and does nothing else.
Log-likelihoods are made up from their texts alone, as `score_of` says.
"""

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy
import pytest
from lm_eval import evaluator
from lm_eval.api.model import LM

from lm_eval_mdlm.engine.record import Generation, Score, Scores
from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.harness.reporting import HIGHER_IS_BETTER
from lm_eval_mdlm.running.answering import Answered


Key = tuple[str, Any, int, int]
"""Task, document, index of the request among its document's, and number of the sample."""
Script = Callable[[Any, Key], tuple[str, int]]
"""From a document and what names the response to a text and its NFE."""


class MadeUp(NamedTuple):
    """What is said of a pair, or of a long text."""

    log_prob: float
    is_greedy: bool
    nfe: int
    standard_error: float


def score_of(texts: Sequence[str]) -> MadeUp:
    """Differs between any two pairs, and is the same whenever one is asked about."""
    draw = random.Random(repr(tuple(texts)))
    return MadeUp(-draw.uniform(0.1, 40), draw.random() < 0.4, draw.randrange(1, 9), draw.choice([0.0, 0.5, 1.25]))


def keyed(requests: list[Any]) -> list[Key]:
    """What names each response; the harness hands out a request that is to be sampled again as the same object."""
    seen: Counter[int] = Counter()
    keys = []
    for request in requests:
        keys.append((request.task_name, request.doc_id, request.idx, seen[id(request)]))
        seen[id(request)] += 1
    return keys


class Plain(LM):
    """Returns the script's texts, and made-up scores."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return [self.script(r.doc, key)[0] for r, key in zip(requests, keyed(requests), strict=True)]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [score_of(request.args)[:2] for request in requests]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        return [score_of(request.args).log_prob for request in requests]


class Scripted(MDLM):
    """Decodes by a script, and makes scores up; to be used inside `scripting`."""

    script: Script
    num_decoded = 0
    asked: list[Any] = []  # noqa: RUF012  replaced as a whole

    def _answer(self, requests: list[Any], read: Any, *, show: bool) -> list[Any]:
        before, self.asked = self.asked, requests
        state = random.getstate()  # of which beartype draws in tests, to pick the items of a list that it checks
        _decoding.model = self
        try:
            return super()._answer(requests, read, show=False)
        finally:
            self.asked = before
            random.setstate(state)


_decoding = threading.local()
"""Has the model whose requests this thread decodes."""


def _answer_all(backbone: Any, sections: Any, *, on_finish: Any, **rest: Any) -> Answered:
    model = _decoding.model
    records: list[Any] = []
    for index, (request, key) in enumerate(zip(model.asked, keyed(model.asked), strict=True)):
        if request.request_type == "generate_until":
            text, nfe = model.script(request.doc, key)
            records.append(Generation(token_ids=[], text=text, nfe=nfe, tokens=2 * nfe))
        else:
            said = score_of(request.args)._asdict()
            said["is_greedy"] &= any(text.wants_greedy for text in sections[0][index].texts)
            records.append(Scores((Score(**said),)))
        on_finish(index, records[-1])
    model.num_decoded += len(records)
    return Answered(records=records, known=[False] * len(records), nfe_by_process=[sum(r.nfe for r in records)])


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
            return name in known or name.split(",")[0].removesuffix("_stderr") not in {*HIGHER_IS_BETTER, "stop"}

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


def without_greedy(results: Any) -> Any:
    """Results whose samples do not tell whether choices are greedy: `mdlm` finds out only where a metric looks."""

    def rest(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            is_score = len(value) == 2 and isinstance(value[1], (bool, str)) and str(value[1]) in ("True", "False")
            return type(value)([value[0], None] if is_score else map(rest, value))
        return value

    names = ("resps", "filtered_resps")
    lines = {
        task: [{name: rest(value) if name in names else value for name, value in line.items()} for line in own]
        for task, own in results["samples"].items()
    }
    return {**results, "samples": lines}


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

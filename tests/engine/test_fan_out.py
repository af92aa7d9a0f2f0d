"""Requests that are made of many jobs, of none, or of several rounds of them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lm_eval_mdlm.decoding.logits import LogitRule
from lm_eval_mdlm.engine.job import Job, Kind
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.query import Query
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from tests.engine.test_memory_limits import Limited
from tests.toy import RandomBackbone


class Counting(Kind):
    """Counts passes, and keeps the names of the jobs that shared each."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def decide(self, jobs, reading, readout):
        self.passes.append([job.name for job in jobs])
        return [1] * len(jobs)


@dataclass(eq=False)
class Task(Job):
    """Needs so many passes over so many tokens."""

    kind: Counting
    name: str
    size: int = 2
    left: int = 1
    slots: list = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.left == 0

    @property
    def tokens_of_next_pass(self) -> int:
        return self.size

    def query(self) -> Query:
        return Query(canvases=[np.zeros(self.size, np.int64)], wanted=np.array([0]), rule=LogitRule(()))

    def advance(self, change) -> None:
        self.left -= change


def rounds(kind: Counting, name: str, *counts: int, size: int = 2):
    """A request of several rounds of jobs; its result is how many were done in each."""
    found = []
    for number, count in enumerate(counts):
        jobs = [Task(kind, f"{name}{number}.{i}", size) for i in range(count)]
        yield jobs
        found.append(sum(job.done for job in jobs))
    return found


def run(works: dict, budget: Budget, backbone=None):
    return list(answer(Readout(backbone or RandomBackbone(vocab_size=4)), works.items(), budget))


def test_hundreds_of_jobs_keep_their_order_and_fill_every_pass():
    kind = Counting()
    finished = run({name: rounds(kind, name, 300) for name in "abc"}, Budget(max_tokens=64))
    assert finished == [(name, [300]) for name in "abc"]
    asked = [f"{name}0.{i}" for name in "abc" for i in range(300)]
    assert [name for together in kind.passes for name in together] == asked
    assert [len(together) for together in kind.passes] == [32] * 28 + [4]


@pytest.mark.parametrize("budget", [Budget(max_rows=5), Budget(max_tokens=40), Budget(max_tokens=7)], ids=str)
def test_unequal_jobs_stay_within_the_budget_in_the_order_given(budget):
    kind, sizes = Counting(), [1 + i * i % 11 for i in range(200)]

    def work():
        yield [Task(kind, str(i), size) for i, size in enumerate(sizes)]

    backbone = RandomBackbone(vocab_size=4)
    run({"only": work()}, budget, backbone)
    assert [int(name) for together in kind.passes for name in together] == list(range(200))
    for number, lengths in enumerate(backbone.passes):
        if budget.max_rows:
            assert len(lengths) <= 5
        elif len(lengths) > 1:
            assert sum(lengths) <= budget.max_tokens
        if budget.max_tokens and number + 1 < len(backbone.passes):  # the next one did not fit any more
            assert sum(lengths) + backbone.passes[number + 1][0] > budget.max_tokens


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_requests_are_begun_than_allowed(most):
    kind, under_way, seen = Counting(), set(), []

    def work(name: str):
        under_way.add(name)
        seen.append(len(under_way))
        yield from rounds(kind, name, 3, 2)
        under_way.remove(name)

    run({name: work(name) for name in "abcdefg"}, Budget(max_rows=100, max_requests=most))
    assert max(seen) == most and len(seen) == 7


def test_requests_without_passes_end_at_once_and_in_order():
    kind = Counting()
    works = {"a": rounds(kind, "a"), "b": rounds(kind, "b", 0, 0), "c": rounds(kind, "c", 1), "d": rounds(kind, "d", 0)}
    assert run(works, Budget(max_rows=8, max_requests=1)) == [("a", []), ("b", [0, 0]), ("c", [1]), ("d", [0])]
    assert kind.passes == [["c0.0"]]


def test_rounds_without_jobs_are_passed_over():
    kind = Counting()
    assert run({"a": rounds(kind, "a", 0, 2, 0, 0, 1, 0)}, Budget()) == [("a", [0, 2, 0, 0, 1, 0])]
    assert kind.passes == [["a1.0", "a1.1"], ["a4.0"]]


def test_jobs_that_are_done_already_are_not_run():
    kind = Counting()

    def work():
        jobs = [Task(kind, "old", left=0), Task(kind, "new", left=2), Task(kind, "old", left=0)]
        yield jobs
        return [job.left for job in jobs]

    assert run({"a": work()}, Budget()) == [("a", [0, 0, 0])]
    assert kind.passes == [["new"], ["new"]]


def test_a_request_goes_on_only_when_all_its_jobs_are_done():
    kind, seen = Counting(), []

    def work():
        jobs = [Task(kind, str(i), left=1 + 3 * i) for i in range(3)]
        yield jobs
        seen.append([job.left for job in jobs])
        yield [Task(kind, "last")]

    run({"a": work()}, Budget(max_rows=2))
    assert seen == [[0, 0, 0]] and kind.passes[-1] == ["last"]


def test_later_rounds_come_before_requests_that_are_not_begun():
    kind = Counting()
    run({name: rounds(kind, name, 2, 2) for name in "abc"}, Budget(max_rows=2))
    assert ["".join(name[0] for name in together) for together in kind.passes] == ["aa", "aa", "bb", "bb", "cc", "cc"]


def test_rounds_that_begin_together_keep_the_order_of_their_requests():
    kind = Counting()
    finished = run({name: rounds(kind, name, 2, 2) for name in "abc"}, Budget(max_rows=6, max_tokens=12))
    assert finished == [(name, [2, 2]) for name in "abc"]
    assert kind.passes == [[f"{name}{number}.{i}" for name in "abc" for i in (0, 1)] for number in (0, 1)]


def test_later_rounds_of_several_requests_go_first_in_their_order_when_only_some_fit():
    kind = Counting()
    works = {"a": rounds(kind, "a", 1, 3), "b": rounds(kind, "b", 1, 3), "c": rounds(kind, "c", 9)}
    run(works, Budget(max_rows=3))
    order = [name for together in kind.passes for name in together]
    assert order[3:9] == ["a1.0", "a1.1", "a1.2", "b1.0", "b1.1", "b1.2"]


@pytest.mark.parametrize("after", [0, 1])
def test_an_error_of_a_request_is_passed_on_after_what_was_finished_before(after):
    kind = Counting()

    def broken():
        yield from rounds(kind, "b", *[1] * after)
        raise UsageError("no such thing")

    finished = []
    works = {"a": rounds(kind, "a", 1), "b": broken(), "c": rounds(kind, "c", 1)}
    with pytest.raises(UsageError, match="no such thing"):
        for pair in answer(Readout(RandomBackbone(vocab_size=4)), works.items(), Budget(max_rows=1)):
            finished.append(pair)
    assert finished == [("a", [1])] and not any("c0.0" in together for together in kind.passes)


def test_requests_are_drawn_only_when_there_may_be_room():
    kind, drawn = Counting(), []

    def queue():
        for name in "abcdef":
            drawn.append(name)
            yield name, rounds(kind, name, 4)

    found = [
        (name, len(drawn)) for name, _ in answer(Readout(RandomBackbone(vocab_size=4)), queue(), Budget(max_rows=4))
    ]
    assert found == [(name, i + 1) for i, name in enumerate("abcdef")]


@pytest.mark.parametrize("limit", [40, 9])
def test_memory_that_ends_leaves_rounds_and_order_as_they_are(limit):
    kind = Counting()
    backbone = Limited(lambda number, tokens: tokens > limit)
    assert run({name: rounds(kind, name, 30, 7, 1) for name in "abcd"}, Budget(), backbone) == [
        (name, [30, 7, 1]) for name in "abcd"
    ]
    done = [name for together in kind.passes for name in together]
    assert len(done) == len(set(done)) == 4 * 38 and backbone.failed
    for name in "abcd":
        own = [job for job in done if job[0] == name]
        assert own == [f"{name}{number}.{i}" for number, count in enumerate((30, 7, 1)) for i in range(count)]

"""One pool of requests: each is decoded once, by whoever has room, and comes back to the process that asked."""

import pickle
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.processes import ProcessGroup
from lm_eval_mdlm.running.work_sharing import Pool, Ticket
from tests.engine.test_scheduling import PROMPTS, HashBackbone
from tests.running.in_processes import FAST, MIXED, SAMPLED, SKEWED, SLOW, WORLD, Paced, request, shared_run


@pytest.fixture(scope="module")
def seen(tmp_path_factory, forks) -> list[dict]:
    """What each of three real processes saw."""
    folder = tmp_path_factory.mktemp("processes")
    ended = forks("tests.running.in_processes", str(folder), processes=WORLD)
    assert [one.returncode for one in ended] == [0] * WORLD, ended
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(WORLD)]


def one_process(backbone, requests):
    alone = ProcessGroup(alone=True)
    return shared_run(alone, backbone, [requests])[0].records


def test_processes_share_the_passes_though_one_asked_for_nearly_all(seen):
    nfe = seen[0]["skewed"][0].nfe_by_process
    assert sum(nfe) == 12 * SLOW + 12 * FAST == 240
    # Each process for itself: 192, 48 and 0. Shared: 80, but for a last row of 16 that somebody begins late.
    assert max(nfe) - min(nfe) <= SLOW + 8
    assert all(ours["skewed"][0].nfe_by_process == nfe for ours in seen)


def test_results_come_back_to_the_process_that_asked_as_one_process_gives_them(seen):
    for i, (ours, requests) in enumerate(zip(seen, SKEWED, strict=True)):
        assert ours["skewed"][0].records == one_process(Paced(), requests), i
    for number, sections in enumerate(MIXED):
        for ours, requests in zip(seen, sections, strict=True):
            assert ours["mixed"][number][0].records == one_process(HashBackbone(), requests)
    assert len({row.nfe for ours in seen for row in ours["mixed"][0][0].records}) > 1


def test_every_request_is_reported_once_where_it_was_made(seen):
    for ours in seen:
        for decoded, finished in (ours["skewed"], *ours["mixed"]):
            assert sorted(i for i, _ in finished) == list(range(len(decoded.records)))
            assert all(decoded.records[i] == generation for i, generation in finished)


def test_a_group_given_the_same_prompts_returns_all_records_everywhere(seen):
    expected = generate(HashBackbone(), PROMPTS, **SAMPLED)
    assert [ours["all"] for ours in seen] == [expected] * WORLD
    assert [ours["alone"] for ours in seen] == [expected[rank : rank + 1] for rank in range(WORLD)]
    assert {ours["differing"] for ours in seen} == {
        "UsageError: prompts, answers and options must be the same in all processes of a group, and they differ."
    }


def test_error_of_one_process_ends_all_with_its_reason(seen):
    own = "UsageError: gen_length must be a whole number, at least 1, got 0"
    others = "UsageError: stopped because process 2 failed: gen_length must be a whole number"
    assert [ours["refused"].startswith(others) for ours in seen] == [True, True, False]
    assert seen[2]["refused"].startswith(own)
    assert seen[2]["crash"] == "IndexError: list index out of range"
    assert seen[0]["crash"] == "RuntimeError: stopped because process 2 failed: IndexError: list index out of range"


def test_failure_in_decoding_stops_the_others_after_the_rows_they_have_begun(seen):
    assert seen[1]["nan"][0].startswith("UsageError: the network returned NaN in dtype")
    for ours in (seen[0], seen[2]):
        message, passes = ours["nan"]
        assert message.startswith("UsageError: stopped because process 1 failed: the network returned NaN")
        # 36 rows at two a time would be 72; process 1 needs a dozen passes to give up.
        assert passes <= 6 * FAST


class Member:
    """A process of a group, without the process: all members use the same counters."""

    def __init__(self, rank: int, counters) -> None:
        self.rank, self.counters = rank, lambda: counters


def pools(sections) -> list[Pool]:
    counters = ProcessGroup(alone=True).counters()
    return [Pool(Member(rank, counters), sections) for rank in range(len(sections))]


def test_own_requests_come_first_and_then_those_that_nobody_has_begun():
    sections = [[request()] * n for n in (3, 2, 4)]
    first, _, last = (pool.draw() for pool in pools(sections))
    assert next(first)[0] == Ticket(0, 0)
    assert [next(last)[0] for _ in range(5)] == [*(Ticket(2, i) for i in range(4)), Ticket(0, 1)]
    assert [ticket for ticket, _ in first] == [Ticket(0, 2), Ticket(1, 0), Ticket(1, 1)]
    assert list(last) == []


@pytest.mark.parametrize("seed", range(5))
def test_every_request_is_drawn_once_in_any_interleaving(seed):
    sections = [[request()] * n for n in (5, 0, 9, 1)]
    draws = [pool.draw() for pool in pools(sections)]
    order = torch.randint(len(draws), (200,), generator=torch.Generator().manual_seed(seed)).tolist()
    drawn = Counter(found[0] for i in order if (found := next(draws[i], None)))
    assert drawn == Counter(Ticket(owner, i) for owner, section in enumerate(sections) for i in range(len(section)))


def test_no_process_begins_more_requests_than_an_equal_share():
    pool = pools([[request()] * 7, []])[0]
    assert len(pool) == 7
    assert pool.within(Budget(max_tokens=99)) == Budget(max_requests=4, max_tokens=99)
    assert pool.within(Budget(max_requests=3, max_rows=9)) == Budget(max_requests=3, max_rows=9)
    assert pools([[], []])[0].within(Budget()).max_requests == 1


def test_pool_that_is_closed_by_an_error_gives_out_nothing_more():
    ours, theirs = pools([[request()] * 5, [request()] * 5])
    drawing = ours.draw()
    next(drawing)
    with pytest.raises(ZeroDivisionError):
        theirs.closed_on_error(lambda: 1 // 0)
    assert list(drawing) == [] == list(theirs.draw())
    assert theirs.closed_on_error(lambda: 3) == 3


def test_progress_counts_the_rows_of_all_processes():
    ours, theirs = pools([[request()] * 2] * 2)
    (generation,) = generate(HashBackbone(), PROMPTS[:1], gen_length=4)
    ours.count(generation)
    totals = theirs.count(generation)
    assert (totals.requests, totals.nfe, totals.tokens) == (2, 8, 2 * generation.tokens)


def test_processes_that_accelerate_does_not_see_are_refused(monkeypatch):
    from lm_eval_mdlm.running import processes as distributed

    class Alone:
        num_processes, process_index = 1, 0

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "Accelerator", lambda **options: Alone())
    monkeypatch.setattr(distributed, "watch_processes", lambda: SimpleNamespace(forming=nullcontext))
    with pytest.raises(UsageError, match="ACCELERATE_USE_CPU"):
        ProcessGroup()

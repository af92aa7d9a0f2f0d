"""The soak: its own requests pass it, and it tells what leaks, slows down or changes."""

import dataclasses
import json
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.soak import __main__ as script
from benchmarks.soak.bits import Bits, Comparison, bits_of
from benchmarks.soak.lane import Company, Lane
from benchmarks.soak.python_lane import PythonLane
from benchmarks.soak.questions import EVERYWHERE, FREE, GRID, Generating, Scoring, Texts
from benchmarks.soak.resources import PATHS_STAY, Bounds, Held, children
from benchmarks.soak.running import Timed, by_thirds, requests
from lm_eval_mdlm import Score, UsageError
from lm_eval_mdlm.engine.cache import CACHES, EXACT
from lm_eval_mdlm.options.exits import EXIT_RULES
from lm_eval_mdlm.options.likelihood import LIKELIHOODS
from lm_eval_mdlm.options.samplers import SAMPLERS
from tests.toy import RandomBackbone


CPU = torch.device("cpu")


class Made(Lane):
    """Answers by a function of its own."""

    name, kinds = "made", ("a", "b", "c")

    def __init__(self, answer) -> None:
        self.answer = answer

    def answered(self, asked: Sequence[tuple[str, int]], company: Company) -> list[Bits]:
        return [bits_of(self.answer(kind, number, company)) for kind, number in asked]


@pytest.fixture
def garbage_left(monkeypatch):
    """What a test leaves behind by itself is no garbage, and to look for some takes long."""
    monkeypatch.setattr("benchmarks.soak.resources.gc.collect", lambda: None)


def soak_of(answer) -> script.Soak:
    return script.Soak([Made(answer)], 900, 300, CPU)


def run_script(tmp_path, *more: str) -> dict:
    script.main(["--threads", "1", "--out", str(tmp_path), *more])
    return json.loads((tmp_path / "soak.json").read_text())


def check_report(report: dict, number: int, first: int) -> None:
    assert report["facts"]["requests"] == number
    assert [row["when"] for row in report["rows"]] == ["start", "middle", "end"]
    assert sum(row["requests in this third"] for row in report["rows"]) == number - first
    for part in ("tokens", "NFE", "exits", "entropies", "log-likelihoods", "recordings"):
        compared, differ = report["facts"][f"{part}, requests compared and differing"].split(", ")
        assert int(compared) > 0 and int(differ) == 0


def test_requests_of_every_kind_give_the_same_bits_when_they_are_asked_again(tmp_path):
    sizes = ["--requests", "130", "--first", "60", "--families", "llada", "sdar"]
    check_report(run_script(tmp_path, *sizes), 130, 60)


@pytest.mark.slow
def test_twenty_thousand_requests_leave_nothing_behind_and_do_not_slow_down(tmp_path):
    check_report(run_script(tmp_path), 20000, 1000)


def test_every_sampler_exit_cache_and_likelihood_has_a_kind():
    options = [kind.options(0) for kinds in (EVERYWHERE, FREE, GRID) for kind in kinds.values()]

    def asked(name: str, default: str) -> set[str]:
        return {own.get(name, default) for own in options}

    assert asked("sampler", "fixed_k") == {*SAMPLERS}
    assert asked("exit_rule", "entropy") == {*EXIT_RULES} and any("exit_threshold" in own for own in options)
    assert asked("cache", EXACT) == {*CACHES, "none"}
    assert asked("likelihood", "elbo") == {*LIKELIHOODS}


def test_every_kind_is_asked_as_often_as_any_other_and_no_request_twice():
    lanes = [Made(None), Made(None)]
    asked = requests(lanes, 60)
    assert sorted(one.number for one in asked) == [*range(60)]
    assert {sum((one.lane, one.kind) == (lane, kind) for one in asked) for lane in lanes for kind in "abc"} == {10}
    assert requests(lanes, 60) == asked


def test_a_result_that_depends_on_company_is_a_fault_counted_in_its_part(garbage_left):
    def by_company(kind, number, company):
        return {"tokens": number, "nfe": 3 if kind == "b" and company.batch_size == 8 else 2}

    soak = soak_of(by_company)
    soak.warm_up()
    soak.go_on(None)
    assert soak.again.compared == {"tokens": 300, "NFE": 300} and soak.since_start == 600
    (fault,) = soak.faults(Bounds())
    counted, of = (int(word) for word in fault.split() if word.isdigit())
    assert fault.startswith("NFE differ in ") and of == 300 and 0 < counted <= 100


def test_only_fields_that_both_have_are_compared_and_floats_to_the_bit():
    pairs = [
        ({"log_prob": -0.1, "nfe": 1}, {"log_prob": -0.1 - 2**-56, "nfe": 1}),
        ({"log_prob": float("nan")}, {"log_prob": float("nan")}),
        ({"nfe": 1}, {"text": "a"}),
        ({"text": "a"}, {"text": "a", "tokens": 1}),
        ({"answer_entropy": None}, {"answer_entropy": None}),
        ({"exit_step": None}, {"exit_step": 2}),
    ]
    comparison = Comparison()
    for first, second in pairs:
        comparison.add(bits_of(first), bits_of(second))
    assert comparison.compared == {"log-likelihoods": 2, "NFE": 1, "tokens": 1, "exits": 1}
    assert +comparison.differing == {"log-likelihoods": 1, "exits": 1}


def test_what_requests_leave_behind_is_a_fault_and_so_is_nothing_else(garbage_left):
    kept, descriptors, ended = [], [], threading.Event()

    def leaky(kind, number, company):
        kept.append([object() for _ in range(12)])
        kept.append(mmap.mmap(-1, 2**18))  # fresh pages: an allocator may have others free
        kept[-1].write(b"x" * 2**18)
        if len(descriptors) < 5:
            descriptors.append(os.dup(0))
            threading.Thread(target=ended.wait, args=(60,), daemon=True).start()
        return {"tokens": number}

    soak = soak_of(lambda kind, number, company: {"tokens": number})
    soak.warm_up()
    soak.others = [dataclasses.replace(asked, lane=Made(leaky)) for asked in soak.others]
    soak.go_on(None)
    assert [fault.split()[0] for fault in soak.faults(Bounds())] == ["resident", "blocks", "open_files", "threads"]
    ended.set()
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_child_that_nobody_has_waited_for_counts_until_somebody_does():
    before = children()
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert children() == before + 1
    child.wait()
    assert children() == before


def test_a_journal_or_a_recording_that_does_not_hold_what_was_asked_ends_the_soak(tmp_path):
    backbone = RandomBackbone(vocab_size=6)
    lane, company = PythonLane("toy", backbone), Company(mixed=True, batch_size=1, journal=True, record=False)
    scores = iter([Score(log_prob=-float(number), standard_error=0.0, nfe=1) for number in (1, 1, 1, 2)])
    assert lane._kept([], lambda **how: [next(scores)], company)[0]["log_prob"] == "-1.0"
    with pytest.raises(RuntimeError, match="toy: a journal gave back other results"):
        lane._kept([], lambda **how: [next(scores)], company)

    texts, options = [Texts([number, 1], [2]) for number in (1, 2)], {"gen_length": 3}
    one, other = (Generating().question(backbone, own, options) for own in texts)
    Generating().records(backbone, texts[:1], options, record_steps=str(tmp_path))
    assert len(lane._steps([one, Scoring().question(backbone, texts[0], {})], tmp_path)[0]["steps"]) == 32
    with pytest.raises(RuntimeError, match="toy: a recording does not hold the rows"):
        lane._steps([other], tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--requests", "10", "--first", "6"], "--first must be at most half of --requests, got 6 of 10"),
        (["--harness", "--device", "cuda"], "--harness runs on a CPU only, got --device cuda"),
    ],
)
def test_what_cannot_be_asked_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        script.main(given)


def test_only_passes_that_were_recorded_meanwhile_may_take_more_memory_of_a_gpu_and_tensors_never():
    nothing = Held(resident=0, blocks=0, open_files=0, threads=0, children=0, allocated=0, reserved=0, taken=0)
    grown = dataclasses.replace(nothing, allocated=2**27, reserved=2**27, taken=2**27, resident=2**27, blocks=8000)
    names = ["resident", "blocks", "allocated", "reserved", "taken"]
    bounds = Bounds(blocks_per_request=0.1, recorded=256)
    assert [fault.split()[0] for fault in bounds.exceeded(nothing, grown, 10)] == names
    recorded = dataclasses.replace(grown, recorded=200)
    assert [fault.split()[0] for fault in bounds.exceeded(nothing, recorded, 10)] == ["allocated"]
    more = dataclasses.replace(recorded, blocks=recorded.blocks + 5001)
    assert [fault.split()[0] for fault in bounds.exceeded(recorded, more, 0)] == ["blocks"]
    assert bounds.exceeded(nothing, dataclasses.replace(nothing, recorded=256), 0) == []
    assert bounds.exceeded(nothing, dataclasses.replace(nothing, recorded=257), 0) == [
        "recorded passes are 257, and may be 256"
    ]


def test_parts_of_paths_may_stay_only_where_this_python_keeps_them():
    before = sys.getallocatedblocks()
    for number in range(2000):
        Path(f"of the soak, {number}", f"and {number}").parts  # noqa: B018
    stayed = sys.getallocatedblocks() - before > 1500
    assert stayed == PATHS_STAY == (Bounds().blocks_per_request > 1)


def test_a_last_third_that_is_slower_than_the_first_is_a_fault_where_it_lasts_long_enough(garbage_left):
    soak = script.Soak([Made(None)], 90, 30, CPU)
    soak.held = dict.fromkeys(("start", "end"), Held.now(CPU))

    def told(*processor_seconds: float, seconds: float = 40.0) -> list[str]:
        soak.timed = [Timed(20, seconds, own) for own in processor_seconds]
        return soak.faults(Bounds())

    assert told(10.0, 30.0, 12.0) == [] == told(10.0, 10.0, 13.0, seconds=29.0)
    assert told(10.0, 10.0, 13.0) == ["requests per second fell from 2.0 to 1.5"]


def test_thirds_hold_whole_lots_and_all_of_them():
    timed = [Timed(count, float(count), 1.0) for count in (10, 50, 10, 40, 40, 30)]
    assert [third.requests for third in by_thirds(timed)] == [60, 50, 70]
    assert sum(third.seconds for third in by_thirds(timed)) == 180


def test_new_requests_end_with_their_time_and_the_first_ones_are_asked_again_all_the_same(garbage_left):
    soak = script.Soak([Made(lambda kind, number, company: {"tokens": number})], 5000, 50, CPU)
    soak.warm_up()
    soak.go_on(0.0)
    assert soak.again.compared == {"tokens": 50} and soak.since_start < 250
    assert {*soak.held} == {"start", "middle", "end"} and soak.faults(Bounds()) == []

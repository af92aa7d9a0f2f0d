"""When the sandbox's processes end, and in what state they leave the evaluator."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_eval_mdlm.scoring.isolated.kernel import PR_GET_DUMPABLE, prctl
from lm_eval_mdlm.scoring.sandbox import Check, Executions
from lm_eval_mdlm.scoring.starting import undumpable

from .programs import RIGHT, TEST, verdict


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def descendants(parent: int) -> list[int]:
    return [found for child in children(parent) for found in (child, *descendants(child))]


def status(process: int) -> str:
    """Empty once the process is gone."""
    try:
        return Path(f"/proc/{process}/status").read_text()
    except OSError:
        return ""


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def ended(process: int) -> bool:
    return not status(process) or "Z (zombie)" in status(process)


EVALUATOR = """
import sys
from lm_eval_mdlm.scoring.sandbox import Check, run_checks
program = "import time\\ntime.sleep(600)"
print(run_checks([Check(program=program, entry_point="f", test="def check(c): pass")] * 1)[0].status)
"""


@pytest.fixture
def evaluator(tmp_path) -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """A process that waits for a program that sleeps, and the sandbox's processes: starter, judge, program."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", EVALUATOR], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(lambda: [p for p in descendants(process.pid) if "Seccomp:\t2" in status(p)])
            yield process, descendants(process.pid)
        finally:
            process.kill()


@pytest.mark.parametrize("victim", ["evaluator", "starter", "judge"])
def test_nothing_is_left_running_or_lying_about_after_a_kill(evaluator, victim, tmp_path):
    process, (starter, judge, program) = evaluator
    os.kill({"evaluator": process.pid, "starter": starter, "judge": judge}[victim], signal.SIGKILL)
    assert wait_for(lambda: ended(judge) and ended(program))
    if victim == "evaluator":
        assert wait_for(lambda: ended(starter))
    else:
        assert process.communicate(timeout=30)[0] == "error\n"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_running_after_a_verdict():
    before = set(descendants(os.getpid()))
    for program in (RIGHT, "import time\ntime.sleep(60)", "import os\nos._exit(0)"):
        verdict(program, wall_seconds=0.5)
    assert set(descendants(os.getpid())) <= before


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, signal.SIG_DFL])
def test_evaluator_that_ignores_its_children_gets_the_same_verdicts(disposition):
    before = signal.signal(signal.SIGCHLD, disposition)
    try:
        assert verdict(RIGHT).status == "passed"
        assert verdict("import os\nos._exit(3)").reason == "the program exited with status 3 before the test was over"
        assert verdict("while True: pass", cpu_seconds=1).reason == "1 s of processor time"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_evaluator_cannot_be_read_for_the_time_and_is_as_before_after_it():
    def dumpable() -> int:
        return prctl(PR_GET_DUMPABLE)

    before = dumpable()
    executions = Executions(num_workers=1)
    executions.begin([Check(program="import time\ntime.sleep(1)" + RIGHT, entry_point="f", test=TEST)])
    assert wait_for(lambda: dumpable() == 0)
    with undumpable():
        pass
    assert dumpable() == 0  # the other use goes on
    assert wait_for(lambda: dumpable() == before)
    with pytest.raises(ZeroDivisionError), undumpable():
        assert dumpable() == 0
        raise ZeroDivisionError
    assert dumpable() == before

"""No attack passes, none is felt by anybody else, and none stops the others from being judged."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lm_eval_mdlm.scoring.sandbox import Check, Limits, Verdict, run_checks
from lm_eval_mdlm.scoring.verdicts import DEFAULT_LIMITS

from .attacks import ATTEMPTS, attempt
from .hostile import BURDENS, CHEATS, FORGERIES, forgery, wrong
from .programs import RIGHT, TEST


LIBC = ctypes.CDLL(None, use_errno=True)
SECRET = "the-secret-of-the-user"
IPC_PRIVATE, IPC_RMID, IPC_STAT = 0, 0, 2
QUICK = Limits(cpu_seconds=1, wall_seconds=6)


class Surroundings:
    """What a program must leave alone: a process of the same user, a file, and objects of the kernel."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "HF_TOKEN": SECRET}
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10**6)"], env=environment)
        self.file = folder / "mine"
        self.file.write_text(SECRET)
        self.shared = LIBC.shmget(IPC_PRIVATE, 4096, 0o666)
        self.semaphore = LIBC.semget(IPC_PRIVATE, 1, 0o666)
        self.queue = LIBC.msgget(IPC_PRIVATE, 0o666)

    def names(self) -> dict[str, object]:
        numbers = {"VICTIM": self.process.pid, "EVALUATOR": os.getpid(), "SHM": self.shared}
        return {**numbers, "SEM": self.semaphore, "MSG": self.queue, "TARGET": str(self.file)}

    def state(self) -> tuple:
        file, buffer = self.file.stat(), ctypes.create_string_buffer(1024)
        own = self.process.pid
        return (
            self.process.poll(),
            Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[15:17],  # priority and niceness
            (os.sched_getaffinity(own), os.sched_getscheduler(own), Path(f"/proc/{own}/limits").read_text()),
            (file.st_mode, file.st_uid, file.st_size, file.st_mtime_ns, file.st_nlink, self.file.read_text()),
            sorted(path.name for path in self.file.parent.iterdir()),
            LIBC.shmctl(self.shared, IPC_STAT, buffer),
            LIBC.semctl(self.semaphore, 0, IPC_STAT, buffer),
            LIBC.msgctl(self.queue, IPC_STAT, buffer),
            [Path(path).exists() for path in ("/dev/shm/mdlm-attack", "/tmp/mdlm-attack", "/dev/mqueue/mdlm-attack")],
        )

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        LIBC.shmctl(self.shared, IPC_RMID, None)
        LIBC.semctl(self.semaphore, 0, IPC_RMID, None)
        LIBC.msgctl(self.queue, IPC_RMID, None)


@pytest.fixture
def surroundings(tmp_path) -> Iterator[Surroundings]:
    made = Surroundings(tmp_path)
    yield made
    made.end()


def left_running() -> list[int]:
    """Processes of the sandboxes of this process: the number of it stands in their command lines."""
    mark, found = f'"parent": {os.getpid()}'.encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass
    return found


def judged(
    programs: Mapping[str, str], limits: Limits = DEFAULT_LIMITS, num_workers: int | None = None
) -> dict[str, Verdict]:
    """The verdicts, after the checks that hold for every set of wrong programs."""
    # Right ones between them, which have to pass beside whatever else runs.
    checks = [Check(program=text, entry_point="f", test=TEST) for pair in programs.values() for text in (pair, RIGHT)]
    verdicts = run_checks(checks, limits=limits, num_workers=num_workers)
    assert {verdict.status for verdict in verdicts[1::2]} == {"passed"}
    found = dict(zip(programs, verdicts[::2], strict=True))
    assert {name: verdict for name, verdict in found.items() if verdict.status == "passed"} == {}
    assert not any(SECRET in verdict.output + verdict.reason for verdict in verdicts)
    deadline = time.monotonic() + 20
    while left_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_running() == []
    return found


def test_nothing_that_is_attempted_is_reached(surroundings):
    before = surroundings.state()
    found = judged({name: attempt(text, **surroundings.names()) for name, text in ATTEMPTS.items()})
    assert {name: verdict.output for name, verdict in found.items() if "REACHED" in verdict.output} == {}
    assert {name: verdict for name, verdict in found.items() if verdict.status != "failed"} == {}
    assert surroundings.state() == before


def test_attempts_would_be_seen():
    found = judged({"harmless": attempt("os.getpid()")})
    assert found["harmless"].output == "REACHED\n"


def test_no_cheat_passes(surroundings):
    before = surroundings.state()
    found = judged({name: wrong(text) for name, text in CHEATS.items()})
    assert {name: verdict for name, verdict in found.items() if verdict.status != "failed"} == {}
    assert surroundings.state() == before


def test_no_forged_message_passes_or_ends_the_run(surroundings):
    before = surroundings.state()
    judged({name: forgery(text) for name, text in FORGERIES.items()}, QUICK)
    assert surroundings.state() == before


def test_no_burden_outlives_its_limits(surroundings):
    before, started = surroundings.state(), time.monotonic()
    found = judged({name: wrong(text) for name, text in BURDENS.items()}, QUICK, num_workers=8)
    assert {name: verdict for name, verdict in found.items() if verdict.status == "error"} == {}
    assert time.monotonic() - started < 120
    assert surroundings.state() == before

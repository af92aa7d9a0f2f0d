"""Comparisons of LaTeX answers that end: math-verify, in another process, under limits that the kernel keeps.

A time limit by signal, math-verify's own, works in the main thread only and cannot interrupt a long step of arithmetic.
Here a process is started once, and forks a child per question; a question that reaches a limit is answered with None,
and the next ones are not touched. May be used from any thread.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path


CPU_SECONDS = 2.0
"""Processor time of one question; the references take a tenth of a second at most."""
WALL_SECONDS = 30.0
"""Of one question, on a machine however busy."""
SPARE_SECONDS = 30.0  # beyond a question's own time, for the process that forks
START_SECONDS = 120.0

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_MODULE = "lm_eval_mdlm.scoring.comparing"


def is_correct(text: str, answer: str) -> bool | None:
    """Whether the solution `text` ends in something equal to the LaTeX `answer`; None if that was not found in time."""
    return _ask("is_correct", text, answer)


def stock_match(text: str, solution: str) -> bool | None:
    """Whether math-verify by its defaults finds the two texts' answers equal; None if not in time."""
    return _ask("stock_match", text, solution)


def _ask(name: str, *arguments: str) -> bool | None:
    with _lock:
        for _ in range(2):  # a process that somebody ended is replaced once
            try:
                return _running().ask(name, *arguments)
            except _Ended:
                _stop()
    raise RuntimeError(
        f"the process that compares answers ended twice: python -m {_MODULE} fails here; run it by hand."
    )


class _Ended(Exception):
    """The process is gone, or does not answer."""


class _Comparer:
    def __init__(self) -> None:
        self.owner = os.getpid()
        path = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", ""))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            self._line(START_SECONDS)
        except _Ended:
            self.stop()
            raise

    def ask(self, name: str, *arguments: str) -> bool | None:
        assert self.process.stdin
        # JSON's escapes carry any character, lone surrogates among them
        line = json.dumps([name, CPU_SECONDS, WALL_SECONDS, *arguments])
        try:
            self.process.stdin.write(line.encode("ascii") + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _Ended from error
        answer: bool | None = json.loads(self._line(WALL_SECONDS + SPARE_SECONDS))
        return answer

    def _line(self, seconds: float) -> bytes:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else b""
        if not line.endswith(b"\n"):
            raise _Ended
        return line

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


_lock = threading.Lock()
_comparer: _Comparer | None = None


def _running() -> _Comparer:
    """The process of this process: one that forked leaves its parent's alone."""
    global _comparer
    if _comparer is None or _comparer.owner != os.getpid():
        _comparer = _Comparer()
    return _comparer


def _stop() -> None:
    global _comparer
    comparer, _comparer = _comparer, None
    if comparer is not None and comparer.owner == os.getpid():
        comparer.stop()


atexit.register(_stop)

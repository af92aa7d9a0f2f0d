"""The evaluator's end of the sandbox: a process that starts judges, one check at a time, and the pipes to them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .conversation import Conversation
from .isolated.kernel import PR_GET_DUMPABLE, PR_SET_DUMPABLE, prctl
from .verdicts import Check, Limits, Protection, Verdict


PACKAGE_ROOT = Path(__file__).resolve().parents[2]
STARTER = "lm_eval_mdlm.scoring.isolated.starter"
SPARE_SECONDS = 90.0
"""Beyond a program's own time; more than the starter's, which ends a judge that is late."""

_dumpable_lock = threading.Lock()
_dumpable_before: list[int] = []


@contextlib.contextmanager
def undumpable() -> Iterator[None]:
    """Keep this process's memory, environment and descriptors from other processes of its user for the time.

    Uses may overlap, in threads too; what was before comes back after the last.
    """
    with _dumpable_lock:
        _dumpable_before.append(prctl(PR_GET_DUMPABLE))
        prctl(PR_SET_DUMPABLE, 0)
    try:
        yield
    finally:
        with _dumpable_lock:
            before = _dumpable_before.pop()
            if not _dumpable_before and before == 1:
                prctl(PR_SET_DUMPABLE, 1)


class NotConfined(Exception):
    """Nothing of the program was run; the text says what is known."""


class Starter:
    """Checks programs one after the other, each in processes of its own; a context manager."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket
        self._last_words = ""  # what the last one that ended wrote to its standard error
        self._undumpable = undumpable()
        self.protection: Protection | None = None
        """Of the last program."""

    def __enter__(self) -> "Starter":
        self._undumpable.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        self._undumpable.__exit__(None, None, None)

    def check(self, check: Check) -> Verdict:
        """Run one check.

        Raises:
            RuntimeError: If the program could not be confined, before anything of it was run.
        """
        with contextlib.suppress(NotConfined, OSError):
            return self._attempt(check)
        self._stop()  # whatever has ended it may not happen again
        try:
            return self._attempt(check)
        except (NotConfined, OSError) as error:
            raise RuntimeError(f"the sandbox gave no verdict: {' '.join(str(error).split())}") from None

    def _attempt(self, check: Check) -> Verdict:
        control = self._started()
        conversation = Conversation(asdict(check), self._limits.output_bytes)
        try:
            try:
                socket.send_fds(control, [json.dumps(asdict(self._limits)).encode()], conversation.far_ends)
            except OSError:
                self._stop()
                raise NotConfined(self._last_words) from None
            finally:
                conversation.close_far_ends()
            finished = conversation.run(self._limits.wall_seconds + SPARE_SECONDS)
        finally:
            conversation.close()
        ending = self._ending() if finished else {"late": True, "status": 0}
        if not finished:
            self._stop()
        return self._verdict(conversation, ending)

    def _verdict(self, conversation: Conversation, ending: dict[str, Any]) -> Verdict:
        output = conversation.output.decode(errors="replace")
        lines = [json.loads(line) for line in conversation.report.splitlines(keepends=True) if line.endswith(b"\n")]
        if not lines:
            raise NotConfined(output.strip()[-500:] or self._last_words or "it did not answer in time")
        if "refused" in lines[0]:
            raise RuntimeError(f"the program cannot be confined: {lines[0]['refused']}")
        self.protection = Protection(**lines[0]["protection"])
        if len(lines) > 1:
            return Verdict(**lines[1], output=output)
        signalled = os.WTERMSIG(ending["status"]) if os.WIFSIGNALED(ending["status"]) else 0
        if ending["late"] or signalled == signal.SIGXCPU:
            return Verdict(status="timed out", reason="the test did not come to an end", output=output)
        how = f"wait status {ending['status']}"
        return Verdict(status="error", reason=f"the test's process ended without a verdict, {how}", output=output)

    def _started(self) -> socket.socket:
        if self._process is None:
            self._control, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            settings = {"control": far_end.fileno(), "parent": os.getpid(), "libraries": libraries()}
            code = f"import sys; sys.path[0] = {str(PACKAGE_ROOT)!r}; from {STARTER} import main; main()"
            with far_end:
                self._process = subprocess.Popen(
                    [sys.executable, "-s", "-S", "-B", "-u", "-c", code, json.dumps(settings)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    env=environment(),
                    pass_fds=[far_end.fileno()],
                    start_new_session=True,
                )
        return self._control

    def _ending(self) -> dict[str, Any]:
        """How the judge has ended, as the starter says."""
        try:
            message = self._control.recv(1 << 16)
        except OSError:
            message = b""
        if not message:
            self._stop()
        return json.loads(message or b'{"late": false, "status": 0}')  # type: ignore[no-any-return]

    def _stop(self) -> None:
        """End the starter, if there is one, and all that it has started."""
        process, self._process = self._process, None
        if process is not None:
            self._control.close()
            process.kill()
            self._last_words = process.communicate()[1].decode(errors="replace").strip()[-500:]


def libraries() -> list[str]:
    """Folders of installed packages, which programs may import."""
    named = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    return [path for path in dict.fromkeys(map(os.path.abspath, named)) if os.path.isdir(path)]


def environment() -> dict[str, str]:
    """Nothing of the user's but what an interpreter may need to start; hashes are fixed, so verdicts repeat."""
    loader = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # One arena, because each thread's own would take 64 MiB of the address space that a program may use.
    own = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/", "MALLOC_ARENA_MAX": "1", "PYTHONHASHSEED": "0"}
    return {**loader, **threads, **own}

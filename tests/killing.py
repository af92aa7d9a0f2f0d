"""Killing a program with all that it has started."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path


def children(pid: int) -> set[int]:
    """Of a process, and theirs."""
    found = {int(own) for own in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return found | {own for child in found for own in children(child)}


def kill_with_children(running: subprocess.Popen) -> None:
    """SIGKILL to all, one by one: torchrun gives each of its processes a session, and so a group, of its own."""
    for pid in (running.pid, *children(running.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.wait()

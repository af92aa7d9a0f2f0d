"""Takes every right away from a process that computing does not need."""

import os
import platform
import resource
import signal
import socket
from dataclasses import dataclass

from . import landlock
from .kernel import MAX_OPEN_FILES, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, drop_capabilities, lower_limit, prctl
from .seccomp import filter_program, install
from .threads import hand_over_decision


_NOTHING = ("FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "NICE", "RTPRIO")


@dataclass(frozen=True)
class Protection:
    """What of the confinement this machine can do beyond the filter and the limits, which always stand."""

    landlock: int
    """Version of Landlock; 0 without."""
    threads: bool
    """They are counted, and so may be made."""


def confine(*, cpu_seconds: int, memory_bytes: int, libraries: list[str], judge: socket.socket) -> Protection:
    """Give up for good every right that computing does not need; OSError if the kernel refuses.

    The filter comes last, because it forbids what the other lines do.

    Args:
        cpu_seconds: Processor time of this process from its start.
        memory_bytes: Its address space.
        libraries: Folders that it may read beside the interpreter's own.
        judge: To whoever decides about threads.
    """
    lower_limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds)  # SIGKILL at once: the first process of a namespace is
    # deaf to SIGXCPU
    lower_limit(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    lower_limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES)
    for name in _NOTHING:
        lower_limit(getattr(resource, f"RLIMIT_{name}"), 0, 0)
    drop_capabilities()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever sent the limits lived then, or the reply to them fails
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    machine = platform.machine()
    version = landlock.version()
    if version:
        landlock.restrict_files(version, libraries)
    threads = hand_over_decision(machine, judge)
    if not threads:
        lower_limit(resource.RLIMIT_NPROC, 0, 0)
    install(filter_program(machine, process=os.getpid(), writing=version > 0, threads=threads))
    return Protection(version, threads)

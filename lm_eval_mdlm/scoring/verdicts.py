"""What is to be checked, within which limits, and what comes out."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Check:
    """One program and its test: does `check(program's entry_point)` return?"""

    program: str
    """Python source that defines `entry_point`; not trusted."""
    entry_point: str
    """Name of the function under test."""
    test: str
    """Python source that defines `check`; trusted."""
    setup: str = ""
    """Python source run before the test, for helpers that it uses; trusted."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use."""

    cpu_seconds: int = 5
    """Processor time of the program alone, so that a busy machine does not change a verdict."""
    wall_seconds: float = 60.0
    """Ends a program that only waits; far more than the above, for a busy machine may give it little at a time."""
    memory_bytes: int = 1 << 30
    """Address space."""
    output_bytes: int = 1 << 16
    """Kept of what is printed; the rest is read and dropped."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a program fared."""

    status: Literal["passed", "failed", "timed out", "error"]
    """`error` if no verdict could be reached for a reason that does not show whether the program is right."""
    reason: str
    """Short; empty for a program that passed."""
    output: str
    """What program and test printed, up to the limit."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What keeps programs on this machine beyond the filter of system calls and the limits, without which none runs."""

    landlock: int
    """Version of the kernel's Landlock; 0 without."""
    threads: bool
    process_namespace: bool

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing, a sentence each."""
        missing = {
            "this kernel has no Landlock, so a program can read every file that you can, and not open /dev/null to "
            "write": not self.landlock,
            "this kernel cannot count threads (seccomp_unotify), so a program that starts one fails": not self.threads,
            "no namespace of processes can be had here, so a program can see the names of others": (
                not self.process_namespace
            ),
        }
        return tuple(sentence for sentence, lacks in missing.items() if lacks)

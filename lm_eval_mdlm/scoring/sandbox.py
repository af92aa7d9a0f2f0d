"""Runs a generated program against a benchmark's test and says whether it passed.

What the kernel guarantees for the program (`seccomp`, rlimits, no capabilities): it creates no socket, no process and
no thread, changes no file, signals and traces nobody, and ends at its limits of time and memory. What keeps the verdict
honest: the test runs in another process, which alone holds the pipe for the verdict and reads nothing but plain data
from the program. It passes only if the benchmark's `check` has returned there.

What is not guaranteed: the program can read every file that the user can, and what it read can appear in `output` and
`reason`; it cannot send it anywhere. A hole in the kernel is a hole here. Where these means are missing (not Linux on
x86_64 or aarch64, or a container that forbids seccomp) nothing is run.
"""

import json
import os
import platform
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from .isolated.seccomp import ARCHITECTURES


JUDGE = "lm_eval_mdlm.scoring.isolated.judge"
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
SPARE_SECONDS = 30.0  # for the interpreter's start and the verdict, beyond the program's own time


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 5
    """Processor time of the program alone, so that a busy machine does not change a verdict."""
    memory_bytes: int = 1 << 30
    """Address space."""
    output_bytes: int = 1 << 16
    """Kept of what is printed; the rest is read and dropped."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a program fared."""

    status: Literal["passed", "failed", "timed out"]
    reason: str
    """Short; empty for a program that passed."""
    output: str
    """What program and test printed, up to the limit."""


DEFAULT_LIMITS = Limits()


def run_check(
    *, program: str, entry_point: str, test: str, setup: str = "", limits: Limits = DEFAULT_LIMITS
) -> Verdict:
    """Run `check(program's entry_point)`.

    Args:
        program: Python source that defines `entry_point`; not trusted.
        entry_point: Name of the function under test. Arguments and results pass by value.
        test: Python source that defines `check`; trusted.
        setup: Python source run before the test, for helpers that it uses; trusted.
        limits: Of the program.

    Raises:
        RuntimeError: If test or setup is broken, or the program could not be confined; never because of the program.
    """
    job = {"program": program, "entry_point": entry_point, "test": test, "setup": setup, "limits": asdict(limits)}
    with tempfile.TemporaryDirectory(prefix="mdlm-") as folder, tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(job).encode())
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-s", "-B", "-u", "-m", JUDGE],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        try:
            report, output = _collect(process, limits.wall_seconds + SPARE_SECONDS, limits.output_bytes)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if not report:
        raise RuntimeError(f"the sandbox gave no verdict: {output.strip()[-500:] or 'it did not answer in time'}")
    return Verdict(**json.loads(report), output=output)


def check_support() -> None:
    """Run two programs whose verdicts are known.

    Raises:
        UsageError: If programs cannot be run here with the promised guarantees.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        raise UsageError(
            f"running generated programs needs Linux on {' or '.join(ARCHITECTURES)} for its sandbox, this is "
            f"{platform.system()} on {machine}; score this benchmark on such a machine."
        )
    test = "def check(candidate):\n    assert candidate(1) == 2"
    try:
        verdicts = [
            run_check(program=f"def f(x):\n    return x + {step}", entry_point="f", test=test).status for step in (1, 2)
        ]
    except (RuntimeError, OSError) as error:
        raise UsageError(
            f"running generated programs needs a sandbox, and it cannot be set up here: {error}; allow seccomp in this "
            f"container, or score this benchmark elsewhere."
        ) from error
    assert verdicts == ["passed", "failed"], verdicts


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the user's but what an interpreter may need to start; hashes are fixed, so verdicts repeat."""
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}
    python = {"PYTHONPATH": str(PACKAGE_ROOT), "PYTHONHASHSEED": "0"}
    return {**libraries, **threads, **own, **python}


def _collect(process: "subprocess.Popen[bytes]", seconds: float, output_bytes: int) -> tuple[str, str]:
    """The report and the output, until both pipes are closed or the time is up."""
    assert process.stdout and process.stderr
    deadline = time.monotonic() + seconds
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            selector.register(pipe, selectors.EVENT_READ, kept[pipe])
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                key.data.extend(chunk[: max(0, output_bytes - len(key.data))])
    report, output = (bytes(text).decode(errors="replace") for text in kept.values())
    return report, output

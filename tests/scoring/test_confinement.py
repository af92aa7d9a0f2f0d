"""What generated programs are kept from. Each program tries one thing."""

import contextlib
import os
import signal
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.scoring import sandbox
from lm_eval_mdlm.scoring.sandbox import Verdict, check_support

from .programs import RIGHT, verdict


def test_program_finds_neither_the_test_nor_secrets_of_the_user(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "the-secret")
    program = """
        import gc, os, sys
        frame, texts = sys._getframe(), []
        while frame:
            texts += [repr(frame.f_globals), repr(frame.f_locals)]
            frame = frame.f_back
        texts += [repr(item) for item in gc.get_objects() if isinstance(item, (dict, list, tuple))]
        print("".join(reversed("etadidnac tressa")) in "".join(texts), dict(os.environ))
    """
    found = verdict(textwrap.dedent(program) + RIGHT)
    assert found.status == "passed"
    assert found.output.startswith("False")
    assert "the-secret" not in found.output


def test_program_has_no_input_and_not_the_job_that_came_by_it():
    program = "import os\ntry:\n    os.lseek(0, 0, 0)\nexcept OSError:\n    pass\nprint(os.read(0, 9))"
    assert verdict(program + RIGHT).output == "b''\n"


def test_program_cannot_read_the_memory_or_pipes_of_its_judge():
    program = """
        import os
        for name in ("mem", "environ", *(f"fd/{n}" for n in range(10))):
            try:
                with open(f"/proc/{os.getppid()}/{name}", "rb") as file:
                    print(name, file.read(1))
            except OSError:
                pass
    """
    assert verdict(textwrap.dedent(program) + RIGHT) == Verdict(status="passed", reason="", output="")


@pytest.mark.parametrize(
    "attempt",
    [
        "open(TARGET, 'w')",
        "open(TARGET, 'a').write('x')",
        "open(TARGET, 'r+')",
        "open('new file', 'w')",
        "open('/dev/shm/new', 'w')",
        "os.remove(TARGET)",
        "os.truncate(TARGET, 0)",
        "os.rename(TARGET, TARGET + '2')",
        "os.link(TARGET, TARGET + '2')",
        "os.symlink(TARGET, TARGET + '2')",
        "os.chmod(TARGET, 0)",
        "os.utime(TARGET)",
        "os.mkdir('folder')",
        "os.rmdir(os.getcwd())",
        "os.setxattr(TARGET, 'user.x', b'1')",
        "os.mkfifo('pipe')",
        "__import__('shutil').rmtree(os.path.dirname(TARGET))",
    ],
)
def test_program_cannot_change_a_file(attempt, tmp_path):
    target = tmp_path / "mine"
    target.write_text("kept")
    before = target.stat()
    found = verdict(f"import os\nTARGET = {str(target)!r}\n{attempt}" + RIGHT)
    assert (found.status, found.reason[:15]) == ("failed", "PermissionError")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert target.read_text() == "kept"
    assert (target.stat().st_mode, target.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize(
    "attempt",
    [
        "__import__('socket').socket()",
        "__import__('socket').socketpair()",
        "__import__('socket').create_connection(('127.0.0.1', 9), timeout=1)",
        "os.fork()",
        "__import__('subprocess').run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "__import__('multiprocessing').Process(target=print).start()",
        "__import__('threading').Thread(target=print).start()",
        "os.setsid()",
        "os.kill(os.getppid(), 9)",
        "os.kill(os.getpid(), 0)",
        "os.killpg(0, 9)",
        "__import__('resource').prlimit(os.getppid(), 0, (1, 1))",
        "__import__('resource').setrlimit(0, (99, 99))",
    ],
)
def test_program_cannot_reach_the_network_or_other_processes(attempt):
    found = verdict(f"import os\n{attempt}" + RIGHT)
    assert found.status == "failed"
    assert found.reason.startswith(("PermissionError", "RuntimeError: can't start", "ValueError: not allowed")), found


def test_calls_below_python_are_stopped_too():
    program = """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        print([(libc.syscall(number, *arguments), ctypes.get_errno()) for number, arguments in {calls}])
    """
    x86_64 = [
        (41, (2, 1, 0)),
        (57, ()),
        (425, (1, 0)),
        (157, (4, 1)),
        (272, (1 << 28,)),
        (451, ()),
        (1 << 30 | 41, (2, 1, 0)),
    ]
    aarch64 = [(198, (2, 1, 0)), (220, (17,)), (425, (1, 0)), (167, (4, 1)), (97, (1 << 28,)), (451, ()), (1 << 30, ())]
    calls = x86_64 if os.uname().machine == "x86_64" else aarch64
    found = verdict(textwrap.dedent(program).format(calls=calls) + RIGHT)
    assert found.output.strip() == str([(-1, 1)] * 5 + [(-1, 38)] * 2)


@pytest.mark.parametrize(
    ("program", "limits"),
    [
        ("while True: pass", {"cpu_seconds": 1}),
        ("def f(x):\n    while True: pass", {"cpu_seconds": 1}),
        ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", {"cpu_seconds": 1}),
        ("import time\ntime.sleep(60)", {"wall_seconds": 1}),
        ("import os, time\nos.closerange(0, 99)\ntime.sleep(60)", {"wall_seconds": 1, "cpu_seconds": 1}),
    ],
)
def test_endless_program_is_stopped_in_time(program, limits):
    started = time.monotonic()
    found = verdict(program, **limits)
    assert found.status == "timed out" or "closerange" in program
    assert found.status != "passed"
    assert time.monotonic() - started < 10


def test_endless_output_is_read_but_not_kept():
    found = verdict("print('x' * 10_000_000)" + RIGHT, output_bytes=1000)
    assert (found.status, found.output) == ("passed", "x" * 1000)


@pytest.mark.parametrize("program", ["x = [0] * (1 << 28)", "x = bytearray(1 << 30)", "x = 'x'\nwhile True: x += x"])
def test_memory_is_limited(program):
    found = verdict(program, memory_bytes=1 << 29)
    assert (found.status, found.reason) == ("failed", "MemoryError")


def test_program_runs_under_every_limit_and_cannot_fill_memory_files():
    program = """
        import os, resource
        names = ("CPU", "AS", "FSIZE", "NPROC", "CORE")
        print([resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names])
        os.write(os.memfd_create("x"), b"x")
    """
    found = verdict(program, cpu_seconds=3, memory_bytes=1 << 29)
    assert found.output.strip() == str([(3, 4), (1 << 29, 1 << 29), (0, 0), (0, 0), (0, 0)])
    assert found.reason == "OSError: [Errno 27] File too large"


@pytest.mark.parametrize("end", ["", "time.sleep(60)"])
def test_nothing_is_left_running_or_lying_about(end):
    found = verdict(
        "import os, time\nprint(os.getpid(), os.getppid(), os.getcwd(), flush=True)\n" + end + RIGHT, wall_seconds=1
    )
    *pids, folder = found.output.split()
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert not os.path.exists(folder)


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def status(process: int) -> str:
    """Empty once the process is gone."""
    try:
        return Path(f"/proc/{process}/status").read_text()
    except OSError:
        return ""


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def test_program_ends_with_its_judge():
    before = children(os.getpid())
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(verdict, "import time\ntime.sleep(60)", wall_seconds=60)
        (judge,) = wait_for(lambda: set(children(os.getpid())) - {*before})
        (worker,) = wait_for(lambda: children(judge))
        assert wait_for(lambda: "Seccomp:\t2" in status(worker))
        os.kill(judge, signal.SIGKILL)
        assert wait_for(lambda: "Z (zombie)" in status(worker) or not status(worker))
        with pytest.raises(RuntimeError):
            run.result()


def test_support_is_refused_where_the_promises_cannot_be_kept(monkeypatch):
    check_support()
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    with pytest.raises(UsageError, match="needs Linux on x86_64 or aarch64.*riscv64"):
        check_support()


def test_support_is_refused_if_the_program_cannot_be_confined(monkeypatch):
    monkeypatch.setattr(sandbox, "JUDGE", "lm_eval_mdlm.scoring.isolated.nothing")
    with pytest.raises(UsageError, match=r"cannot be set up here.*No module named"):
        check_support()

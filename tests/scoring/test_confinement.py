"""What generated programs are kept from. Each program tries one thing."""

import os
import textwrap
import time

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.scoring import sandbox, starting
from lm_eval_mdlm.scoring.isolated.threads import MAX_THREADS
from lm_eval_mdlm.scoring.sandbox import Limits, Protection, Verdict, check_support

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
        "__import__('socket').create_connection(('127.0.0.1', 9), timeout=1)",
        "os.fork()",
        "__import__('subprocess').run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "__import__('multiprocessing').Process(target=print).start()",
        "os.setsid()",
        "os.kill(os.getppid(), 9)",
        "os.killpg(0, 9)",
        "__import__('resource').prlimit(os.getpid() + 1, 0, (1, 1))",
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
    ("program", "limits", "reason"),
    [
        ("while True: pass", {"cpu_seconds": 1}, "1 s of processor time"),
        ("def f(x):\n    while True: pass", {"cpu_seconds": 1}, "1 s of processor time"),
        (
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            {"cpu_seconds": 1},
            "1 s of",
        ),
        ("import time\ntime.sleep(60)", {"wall_seconds": 1}, "1 s"),
        ("import os, time\nos.closerange(0, 99)\ntime.sleep(60)", {"wall_seconds": 1, "cpu_seconds": 1}, "SIGKILL"),
    ],
)
def test_endless_program_is_stopped_in_time(program, limits, reason):
    started = time.monotonic()
    found = verdict(program, **limits)
    assert (found.status, reason in found.reason) == ("failed" if "closerange" in program else "timed out", True)
    assert time.monotonic() - started < 30  # far less than 60


def test_processor_time_decides_and_the_clock_leaves_a_busy_machine_room():
    limits = Limits()
    assert limits.wall_seconds >= 10 * limits.cpu_seconds
    # Waiting is not counted: twice the processor time passes by the clock.
    program = "import time\ndef f(x):\n    time.sleep(1)\n    return x + 1"
    assert verdict(program, cpu_seconds=1).status == "passed"


def test_endless_output_is_read_but_not_kept():
    found = verdict("print('x' * 10_000_000)" + RIGHT, output_bytes=1000)
    assert (found.status, found.output) == ("passed", "x" * 1000)


@pytest.mark.parametrize("program", ["x = [0] * (1 << 28)", "x = bytearray(1 << 30)", "x = 'x'\nwhile True: x += x"])
def test_memory_is_limited(program):
    found = verdict(program, memory_bytes=1 << 29)
    assert (found.status, found.reason) == ("failed", "MemoryError")


def test_program_runs_under_every_limit():
    program = """
        import os, resource
        names = ("CPU", "AS", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "NICE", "RTPRIO", "NOFILE")
        print([resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names])
        with open("/proc/self/status") as status:
            print([line.split()[1] for line in status if line.startswith(("Cap", "Seccomp:", "NoNewPrivs"))])
    """
    found = verdict(textwrap.dedent(program) + RIGHT, cpu_seconds=3, memory_bytes=1 << 29)
    limits, status = found.output.splitlines()
    assert limits == str([(3, 3), (1 << 29, 1 << 29), *[(0, 0)] * 6, (128, 128)])
    inherited, permitted, effective, _, ambient, no_new, seccomp = eval(status)
    assert {inherited, permitted, effective, ambient} == {"0" * 16}
    assert (no_new, seccomp) == ("1", "2")


def test_number_of_threads_is_limited():
    program = """
        import threading, time
        threads = [threading.Thread(target=time.sleep, args=(60,), daemon=True) for _ in range(200)]
        num_started = 0
        try:
            for thread in threads:
                thread.start()
                num_started += 1
        except RuntimeError:
            print(num_started)
    """
    assert int(verdict(textwrap.dedent(program) + RIGHT).output) == MAX_THREADS - 1


def test_support_is_refused_where_the_promises_cannot_be_kept(monkeypatch):
    check_support()
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    with pytest.raises(UsageError, match="needs Linux on x86_64 or aarch64.*riscv64"):
        check_support()


def test_support_is_refused_if_the_program_cannot_be_confined(monkeypatch):
    monkeypatch.setattr(starting, "STARTER", "lm_eval_mdlm.scoring.isolated.nothing")
    with pytest.raises(UsageError, match=r"cannot be set up here.*No module named"):
        check_support()


def test_support_says_what_is_not_covered(caplog):
    everything = Protection(landlock=3, threads=True, process_namespace=True)
    assert everything.gaps == ()
    assert len(Protection(landlock=0, threads=False, process_namespace=False).gaps) == 3
    found = check_support()
    assert [record.message.removeprefix("running generated programs: ")[:-1] for record in caplog.records] == list(
        found.gaps
    )

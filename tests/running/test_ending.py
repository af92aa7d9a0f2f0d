"""Signals end a program in order: `finally` blocks, last acts, one line, the exit code; at once when repeated."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_eval_mdlm.__main__ import OF_LM_EVAL
from lm_eval_mdlm.errors import is_told
from lm_eval_mdlm.running import ending
from lm_eval_mdlm.running.ending import Terminated, ends_on_signals, last_act


ROOT = Path(__file__).parents[2]
BEGIN = """
import os, signal, sys, time, threading
from lm_eval_mdlm.errors import print_usage_errors_in_one_line
from lm_eval_mdlm.running import ending
from lm_eval_mdlm.running.ending import Terminated, ends_on_signals, last_act
print_usage_errors_in_one_line()
def ready(): print("ready", flush=True)
def act(): print("act", flush=True)
"""
IN_ORDER = """
try:
    with last_act(act), ends_on_signals("the same command goes on with DIR."):
        try:
            ready()
            time.sleep(60)
        finally:
            print("finally", flush=True)
finally:
    print("outer", flush=True)
"""
NAMES = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM"}
CODES = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}  # a shell counts the first as 130


@pytest.fixture(autouse=True)
def usual_interrupts() -> Iterator[None]:
    """A shell without job control lets its background jobs, and what they start, ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(code: str, *signals: tuple[float, int]) -> tuple[int, str, str]:
    """Exit code and texts of a program that gets signals, so many seconds after it is ready or the one before."""
    command = [sys.executable, "-c", BEGIN + textwrap.dedent(code)]
    # Unbuffered: `communicate` would know nothing of what a buffer has taken in with the first line.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == b"ready\n"
        for seconds, number in signals:
            time.sleep(seconds)
            process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    return process.returncode, out.decode(), errors.decode()


@pytest.mark.parametrize("number", NAMES)
def test_a_signal_unwinds_acts_tells_how_to_go_on_and_sets_the_exit_code(number):
    code, out, errors = run(IN_ORDER, (0, number))
    assert code == CODES[number]
    assert out.split() == ["finally", "act", "outer"]
    assert errors == f"lm_eval_mdlm: stopped by {NAMES[number]}; the same command goes on with DIR.\n"


@pytest.mark.parametrize("number", NAMES)
def test_c_code_that_runs_python_at_the_end_takes_no_exit_code_away(number):
    """As torch._dynamo's does: Python then forgets that an interrupt was the reason."""
    at_exit = "import atexit, ctypes\natexit.register(lambda: ctypes.pythonapi.PyRun_SimpleString(b'pass'))\n"
    code, out, errors = run(at_exit + "atexit.register(print, 'due')" + IN_ORDER, (0, number))
    assert code == CODES[number] and out.split()[-1] == "due" and len(errors.splitlines()) == 1


AT_EXIT = """
import atexit
atexit.register(lambda: print("earlier", file=sys.stderr))
ready()
"""
LATER = """
atexit.register(lambda: print("later", file=sys.stderr))
"""
INTERRUPTED = """
with ends_on_signals("go on"):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""


def test_what_others_do_at_exit_is_done_once_and_in_its_order():
    _, _, errors = run(AT_EXIT + "ending.fail_at_exit('rows are missing')" + LATER)
    assert errors == "later\nearlier\nlm_eval_mdlm: error: rows are missing\n"
    interrupted = AT_EXIT + "try:" + textwrap.indent(INTERRUPTED, "    ") + "finally:" + textwrap.indent(LATER, "    ")
    code, _, errors = run(interrupted)
    assert (code, errors) == (-signal.SIGINT, "lm_eval_mdlm: stopped by SIGINT; go on\nlater\nearlier\n")


@pytest.mark.parametrize("close", ["sys.stdout = None", "sys.stdout.close()", "os.dup2(os.open('/dev/full', 1), 1)"])
def test_an_output_that_nobody_takes_hides_neither_line_nor_code(close):
    code, _, errors = run(f"ready()\nending.fail_at_exit('rows are missing')\nsys.stdout.write('x')\n{close}")
    assert code == ending.INCOMPLETE and errors == "lm_eval_mdlm: error: rows are missing\n"
    code, _, errors = run(f"ready()\nsys.stdout.write('x')\n{close}{INTERRUPTED}")
    assert code == -signal.SIGINT and errors == "lm_eval_mdlm: stopped by SIGINT; go on\n"


def test_an_interrupt_that_a_program_has_caught_is_let_go():
    evaluate = "def evaluate():\n    network = Network()\n    alive.append(weakref.ref(network))"
    code = """
        import gc, weakref
        class Network: pass
        alive = []
        {}
        ready()
        try:
            evaluate()
        except KeyboardInterrupt:
            pass
        gc.collect()
        print(alive[0]() is None)
    """
    code = textwrap.dedent(code).format(evaluate + textwrap.indent(INTERRUPTED, "    "))
    assert run(code) == (0, "True\n", "lm_eval_mdlm: stopped by SIGINT; go on\n")


def test_who_goes_on_by_hand_after_an_interrupt_leaves_in_order():
    command = [sys.executable, "-i", "-c", BEGIN + INTERRUPTED]
    end = subprocess.run(command, input="print('by hand')\n", cwd=ROOT, capture_output=True, text=True)
    assert end.returncode == 0 and end.stdout == "by hand\n"


def test_an_interrupt_that_is_caught_ends_nothing():
    code = """
        try:
            with ends_on_signals(None):
                ready()
                time.sleep(60)
        except KeyboardInterrupt:
            print("on")
    """
    assert run(code, (0, signal.SIGINT)) == (0, "on\n", "")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_shell_sees_128_and_the_number(number, status):
    code = BEGIN + f"with ends_on_signals('go on'):\n    os.kill(os.getpid(), {int(number)})\n    time.sleep(60)"
    shell = subprocess.run(["sh", "-c", '"$0" -c "$1"; echo $?', sys.executable, code], cwd=ROOT, capture_output=True)
    assert shell.stdout.split()[-1] == b"%d" % status


def test_the_signal_that_a_launcher_passes_on_changes_nothing():
    code, out, errors = run(IN_ORDER, (0, signal.SIGINT), (0, signal.SIGINT), (0, signal.SIGTERM))
    assert (
        code in (-signal.SIGINT, 143) and out.split() == ["finally", "act", "outer"] and len(errors.splitlines()) == 1
    )


@pytest.mark.parametrize(
    "wait", ["time.sleep(60)", "while True: pass", "with (lock := threading.Lock()): lock.acquire()"]
)
def test_a_second_signal_ends_at_once(wait):
    stubborn = f"""
        with last_act(act), ends_on_signals("go on"):
            try:
                ready()
                time.sleep(60)
            finally:
                {wait}
    """
    begin = time.monotonic()
    assert run(stubborn, (0, signal.SIGINT), (1.2, signal.SIGTERM)) == (143, "", "")
    assert time.monotonic() - begin < ending.GRACE


C_CALL = """
        import ctypes
        mutex = ctypes.create_string_buffer(64)
        ready()
        while True:
            ctypes.CDLL(None).pthread_mutex_lock(mutex)  # the second time it waits for itself
"""
CAUGHT = """
        try:
            ready()
            time.sleep(60)
        except BaseException:
            time.sleep(60)
"""


@pytest.mark.parametrize("number", NAMES)
def test_the_command_line_ends_in_order_before_anything_heavy_is_imported(number):
    slow_import = """
        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("lm_eval", "torch", "numpy", "transformers"):
                    ready(), time.sleep(60)
        sys.meta_path.insert(0, Slow())
        sys.argv = ["lm-eval-mdlm", "run", "--model", "mdlm"]
        __import__("lm_eval_mdlm.__main__").__main__.main()
    """
    code, out, errors = run(slow_import, (0, number))
    assert (code, out) == (CODES[number], "")
    assert errors == f"lm_eval_mdlm: stopped by {NAMES[number]}; {OF_LM_EVAL}\n"


@pytest.mark.parametrize("hang", [C_CALL, CAUGHT], ids=["c_call", "caught"])
def test_a_main_thread_that_does_not_come_out_is_not_waited_for(hang):
    nested = "ends_on_signals('begin anew'), ends_on_signals('go on'), ends_on_signals(None)"  # the innermost that says
    code = f"    ending.GRACE = 0.3\n    with last_act(act), {nested}:" + hang
    status, out, errors = run(code, (1, signal.SIGTERM))  # well into the wait
    assert (status, out) == (143, "act\n")
    assert errors == "\nlm_eval_mdlm: error: stopped by SIGTERM, without what would not end within 0 s; go on\n"


def test_last_acts_that_hang_or_fail_keep_nobody():
    acts = """
        ending.GRACE, ending._ACTS_TAKE = 1.0, 0.3
        def fails(): raise OSError("no disk")
        with last_act(act), last_act(fails), ends_on_signals("go on"):
            ready()
            time.sleep(60)
    """
    status, out, errors = run(acts, (0, signal.SIGTERM))
    assert (status, out) == (143, "act\n") and "OSError: no disk" in errors
    status, out, _ = run(acts.replace("raise OSError", "time.sleep(60); print"), (0, signal.SIGTERM))
    assert (status, out) == (143, "")


def test_signals_to_a_forked_child_are_its_own():
    forks = """
        with last_act(act), ends_on_signals("go on"):
            child = os.fork()
            if child == 0:
                time.sleep(60)
            os.kill(child, signal.SIGTERM)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
            if os.fork() == 0:
                sys.exit()
            os.wait()
            ready()
            time.sleep(1)
        print("over")
    """
    assert run(forks) == (0, "over\n", "")


def test_python_keeps_its_own_ways(monkeypatch, capsys):
    before = [signal.getsignal(number) for number in NAMES]
    done = []
    act = last_act(lambda: done.append(1))
    with pytest.raises(KeyboardInterrupt) as caught, act, ends_on_signals("go on"), ends_on_signals("go on"):
        signal.raise_signal(signal.SIGINT)
    assert type(caught.value) is KeyboardInterrupt and is_told(caught.value) and done
    assert capsys.readouterr().err == "lm_eval_mdlm: stopped by SIGINT; go on\n"
    with pytest.raises(Terminated) as ended, ends_on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143 and capsys.readouterr().err == ""
    assert [signal.getsignal(number) for number in NAMES] == before and signal.set_wakeup_fd(-1) == -1


def test_handlers_of_others_and_interactive_pythons_are_left_alone(monkeypatch):
    def inside() -> list:
        with ends_on_signals("go on"):
            return [signal.getsignal(number) for number in NAMES]

    usual = [signal.getsignal(number) for number in NAMES]
    assert not set(usual) & set(inside())
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.extend(inside()))
    thread.start()
    thread.join()
    assert elsewhere == usual
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert inside()[1] == signal.SIG_IGN == signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert inside() == usual


def test_other_errors_pass_through_untouched():
    with pytest.raises(ZeroDivisionError), last_act(lambda: pytest.fail("not an end")), ends_on_signals("go on"):
        1 / 0  # noqa: B018


def test_a_run_without_all_its_rows_ends_with_a_code_of_its_own_after_all_that_is_due():
    begun = "import atexit\natexit.register(print, 'due')\nready()\n"
    lacks = begun + "ending.fail_at_exit('lacks rows')\nending.fail_at_exit('lacks rows')\n"
    assert run(lacks) == (3, "due\n", "lm_eval_mdlm: error: lacks rows\n")
    code, out, errors = run(lacks + "raise ValueError('worse')\n")
    assert (code, out) == (1, "due\n") and "worse" in errors and "lacks rows" not in errors

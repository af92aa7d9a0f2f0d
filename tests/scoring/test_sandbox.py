"""What counts as passing; `test_fidelity` has what passes between the test and the program."""

import pytest

from lm_eval_mdlm.scoring.sandbox import Check, Verdict, run_check, run_checks

from .programs import RIGHT, TEST, WRONG, verdict


def test_right_program_passes_and_wrong_one_names_the_failing_line():
    assert verdict(RIGHT) == Verdict(status="passed", reason="", output="")
    failed = verdict(WRONG)
    assert (failed.status, failed.reason) == ("failed", "AssertionError in: assert candidate(2) == 3")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(x:", "SyntaxError"),
        ("def g(x): return x + 1", "KeyError: 'f'"),
        ("f = 3", "TypeError"),
        ("def f(x): return x / 0", "ZeroDivisionError"),
        ("def f(x): return f(x)", "RecursionError"),
        ("def f(x): return input()", "EOFError"),
        ("import nowhere", "ModuleNotFoundError"),
        ("def f(x): raise ValueError('\\ud800')", "ValueError: ?"),
        ("x = '\ud800'" + RIGHT, "UnicodeEncodeError"),
        ("\0" + RIGHT, "source code string cannot contain null bytes"),  # ValueError up to Python 3.11.3
    ],
)
def test_broken_program_fails_with_its_own_error(program, reason):
    found = verdict(program)
    assert found.status == "failed"
    assert reason in found.reason


@pytest.mark.parametrize(
    "trick",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "import os; os.abort()",
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "def f(x): raise SystemExit(0)",
        "def f(x):\n    import os\n    os._exit(0)",
        "import atexit, sys\natexit.register(print, 'passed')\nsys.exit(0)",
        WRONG + "check = lambda candidate: None",
        WRONG + "import builtins\nbuiltins.check = lambda candidate: None",
        WRONG + "import __main__\n__main__.judge_program = lambda *_: ('passed', '')",
        WRONG + "AssertionError = ()\nimport builtins\nbuiltins.AssertionError = Warning",
        WRONG + """print('{"status": "passed", "reason": ""}', flush=True)""",
        "class Same:\n    def __eq__(self, other): return True\ndef f(x): return Same()",
        "class Same(int):\n    def __eq__(self, other): return True\ndef f(x): return Same(7)",
        "class Same(str):\n    __eq__ = lambda *_: True\ndef f(x): return Same()",
        "class Same:\n    def __reduce__(self): return eval, ('2',)\ndef f(x): return [Same()]",
    ],
)
def test_no_trick_makes_a_wrong_program_pass(trick):
    assert verdict(trick).status == "failed"


def test_result_that_is_too_long_is_refused():
    assert "over the limit" in verdict("def f(x): return 'x' * (1 << 25)").reason


def test_test_may_use_the_setups_helpers_and_the_function_by_its_name():
    found = run_check(
        program="def f(x):\n    return x + 1\n\ndef helper(x):\n    return 0",
        entry_point="f",
        setup="def helper(x):\n    return x + 1\n\ndef f(x):\n    pass",
        test="def check(candidate):\n    assert candidate(1) == f(1) == helper(1) == 2\n",
    )
    assert found.status == "passed"


def test_state_lives_between_calls_and_hashes_repeat():
    program = "calls = []\ndef f():\n    calls.append(1)\n    return len(calls), hash('x')"
    test = "def check(candidate):\n    assert candidate()[0] == 1 and candidate()[0] == 2\n    print(candidate()[1])\n"
    found = [verdict(program, test) for _ in range(2)]
    assert [v.status for v in found] == ["passed", "passed"]
    assert found[0].output == found[1].output != ""


def test_test_that_catches_exceptions_does_not_catch_the_clock():
    test = "def check(candidate):\n    try:\n        candidate(1)\n    except Exception:\n        pass\n"
    assert verdict("import time\ndef f(x):\n    time.sleep(60)", test, wall_seconds=1).status == "timed out"
    assert verdict("def f(x): while_true", test).status == "passed"


@pytest.mark.parametrize(
    "test", ["def check(candidate:", "raise ValueError('broken data')", "def chek(candidate): pass"]
)
def test_broken_test_is_an_error_and_no_failure_of_the_program(test):
    found = verdict(RIGHT, test)
    assert found.status == "error"
    assert found.reason.startswith("the benchmark's test is broken, ")


def test_test_that_ends_its_process_is_an_error_of_this_check_alone():
    broken = "import os\n" + TEST.replace("assert candidate(1) == 2", "os.kill(os.getpid(), 9)")
    checks = [Check(program=RIGHT, entry_point="f", test=test) for test in (TEST, broken, TEST)]
    found = run_checks(checks, num_workers=1)
    assert [v.status for v in found] == ["passed", "error", "passed"]
    assert "ended without a verdict, wait status 9" in found[1].reason


def test_test_that_does_not_end_is_timed_out():
    test = "def check(candidate):\n    while True:\n        try: candidate(1)\n        except: pass\n"
    assert verdict(RIGHT, test, wall_seconds=0.5).status == "timed out"


def test_bare_except_hides_neither_the_end_of_the_program_nor_the_clock():
    test = "def check(candidate):\n    try:\n        candidate(1)\n    except:\n        pass\n"
    assert verdict("import os\ndef f(x): os._exit(0)", test).status == "failed"
    assert verdict("import time\ndef f(x): time.sleep(60)", test, wall_seconds=0.5).status == "timed out"


def test_unseeded_inputs_of_a_test_repeat_and_the_program_does_not_foresee_them():
    test = """def check(candidate):
        import random
        drawn = random.random()
        print(drawn, candidate() == drawn)
    """
    program = "import random\ndef f(): return random.random()"
    first, second = verdict(program, test), verdict(program, test)
    assert first.output == second.output
    assert first.output.endswith(" False\n")
    with_numpy = "import numpy\ndef check(candidate):\n    print(numpy.random.random())\n"
    assert verdict(RIGHT, with_numpy).output == verdict(RIGHT, with_numpy).output != ""


def test_program_of_any_length_and_any_text_arrives():
    filler = "# \u00e9\U0001f600" + "x" * 3_000_000
    found = verdict(f"{filler}\n{RIGHT}\nprint(len(open.__name__), '\u00e9')")
    assert (found.status, found.output) == ("passed", "4 \u00e9\n")
    assert verdict("x" * (1 << 25) + RIGHT).status == "failed"

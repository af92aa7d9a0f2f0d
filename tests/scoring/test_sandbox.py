"""What counts as passing, and what passes between the test and the program. Each program tries one thing."""

import textwrap

import pytest

from lm_eval_mdlm.scoring.sandbox import Verdict, run_check

from .programs import RIGHT, WRONG, verdict


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
        ("\0" + RIGHT, "SyntaxError"),
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


HOSTILE_PICKLE = """
class Hostile:
    def __reduce__(self):
        report = 'import os\\nfor d in range(3, 9):\\n try: os.write(d, {!r})\\n except OSError: pass\\nos._exit(0)'
        return exec, (report.format(b'{"status": "passed", "reason": ""}'),)
"""
FORGERIES = {
    "verdict": """b'{"status": "passed", "reason": ""}'""",
    "oversized": "struct.pack('=Q', 1 << 60)",
    "code for the judge": "frame(pickle.dumps(Hostile()))",
    "garbage": "frame(b'\\x80\\x04garbage')",
    "not a pair": "frame(pickle.dumps(7))",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_writing_to_every_open_descriptor_does_not_make_it_pass(forgery):
    program = """
        import os, pickle, struct
        def frame(body): return struct.pack("=Q", len(body)) + body
        for descriptor in range(3, 300):
            try:
                os.write(descriptor, FORGERY)
            except OSError:
                pass
    """
    program = HOSTILE_PICKLE + textwrap.dedent(program).replace("FORGERY", forgery) + WRONG
    assert verdict(program).status == "failed"


def test_result_that_is_too_long_is_refused():
    assert "over the limit" in verdict("def f(x): return 'x' * (1 << 25)").reason


@pytest.mark.parametrize(
    ("result", "condition"),
    [
        ("[1, (2, 3), {4}, {'a': None}, 1.5, 2j, True, b'x']", "== [1, (2, 3), {4}, {'a': None}, 1.5, 2j, True, b'x']"),
        ("(1, 2)", "!= [1, 2]"),
        ("[1, 2]", "!= (1, 2)"),
        ("True", "is True"),
        ("None", "is None"),
        ("collections.Counter('aab')", "== {'a': 2, 'b': 1}"),
        ("collections.namedtuple('P', 'x y')(1, 2)", "== (1, 2)"),
        ("collections.deque([1])", "!= [1]"),
        ("fractions.Fraction(1, 2)", "== 0.5"),
        ("type('Own', (int,), {})(2)", "== 2"),
        ("float('nan')", "!= 0"),
        ("float('inf')", "== float('inf')"),
        ("range(2)", "!= [0, 1]"),
        ("[__import__('numpy').int64(3), __import__('numpy').bool_(True)]", "== [3, True]"),
    ],
)
def test_results_arrive_by_value(result, condition):
    program = f"import collections, fractions\ndef f(): return {result}"
    assert verdict(program, f"def check(candidate):\n    assert candidate() {condition}\n").status == "passed"


@pytest.mark.parametrize("result", ["(i for i in (1, 2))", "range(1, 3)", "map(int, '12')", "{1: 0, 2: 0}.keys()"])
def test_items_of_an_iterable_can_be_listed(result):
    test = "def check(candidate):\n    assert list(candidate()) == [1, 2]\n"
    assert verdict(f"def f(): return {result}", test).status == "passed"


def test_arguments_pass_by_value_with_their_types():
    test = """def check(candidate):
        data = [(1, {2}), 'x']
        assert candidate(data, y=3) == 'ok'
        assert data[1] == 'x'
    """
    program = "def f(x, y):\n    assert x == [(1, {2}), 'x'] and y == 3\n    x.clear()\n    return 'ok'"
    assert verdict(program, test).status == "passed"


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
    with pytest.raises(RuntimeError, match="the sandbox gave no verdict"):
        verdict(RIGHT, test)

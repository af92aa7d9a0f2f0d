# ruff: noqa: E501  programs stand on one line
"""The sandbox's verdicts against what plain Python says: program, test and call in one namespace of one process."""

import json
import subprocess
import sys
import textwrap

from lm_eval_mdlm.scoring.sandbox import Check, run_checks


IN_ONE_PROCESS = """
import json, os, sys
codes = []
for program, test in json.load(sys.stdin):
    process = os.fork()
    if process == 0:
        try:
            exec(program + "\\n" + test + "\\ncheck(f)", {})
            os._exit(0)
        except BaseException:
            os._exit(1)
    codes.append(os.waitpid(process, 0)[1])
print(json.dumps(codes))
"""


def in_one_process(pairs):
    """Which pass in the benchmark's own way: everything after another in one dictionary, a process per program."""
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS], input=json.dumps(pairs), capture_output=True, text=True, check=True
    )
    return [code == 0 for code in json.loads(done.stdout.splitlines()[-1])]


VALUES = """
    f = lambda: [1, 2] ; candidate() == [1, 2]
    f = lambda: (1, 2) ; candidate() == [1, 2]
    f = lambda: True ; candidate() is True
    f = lambda: 1 ; candidate() is True
    f = lambda: 1 ; candidate() == True
    f = lambda: 1.0 ; type(candidate()) is float
    f = lambda: 1.0 ; candidate() == 1
    f = lambda: 1.0 ; isinstance(candidate(), int)
    f = lambda: -0.0 ; str(candidate()) == '-0.0'
    f = lambda: float('inf') ; candidate() == float('inf')
    f = lambda: float('nan') ; candidate() == candidate()
    f = lambda x: x ; [x := float('nan')] == [candidate(x)]
    f = lambda x: [x, x] ; (lambda r: r[0] is r[1])(candidate(float('nan')))
    import math; f = lambda: [math.nan] ; candidate() == [__import__('math').nan]
    f = lambda: 10**5000 ; candidate() == 10**5000
    f = lambda: -10**5000 ; candidate() < 0
    f = lambda: 1j ; candidate() == 1j
    f = lambda: b'x' ; candidate() == b'x'
    f = lambda: bytearray(b'x') ; candidate() == b'x' and type(candidate()) is bytearray
    f = lambda: 'x\\ud800\\n"' ; candidate() == 'x\\ud800\\n"'
    f = lambda: None ; candidate() is None
    f = lambda: ... ; candidate() is ...
    f = lambda: NotImplemented ; candidate() is NotImplemented
    f = lambda: int ; candidate() is int
    f = lambda: {1, 2} ; candidate() == {2, 1}
    f = lambda: frozenset({1}) ; candidate() == {1} and type(candidate()) is frozenset
    f = lambda: {frozenset({1}), (1, (2,))} ; candidate() == {frozenset({1}), (1, (2,))}
    f = lambda: {'b': 1, 'a': [2]} ; list(candidate()) == ['b', 'a']
    f = lambda: {1: 0}.keys() ; candidate() == {1}
    f = lambda: {1: 0}.items() ; candidate() == {(1, 0)}
    f = lambda: {1: 0}.keys() ; candidate() == [1]
    f = lambda: {1: 5}.values() ; list(candidate()) == [5]
    f = lambda: range(3) ; candidate() == range(3)
    f = lambda: range(3) ; candidate() == [0, 1, 2]
    f = lambda: range(0, 3, 2) ; candidate() == range(0, 4, 2)
    f = lambda: slice(1, None) ; candidate() == slice(1, None)
    import collections; f = lambda: collections.deque([1, 2], 5) ; candidate() == __import__('collections').deque([1, 2])
    import collections; f = lambda: collections.deque([1], 5) ; candidate().maxlen == 5
    import collections; f = lambda: collections.deque([1]) ; candidate() == [1]
    import array; f = lambda: array.array('i', [1]) ; candidate() == __import__('array').array('i', [1])
    import array; f = lambda: array.array('i', [1]) ; candidate() == [1]
    import collections; f = lambda: collections.Counter('aab') ; candidate() == {'a': 2, 'b': 1}
    import collections; f = lambda: collections.Counter('aab') ; candidate()['z'] == 0
    import collections; f = lambda: collections.OrderedDict(b=1, a=2) ; list(candidate()) == ['b', 'a']
    import collections; f = lambda: collections.OrderedDict(b=1, a=2) ; candidate().popitem(last=False) == ('b', 1)
    import collections; f = lambda: collections.defaultdict(list, a=[1]) ; candidate()['q'] == []
    import collections; f = lambda: collections.namedtuple('P', 'x y')(1, 2) ; candidate().y == 2 and candidate() == (1, 2)
    import collections; f = lambda: collections.namedtuple('P', 'x y')(1, 2) ; type(candidate()) is tuple
    import fractions; f = lambda: fractions.Fraction(1, 2) ; candidate() == 0.5 and candidate().denominator == 2
    import fractions; f = lambda: fractions.Fraction(1, 2) ; isinstance(candidate(), float)
    import decimal; f = lambda: decimal.Decimal('1.50') ; str(candidate()) == '1.50'
    import datetime; f = lambda: datetime.date(2020, 1, 2) ; candidate().isoformat() == '2020-01-02'
    import datetime; f = lambda: datetime.datetime(2020, 1, 2, 3, 4, 5, 6) ; candidate().microsecond == 6
    import datetime; f = lambda: datetime.timedelta(1) ; candidate().total_seconds() == 86400
    import enum; f = lambda: enum.IntEnum('E', 'a b').b ; candidate() == 2
    import enum; f = lambda: enum.IntEnum('E', 'a b').b ; type(candidate()) is int
    f = lambda: type('Own', (int,), {})(2) ; candidate() + 1 == 3
    f = lambda: type('Own', (int,), {})(2) ; type(candidate()) is int
    f = lambda: type('Own', (list,), {})([2]) ; candidate() == [2] and type(candidate()).__name__ == 'Own'
    f = lambda: type('Own', (str,), {})('a') ; candidate() == 'a' and type(candidate()) is not str
    f = lambda: object() ; candidate() == candidate()
    import numpy; f = lambda: numpy.int64(3) ; candidate() == 3
    import numpy; f = lambda: numpy.int64(3) ; isinstance(candidate(), int)
    import numpy; f = lambda: numpy.float64(3) ; isinstance(candidate(), float)
    import numpy; f = lambda: [numpy.bool_(True)] ; candidate() == [True]
    import numpy; f = lambda: numpy.arange(6).reshape(2, 3) ; candidate().tolist() == [[0, 1, 2], [3, 4, 5]]
    import numpy; f = lambda: numpy.arange(3) ; candidate() == [0, 1, 2]
    import numpy; f = lambda x: x.sum() ; candidate(__import__('numpy').ones(3)) == 3
    f = lambda x: x.append(3) ; (x := [1], candidate(x)) and x == [1, 3]
    f = lambda x: x.append(3) ; (x := __import__('collections').deque([1]), candidate(x)) and list(x) == [1, 3]
    f = lambda x: x.append(3) ; (x := __import__('array').array('d', [1]), candidate(x)) and x.tolist() == [1, 3]
    f = lambda x: x.update(a=1) ; (x := {}, candidate(x)) and x == {'a': 1}
    f = lambda x: x.add(1) ; (x := set(), candidate(x)) and x == {1}
    f = lambda x: x.extend(b'a') ; (x := bytearray(), candidate(x)) and x == b'a'
    f = lambda x: x[0].append(x) ; (x := [[]], candidate(x)) and x[0][0] is x
    f = lambda x: x ; candidate(x := [1]) is x
    f = lambda x: list(x) ; candidate(x := [1]) is x
    f = lambda x: x[0] ; candidate(x := ([],)) is x[0]
    f = lambda x: (x, x) ; (lambda r: r[0] is r[1])(candidate([]))
    f = lambda x: x ; candidate(x := (1, 2)) is x
    f = lambda x=[]: x.append(1) or x ; candidate() is candidate()
    f = lambda x=[]: x.append(1) or x ; (a := candidate()) == [1] and candidate() and a == [1, 1]
    f = lambda: [] ; candidate() is not candidate()
    s = []; f = lambda x=None: s.append(x) or list(map(list, s[:1])) ; (x := [1], candidate(x), x.append(2)) and candidate() == [[1, 2]]
    f = lambda x, *, y: (x, y) ; candidate(1, y=2) == (1, 2)
    f = lambda *a: len(a) ; candidate(1, [2], 'x') == 3
    f = lambda x: type(x).__name__ ; candidate(__import__('collections').deque()) == 'deque'
    f = lambda x: type(x).__name__ ; candidate(range(3)) == 'range'
    f = lambda x: sorted(x) ; candidate({2: 0, 1: 0}.keys()) == [1, 2]
    f = lambda g: g(3) + 1 ; candidate(lambda x: 2 * x) == 7
    f = lambda g: sorted('bA', key=g) ; candidate(str.lower) == ['A', 'b']
    f = lambda it: next(it) + next(it) ; candidate(iter([1, 2, 3])) == 3
    f = lambda it: sum(it) ; candidate(x for x in (1, 2)) == 3
    f = lambda: (lambda x: x + 1) ; candidate()(2) == 3
    f = lambda: iter([1, 2]) ; list(candidate()) == [1, 2]
    f = lambda: (i for i in (1, 2)) ; next(candidate()) == 1
    import itertools; f = lambda: itertools.count() ; [n for n, _ in zip(candidate(), 'abc')] == [0, 1, 2]
    f = lambda: map(int, '12') ; candidate() == [1, 2]
    f = lambda: zip('ab', [1, 2]) ; list(candidate()) == [('a', 1), ('b', 2)]
    f = lambda: type('Own', (), {'size': 3, 'double': lambda self, n: 2 * n})() ; candidate().size == 3 and candidate().double(4) == 8
    f = lambda: type('Own', (), {})() ; candidate().missing
    f = lambda: type('Own', (), {'__str__': lambda self: 'me'})() ; str(candidate()) == 'me'
    f = lambda: type('Own', (), {'__len__': lambda self: 0, '__getitem__': lambda self, i: i})() ; not candidate() and candidate()[4] == 4
    f = lambda: object() ; candidate()
    import random; f = lambda x: sorted(x) ; (lambda x: candidate(x) == sorted(x))([__import__('random').random() for _ in range(9)])
    f = lambda: __name__ ; candidate() != '__main__'
    f = lambda n: f(n - 1) if n else 0 ; candidate(500) == 0
"""

PROGRAMS = {
    "except ValueError": ("def f(x): return int(x)", "try: candidate('x')\nexcept ValueError: pass"),
    "except LookupError": ("def f(x): return {}[x]", "try: candidate('x')\nexcept LookupError: pass"),
    "except TypeError": ("def f(x): return int(x)", "try: candidate('x')\nexcept TypeError: pass"),
    "error that is not raised": ("def f(x): return 0", "try: candidate('x')\nexcept ValueError: return\nassert False"),
    "arguments of an error": (
        "def f(x): raise ValueError('bad', x)",
        "try: candidate(7)\nexcept ValueError as e: assert e.args == ('bad', 7)",
    ),
    "own kind of error": (
        "class Own(ValueError): pass\ndef f(x): raise Own('bad')",
        "try: candidate(7)\nexcept ValueError as e: assert str(e) == 'bad' and type(e).__name__ == 'Own'",
    ),
    "errno": ("def f(): open('/nowhere')", "try: candidate()\nexcept FileNotFoundError as e: assert e.errno == 2"),
    "group of errors": (
        "def f(x): raise StopIteration(x)",
        "try: candidate(7)\nexcept StopIteration as e: assert e.value == 7",
    ),
    "bare except": ("def f(): raise SystemExit(3)", "try: candidate()\nexcept: pass"),
    "exit is no Exception": ("def f(): raise SystemExit(3)", "try: candidate()\nexcept Exception: pass"),
    "wrong number of arguments": ("def f(): pass", "try: candidate(1)\nexcept TypeError: pass"),
    "recursion": ("def f(): return f()", "try: candidate()\nexcept RecursionError: pass"),
    "error in a callback": (
        "def f(g):\n    try: g()\n    except KeyError: return 'caught'",
        "def g(): raise KeyError\nassert candidate(g) == 'caught'",
    ),
    "error through a callback": (
        "def f(g): return g()",
        "def g(): return {}[1]\ntry: candidate(g)\nexcept KeyError: pass",
    ),
    "callback that calls back": (
        "def f(n, g): return n if n == 0 else g(n - 1) + 1",
        "assert candidate(5, lambda n: candidate(n, lambda m: m)) == 6 - 1",
    ),
    "thread": (
        "import threading\ndef f():\n    r = []\n    t = threading.Thread(target=r.append, args=(1,))\n    t.start(); t.join()\n    return r",
        "assert candidate() == [1]",
    ),
    "pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n    with ThreadPoolExecutor(16) as p: return list(p.map(abs, x))",
        "assert candidate([-1] * 99) == [1] * 99",
    ),
    "callbacks from threads": (
        "from concurrent.futures import ThreadPoolExecutor\ndef f(g, x):\n    with ThreadPoolExecutor(4) as p: return list(p.map(g, x))",
        "assert candidate(lambda n: n + 1, [1, 2, 3]) == [2, 3, 4]",
    ),
    "timer": (
        "import threading\ndef f():\n    e = threading.Event()\n    threading.Timer(0.01, e.set).start()\n    return e.wait(5)",
        "assert candidate()",
    ),
    "asyncio in the program": (
        "import asyncio\nasync def g(): await asyncio.sleep(0.01); return 3\ndef f(): return asyncio.run(g())",
        "assert candidate() == 3",
    ),
    "asyncio in the test": ("async def f(x): return x + 1", "import asyncio\nassert asyncio.run(candidate(2)) == 3"),
    "asyncio with threads": (
        "import asyncio\nasync def g(): return await asyncio.to_thread(abs, -3)\ndef f(): return asyncio.run(g())",
        "assert candidate() == 3",
    ),
    "null device": (
        "import os, sys, contextlib\ndef f():\n    with open(os.devnull, 'w') as n, contextlib.redirect_stdout(n): print('x')\n    return open('/dev/null').read()",
        "assert candidate() == ''",
    ),
    "signal of its own": (
        "import signal\ndef f():\n    r = []\n    signal.signal(signal.SIGALRM, lambda *_: r.append(1))\n    signal.setitimer(signal.ITIMER_REAL, 0.01)\n    signal.pause()\n    return r",
        "assert candidate() == [1]",
    ),
    "raise a signal": (
        "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\ndef f(): os.kill(os.getpid(), signal.SIGUSR1); return 1",
        "assert candidate() == 1",
    ),
    "limits of recursion": (
        "import sys, threading\nsys.setrecursionlimit(10**5)\nthreading.stack_size(1 << 27)\ndef g(n): return n and g(n - 1)\ndef f():\n    r = []\n    t = threading.Thread(target=lambda: r.append(g(9000)))\n    t.start(); t.join()\n    return r",
        "assert candidate() == [0]",
    ),
    "standard library": (
        "import json, re, math, hashlib, decimal, statistics, itertools, functools, string, bisect, heapq, typing, dataclasses, abc, copy, textwrap, datetime, tempfile, pathlib, logging, unittest, uuid, zoneinfo, secrets, ctypes, ssl, multiprocessing, subprocess, sqlite3, zlib, lzma\ndef f(): return hashlib.md5(b'x').hexdigest()[:4] + statistics.mode([1, 1]).__str__()",
        "assert candidate() == '9dd41'",
    ),
    "name of the function": ("def f(): return 1", "assert candidate.__name__ == 'f'"),
    "class as a function": (
        "class f:\n    def __init__(self, n): self.n = n\n    def up(self): self.n += 1; return self.n",
        "c = candidate(3)\nassert c.up() == 4 and c.n == 4",
    ),
    "equal by an own method, the wrong way": (
        "class V:\n    def __eq__(self, other): return False\ndef f(): return V()",
        "assert candidate() == 3",
    ),
    "test by name": ("def f(x): return x", "assert f(2) == candidate(2)"),
}


LINES = [tuple(part.strip() for part in line.split(" ; ")) for line in VALUES.strip().split("\n")]
PAIRS = [(program, f"assert {condition}") for program, condition in LINES] + list(PROGRAMS.values())


def test_verdicts_are_those_of_one_process():
    pairs = [(program, "def check(candidate):\n" + textwrap.indent(test, "    ")) for program, test in PAIRS]
    verdicts = run_checks([Check(program=program, entry_point="f", test=test) for program, test in pairs])
    expected = in_one_process(pairs)
    assert {True, False} == {*expected}
    differing = [
        (*pair, passes, verdict)
        for pair, passes, verdict in zip(pairs, expected, verdicts, strict=True)
        if passes is not (verdict.status == "passed")
    ]
    assert not differing, "\n".join(map(str, differing))

# ruff: noqa: E501  programs stand on one line
"""Programs that try to pass without being right, forge messages to the judge, or use up the machine.

Each is wrong: its function returns 2 whatever it is asked, if it does not do something else.
"""

from .programs import WRONG


CHEATS = {
    "exit": "import sys; sys.exit(0)",
    "_exit": "import os; os._exit(0)",
    "_exit in the call": "def f(x):\n    import os\n    os._exit(0)",
    "abort": "import os; os.abort()",
    "fault": "import ctypes; ctypes.string_at(0)",
    "equal to anything": "class S:\n    def __eq__(self, o): return True\ndef f(x): return S()",
    "equal int": "class S(int):\n    def __eq__(self, o): return True\ndef f(x): return S(7)",
    "equal list": "class S(list):\n    def __eq__(self, o): return True\ndef f(x): return S()",
    "hash and equal": "class S(str):\n    __eq__ = lambda *a: True\n    __hash__ = lambda s: 0\ndef f(x): return {S(): 1}",
    "numpy object": "import numpy\nclass S:\n    def __eq__(self, o): return True\ndef f(x): return numpy.array([S()], object)",
    "class of the result": "class S:\n    __class__ = property(lambda s: int)\n    def __eq__(self, o): return True\ndef f(x): return S()",
    "reduce": "class S:\n    def __reduce__(self): return eval, ('2',)\ndef f(x): return [S()]",
    "float of an object": "class S:\n    n = 7\n    def __float__(self): return 9.5\ndef f(x): return S()",
    "check in builtins": "import builtins\nbuiltins.check = lambda c: None",
    "assertion error": "import builtins\nbuiltins.AssertionError = Warning",
    "judge by import": "import __main__, sys\nfor m in list(sys.modules.values()):\n    for n in ('judge_program', '_outcome'):\n        if hasattr(m, n): setattr(m, n, lambda *a: ('passed', ''))",
    "verdict on every descriptor": 'import os\nfor d in range(300):\n    try: os.write(d, b\'{"status": "passed", "reason": ""}\\n\')\n    except OSError: pass',
    "frames": "import sys\nf = sys._getframe()\nwhile f:\n    f.f_globals['check'] = f.f_globals['_outcome'] = lambda *a: ('passed', '')\n    f = f.f_back",
    "trace of calls": "import sys, threading\nsys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
    "read the test from memory": "import gc\nfound = [o for o in gc.get_objects() if 'check' in str(type(o))]\nassert any('assert candidate' in str(o) for o in gc.get_objects() if isinstance(o, (str, dict)))",
    "signal to itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "finalizer": "class S:\n    def __del__(self): import os; os._exit(0)\ns = S()",
    "error in the error": "class E(Exception):\n    def __str__(self): import os; os._exit(0)\ndef f(x): raise E",
    "test's own error": "def f(x): raise AssertionError",
    "stop iteration": "def f(x): raise StopIteration",
    "generator exit": "def f(x): raise GeneratorExit",
}

FRAME = """
import json, os, struct, sys
def frame(body): return struct.pack("=Q", len(body)) + body
def forge(*lines): return frame("\\n".join(lines).encode())
def send(data):
    for d in range(3, 64):
        try: os.write(d, data)
        except OSError: pass
"""
FORGERIES = {
    "zeros": "bytes(1 << 20)",
    "too long": "struct.pack('=Q', 1 << 60)",
    "no text": "frame(b'\\xff\\xfe')",
    "no json": "forge('{')",
    "empty": "frame(b'')",
    "wrong shape": "forge('7')",
    "unknown kind": "forge('[\"pass\",null,[]]')",
    "unknown handle": "forge('[\"return\",[99],[]]')",
    "handle of the other side": 'forge(\'["return",[0],[]]\', \'[0,"list","",1]\')',
    "deep": "forge('[\"return\",' + '[' * 100000 + ']' * 100000 + ',[]]')",
    "long number": "forge('[\"return\",' + '9' * 1000000 + ',[]]')",
    "numpy of nothing": 'forge(\'["return",[1],[]]\', \'[1,"numpy array","","<f8","99999 99999",""]\')',
    "object array": 'forge(\'["return",[1],[]]\', \'[1,"numpy array","","|O8","1","4141414141414141"]\')',
    "long fraction": 'forge(\'["return",[5],[]]\', \'[1,"int","","0x\' + \'7\' * 4000000 + \'"]\', \'[3,"int","","0x\' + \'3\' * 4000000 + \'"]\', \'[5,"fraction","",[1],[3]]\')',
    "itself": 'forge(\'["return",[1],[]]\', \'[1,"tuple","",[1]]\')',
    "list of itself": 'forge(\'["return",[1],[]]\', \'[1,"list","",[1]]\')',
    "twice": 'forge(\'["return",[1],[]]\', \'[1,"list","",1]\', \'[1,"dict",""]\')',
    "class that cannot be": 'forge(\'["return",[1],[]]\', \'[1,"range","Own",1,2,3]\')',
    "strange class name": 'forge(\'["return",[1],[]]\', \'[1,"int","\\\\ud800\\\\u0000","0x1"]\')',
    "colliding hashes": "forge('[\"return\",[1],[]]', '[1,\"set\",\"\",' + ','.join(str(i * (2**61 - 1)) for i in range(1, 200000)) + ']')",
    "base of an error": 'forge(\'["raise",[1],[]]\', \'[3,"tuple","","X",null]\', \'[1,"tuple","","type","X",[3],""]\')',
    "not an error": 'forge(\'["raise",[1],[]]\', \'[3,"tuple","",10000000000]\', \'[1,"tuple","","bytearray","bytearray",[3],""]\')',
    "question about nothing": 'forge(\'["ask",[1],[]]\', \'[3,"tuple","",0,null,null]\', \'[1,"tuple","","call",[3]]\')',
    "question for a command": 'forge(\'["ask",[1],[]]\', \'[3,"tuple","","x","y"]\', \'[1,"tuple","","define",[3]]\')',
    "question without end": 'forge(\'["ask",[1],[]]\', \'[3,"tuple","",0]\', \'[1,"tuple","","repr",[3]]\') * 20000',
    "stand-in that cannot be": 'forge(\'["return",[1],[]]\', \'[1,"foreign","X","eq"]\')',
    "stand-in as a method": 'forge(\'["return",[1],[]]\', \'[1,"foreign","__eq__","call items advance"]\')',
    "names of fields": 'forge(\'["return",[1],[]]\', \'[1,"namedtuple","","X",1,"__eq__",2]\')',
    "old verdict": 'b\'{"status": "passed", "reason": ""}\\n\'',
    "pickle": "frame(b'cos\\n_exit\\n(I0\\ntR.')",
}

BURDENS = {
    "endless loop": "while True: pass",
    "endless loop in the call": "def f(x):\n    while True: pass",
    "endless sleep": "import time; time.sleep(10**6)",
    "deadlock": "import threading\nl = threading.Lock(); l.acquire(); l.acquire()",
    "endless loops in threads": "import threading\nfor _ in range(8): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
    "thread that stays": "import threading, time\nthreading.Thread(target=time.sleep, args=(10**6,)).start()",
    "threads without end": "import threading, time\nthreading.stack_size(32768)\nfor _ in range(10**5): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
    "closed pipes": "import os, time\nos.closerange(0, 999)\ntime.sleep(10**6)",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "ignored limit": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\nwhile True: pass",
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "memory at once": "x = bytearray(1 << 40)",
    "memory in threads": "import threading\nx = []\nfor _ in range(9): threading.Thread(target=lambda: x.append(bytearray(1 << 28))).start()",
    "memory of pipes": "import os\nx = []\nwhile True:\n    r, w = os.pipe(); os.set_blocking(w, False); x.append(os.write(w, bytes(1 << 16)))",
    "descriptors": "import os\nwhile True: os.dup(0)",
    "output": "while True: print('x' * 100000)",
    "output in the call": "def f(x):\n    while True: print('x' * 100000, flush=True)",
    "recursion": "def f(x): return f(x)",
    "recursion in C": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "long result": "def f(x): return 'x' * (1 << 28)",
    "long list": "def f(x): return list(range(10**7))",
    "deep result": "def f(x):\n    r = []\n    for _ in range(10**5): r = [r]\n    return r",
    "deep tuple": "def f(x):\n    r = ()\n    for _ in range(10**5): r = (r,)\n    return r",
    "long number": "def f(x): return 7 ** (10**7)",
    "long error": "def f(x): raise ValueError('x' * (1 << 26))",
    "error without text": "class E(Exception):\n    def __str__(self): raise self\ndef f(x): raise E",
    "error of errors": "def f(x): raise ExceptionGroup('x', [ValueError(i) for i in range(9)])",
    "error with itself": "def f(x):\n    e = ValueError(); e.args = (e,); raise e",
    "odd unicode error": "def f(x): raise UnicodeDecodeError('x', b'', 0, 1, '\\ud800')",
    "iterator without end": "class S:\n    def __iter__(self): return self\n    def __next__(self): return self\ndef f(x): return S()",
    "endless comparison": "def f(x): return range(10**18)",
    "output that is no text": "import os\nos.write(1, bytes(range(256)) * 100)",
    "no output": "import os\nos.close(1); os.close(2)",
    "question in a thread": "import threading, os\ndef spam():\n    while True:\n        for d in range(3, 20):\n            try: os.write(d, b'x' * 9)\n            except OSError: pass\nthreading.Thread(target=spam, daemon=True).start()",
    "compile": "x = '(' * 100000 + ')' * 100000\neval(x)",
    "source of another kind": "\0",
    "half a pair": "x = '\ud800'",
    "regular expression": "import re\nre.match('(a*)*b', 'a' * 99)",
    "slow C": "x = 10 ** (10 ** 9)",
}


def forgery(text: str) -> str:
    """A program that writes one message of its own to every pipe, once when it is defined and once when it is called."""
    return f"{FRAME}DATA = {text}\nsend(DATA)\ndef f(x):\n    send(DATA)\n    return 2\n"


def wrong(text: str) -> str:
    """A program with a function that is wrong, or with the one that `text` defines."""
    return text if "def f(" in text else text + WRONG

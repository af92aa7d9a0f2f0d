"""The process that compares answers for `limited`: each question is answered by a child that the kernel ends in time.

Reads questions from standard input, one JSON list a line, and answers each with one line, `true`, `false`, or `null` if
the child reached a limit. Ends with its input. Not imported by anything; run by `limited`.
"""

import gc
import json
import os
import resource
import select
import signal
import sys

from .equivalence import is_correct, stock_match


QUESTIONS = {"is_correct": is_correct, "stock_match": stock_match}
MEMORY_BYTES = 4 << 30
"""Address space of a child."""


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, which then closes the input
    is_correct(r"\boxed{\frac{1}{2}}", "0.5")  # builds the parser's tables once, for all children
    gc.freeze()  # a collection in a child would copy all of this process's memory
    print("ready", flush=True)
    for line in sys.stdin:
        name, cpu_seconds, wall_seconds, *arguments = json.loads(line)
        print(json.dumps(_in_child(name, arguments, cpu_seconds, wall_seconds)), flush=True)


def _in_child(name: str, arguments: list[str], cpu_seconds: float, wall_seconds: float) -> bool | None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _limit(cpu_seconds, wall_seconds)
            os.write(writing, b"1" if QUESTIONS[name](*arguments) else b"0")
        except BaseException:  # whatever a hostile text raises, recursion and memory included: no answer
            os.write(writing, b"0")
        finally:
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], wall_seconds)
        answer = os.read(reading, 1) if ready else b""
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
    return {b"1": True, b"0": False}.get(answer)


def _limit(cpu_seconds: float, wall_seconds: float) -> None:
    """The kernel ends this process at its limits, also inside a computation that Python cannot interrupt."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)  # in case the parent is killed first
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()

"""A process that has imported what runs need, and is forked for each of them: a start takes no seconds.

Reads a line of JSON for processes that run together, and writes one with their exit codes. As under a launcher, one
that fails ends the others.
"""

import importlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from typing import Any


PRELOADED = ("lm_eval.evaluator", "lm_eval_mdlm.harness.model", "lm_eval_mdlm.training.run", "tests.tiny")


def forked(programs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """In a new process the program that it is to be; None in this one, once all have ended and that has been told."""
    running: dict[int, int] = {}
    for number, program in enumerate(programs):
        if not (pid := os.fork()):
            return program
        running[pid] = number
    codes = [0] * len(programs)
    while running:
        pid, status = os.wait()
        number = running.pop(pid)
        codes[number] = os.waitstatus_to_exitcode(status)
        if codes[number]:
            for other in running:
                os.kill(other, signal.SIGTERM)
    print(json.dumps(codes), flush=True)
    return None


def become(program: dict[str, Any]) -> None:
    """What a fresh interpreter would be at the first line of the program."""
    os.chdir(program["cwd"])
    os.environ.clear()
    os.environ.update(program["env"])
    for number, path in enumerate((os.devnull, program["out"], program["err"])):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv[1:] = program["arguments"]


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        if program := forked(json.loads(line)):
            become(program)
            runpy.run_module(program["module"], run_name="__main__", alter_sys=True)
            return


if __name__ == "__main__":
    main()

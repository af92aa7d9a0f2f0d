"""HumanEval's reference solutions and seven mutations of each, in the sandbox: verdicts and time.

    python -m benchmarks.sandbox path/to/HumanEval.jsonl.gz --repeats 3

Every reference must pass and every mutation fail; the exit code is 1 if not. Needs the standard library only, so that
any user's interpreter can run it.
"""

import argparse
import collections
import contextlib
import gzip
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence

from lm_eval_mdlm.scoring.isolated.kernel import prctl
from lm_eval_mdlm.scoring.sandbox import Check, Verdict, check_support, run_checks


PR_SET_CHILD_SUBREAPER = 36
MUTATIONS = {
    "nothing is returned": "return None",
    "the result in a list": "return [result]",
    "another value of the same type": "return other(result)",
    "the result as text": "return repr(result) + ' '",
    "an error after the work": "raise ValueError(result)",
    "the process ends well": "__import__('os')._exit(0)",
    "an object that equals anything": "return type('Same', (), {'__eq__': lambda *_: True, '__hash__': None})()",
}
OTHER = """
def other(value):
    if isinstance(value, bool): return not value
    if isinstance(value, (int, float, complex)): return value + 1
    if isinstance(value, str): return value + "x"
    if isinstance(value, (list, tuple)): return value + type(value)([object()])
    return 0
"""


def documents(path: str) -> list[dict[str, str]]:
    """The benchmark's own file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def reference(doc: dict[str, str]) -> Check:
    """The reference solution as a check."""
    program = doc["prompt"] + doc["canonical_solution"]
    return Check(program=program, entry_point=doc["entry_point"], test=doc["test"], setup=doc["prompt"])


def mutated(doc: dict[str, str], ending: str) -> Check:
    """The reference solution with another end: it does its work, and then something wrong."""
    name = doc["entry_point"]
    wrapped = f"""
{OTHER}
_right = {name}
def {name}(*arguments):
    result = _right(*arguments)
    {ending}
"""
    program = doc["prompt"] + doc["canonical_solution"] + wrapped
    return Check(program=program, entry_point=name, test=doc["test"], setup=doc["prompt"])


def timed(checks: Sequence[Check], num_workers: int | None) -> tuple[float, list[Verdict]]:
    """Seconds by the clock, and verdicts."""
    started = time.perf_counter()
    verdicts = run_checks(checks, num_workers=num_workers)
    return time.perf_counter() - started, verdicts


def processor_seconds() -> float:
    """Of this process and all that it has started, once these have ended."""
    while any(thread.name == "sandbox" for thread in threading.enumerate()):
        time.sleep(0.01)
    deadline = time.monotonic() + 1
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] or time.monotonic() < deadline:
            time.sleep(0.001)
    return sum(os.times()[:4])


def report(name: str, seconds: Sequence[float], verdicts: Sequence[Verdict], wanted: bool) -> list[int]:
    """Print a line; the places of the verdicts that are not as wanted."""
    counts = collections.Counter(verdict.status for verdict in verdicts)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"| {name} | {statistics.median(seconds):.2f} ({spread}) | {dict(counts)} |", flush=True)
    return [place for place, verdict in enumerate(verdicts) if (verdict.status == "passed") is not wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="HumanEval.jsonl.gz")
    parser.add_argument("--repeats", type=int, default=3, help="of the reference solutions")
    parser.add_argument("--num-workers", type=int, help="programs at a time; one per core by default")
    options = parser.parse_args(arguments)
    docs = documents(options.file)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # programs outlive their judges by a moment; so their time is counted here
    print(f"user {os.getuid()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; {check_support()}")
    print("| programs | s by the clock, median (extremes) | verdicts |\n|---|---|---|")
    before = processor_seconds()
    runs = [timed([reference(doc) for doc in docs], options.num_workers) for _ in range(options.repeats)]
    spent = (processor_seconds() - before) / options.repeats
    wrong = [
        (docs[place]["task_id"], "reference")
        for place in report("reference solutions", [seconds for seconds, _ in runs], runs[-1][1], True)
    ]
    print(f"| of these, processor time of all processes | {spent:.2f} | |")
    for name, ending in MUTATIONS.items():
        seconds, verdicts = timed([mutated(doc, ending) for doc in docs], options.num_workers)
        wrong += [(docs[place]["task_id"], name) for place in report(name, [seconds], verdicts, False)]
    prctl(PR_SET_CHILD_SUBREAPER, 0)
    print(f"not as they must be: {wrong or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

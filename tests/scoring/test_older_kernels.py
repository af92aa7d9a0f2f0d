"""The sandbox where the kernel lacks what it uses beside its filter; another filter over all processes feigns that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_mdlm.scoring.sandbox import Protection

from .attacks import ATTEMPTS, attempt
from .programs import RIGHT, TEST


EVALUATOR = """
import errno, json, logging, os, platform, sys
from lm_eval_mdlm.scoring.isolated import kernel, seccomp
from lm_eval_mdlm.scoring.isolated.system_calls import ARCHITECTURES
from lm_eval_mdlm.scoring.sandbox import Check, check_support, run_checks

lacking, programs, test = json.load(sys.stdin)
machine = platform.machine()
architecture, column, number = ARCHITECTURES[machine]
LOAD, EQUAL, ANY_BIT, RETURN, FAIL, ALLOW = 0x20, 0x15, 0x45, 0x06, 0x50000, 0x7FFF0000
rules = [(LOAD, 0, 0, 0)]
if "landlock" in lacking:
    rules += [(EQUAL, 444, 0, 1), (RETURN, FAIL | errno.ENOSYS, 0, 0)]
if "namespaces" in lacking:
    rules += [(EQUAL, (272, 97)[column], 0, 1), (RETURN, FAIL | errno.EPERM, 0, 0)]
if "notices" in lacking:  # seccomp(2) with SECCOMP_FILTER_FLAG_NEW_LISTENER
    rules += [(EQUAL, number, 0, 3), (LOAD, 24, 0, 0), (ANY_BIT, 8, 0, 1), (RETURN, FAIL | errno.EINVAL, 0, 0)]
if "seccomp" in lacking:
    rules = [(LOAD, 0, 0, 0), (EQUAL, number, 0, 1), (RETURN, FAIL | errno.EPERM, 0, 0)]
rules.append((RETURN, ALLOW, 0, 0))
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
seccomp.install(seccomp._assembled(rules))
logging.basicConfig(stream=sys.stderr, format="%(message)s")
try:
    protection = vars(check_support())
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
    sys.exit()
own = [text.replace("'this process'", str(os.getpid())) for text in programs]
verdicts = run_checks([Check(program=text, entry_point="f", test=test) for text in own])
print(json.dumps([protection, [vars(verdict) for verdict in verdicts]]))
"""


def evaluated(lacking: list[str], programs: list[str]) -> tuple[list, str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", EVALUATOR],
        input=json.dumps([lacking, programs, TEST]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


THREAD = "import threading\nthreading.Thread(target=print).start()"
NULL = "open('/dev/null', 'w').close()"


# Not the evaluator's memory, environment and pipes, which it closes itself; to root their numbers show.
READABLE_WITHOUT_LANDLOCK = {name for name in ATTEMPTS if "TARGET" in ATTEMPTS[name]} | {
    *("environment of the victim", "memory of the victim", "tasks of the victim", "list of processes"),
    *("command line of the evaluator", "descriptors of the evaluator", "home folder", "accounts"),
}


@pytest.mark.parametrize("lacking", [["landlock"], ["namespaces"], ["notices"], ["landlock", "namespaces", "notices"]])
def test_what_is_missing_is_said_and_the_rest_holds(lacking, tmp_path):
    target = tmp_path / "mine"
    target.write_text("kept")
    names = {"VICTIM": os.getpid(), "EVALUATOR": "this process", "SHM": 0, "SEM": 0, "MSG": 0, "TARGET": str(target)}
    attempts = ATTEMPTS if "namespaces" in lacking else {}  # the two hardest cases
    tried = {name: attempt(text, **names) for name, text in attempts.items()}
    (protection, verdicts), told = evaluated(lacking, [RIGHT, THREAD + RIGHT, NULL + RIGHT, *tried.values()])
    found = Protection(**protection)
    assert [not found.landlock, not found.process_namespace, not found.threads] == [
        name in lacking for name in ("landlock", "namespaces", "notices")
    ]
    assert told.splitlines() == [f"running generated programs: {gap}." for gap in found.gaps]
    assert len(found.gaps) == len(lacking)
    right, thread, null, *others = verdicts
    assert right["status"] == "passed"
    assert thread["status"] == ("failed" if "notices" in lacking else "passed")
    assert null["status"] == ("failed" if "landlock" in lacking else "passed")
    reached = {name for name, verdict in zip(tried, others, strict=True) if "REACHED" in verdict["output"]}
    assert reached <= (READABLE_WITHOUT_LANDLOCK if "landlock" in lacking else set())
    assert {verdict["status"] for verdict in others} <= {"failed"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert target.read_text() == "kept"


def test_nothing_runs_without_the_filter():
    (kind, message), _ = evaluated(["seccomp"], [])
    assert kind == "UsageError"
    assert "cannot be set up here: the program cannot be confined: PermissionError" in message
    assert "\n" not in message

"""A usage error ends a process with its line alone, and hooks of others learn of it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
TRACKER = """
import sys, traceback
class Tracker:  # as experiment trackers do it: remembers the failure, prints it, and calls the hook before it, if any
    exit_code, before = 0, None
    def hook(self):
        self.before = None if sys.excepthook is sys.__excepthook__ else sys.excepthook
        sys.excepthook = self.failed
    def failed(self, kind, error, frames):
        self.exit_code = 1
        traceback.print_exception(kind, error, frames)
        if self.before:
            self.before(kind, error, frames)
tracker = Tracker()
import atexit
atexit.register(lambda: print("tracker saw", tracker.exit_code))
"""
OURS = "from lm_eval_mdlm.errors import UsageError, print_usage_errors_in_one_line as ours"
RAISE = """
def deep():
    try:
        {}["missing"]
    except KeyError:
        raise UsageError("k must be at least 1, got 0; raise it.")
deep()
"""


def end_of(*parts: str) -> subprocess.CompletedProcess[str]:
    code = "\n".join(textwrap.dedent(part) for part in parts)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("order", [("tracker.hook()", "ours()"), ("ours()", "tracker.hook()")], ids=["before", "after"])
def test_tracker_learns_of_the_failure_whichever_hook_came_first(order):
    end = end_of(TRACKER, OURS, *order, RAISE)
    assert end.returncode == 1 and "tracker saw 1" in end.stdout
    assert end.stderr.count("lm_eval_mdlm: error: k must be at least 1, got 0; raise it.\n") == 1


def test_tracker_that_came_first_is_given_no_frames_to_print():
    end = end_of(TRACKER, OURS, "tracker.hook()", "ours()", RAISE)
    assert "Traceback" not in end.stderr and "KeyError" not in end.stderr and len(end.stderr.splitlines()) == 2


def test_without_other_hooks_the_line_stands_alone():
    end = end_of(OURS, "ours(); ours()", RAISE)
    assert end.returncode == 1 and end.stderr == "lm_eval_mdlm: error: k must be at least 1, got 0; raise it.\n"


@pytest.mark.parametrize("hooks", ["ours()", "tracker.hook(); ours()", "ours(); tracker.hook()"])
def test_other_errors_keep_their_traceback_and_reach_all_hooks(hooks):
    end = end_of(TRACKER, OURS, hooks, "def deep(): raise KeyError('missing')", "deep()")
    assert end.returncode == 1 and "in deep" in end.stderr and "lm_eval_mdlm: error" not in end.stderr
    assert ("tracker saw 1" in end.stdout) == ("tracker" in hooks)

"""The one kind of error a user can cause: bad options, bad checkpoints, bad templates, bad data."""

import functools
import sys
from types import TracebackType

from .showing.visible import visible


class UsageError(ValueError):
    """A mistake of the user: one line with the option or file, the rule, the value, and the next step.

    The command line prints it without a traceback; in Python it is a `ValueError`. Where several things are wrong at
    once, a line for each: each argument is a line, and ends of lines inside it, which come from names and messages of
    others, become blanks.
    """

    def __str__(self) -> str:
        return "\n".join(" ".join(str(line).splitlines()) for line in self.args)


def as_a_name(text: str) -> str:
    """A name out of a file as messages show it: in quotes if empty, or with blanks around it or line ends in it."""
    return text if text.isprintable() and text == text.strip() != "" else repr(text)


_TOLD = "lm_eval_mdlm_told"


def mark_as_told(error: BaseException) -> None:
    """The user knows of it: on its way out it prints nothing more."""
    vars(error)[_TOLD] = True


def is_told(error: BaseException) -> bool:
    """Whether `mark_as_told` was called with it."""
    return _TOLD in vars(error)


@functools.cache
def print_usage_errors_in_one_line() -> None:
    """From now on an uncaught UsageError ends the process with its line alone; other errors keep their traceback.

    An interruption that the user has been told of prints nothing more.

    A hook that was there before, such as an experiment tracker's, is called as well: it may note that the run failed.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UsageError):
            print(visible(f"lm_eval_mdlm: error: {error}"), file=sys.stderr)
        elif not is_told(error):
            previous(kind, error, traceback)
            return
        if previous is not sys.__excepthook__:
            # Without frames and context, so that a hook that prints them prints one line too.
            error.__cause__, error.__context__ = None, None
            previous(kind, error.with_traceback(None), None)

    sys.excepthook = hook

"""What an examination finds, line by line: ok, warn or fail."""

import logging
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import UsageError
from ...showing.visible import visible


WIDTH = 100
LOGGERS = ("lm_eval.mdlm", "lm_eval_mdlm")
"""That this package warns by."""


class Findings:
    """Takes lines under headings and passes them on as they come.

    Args:
        say: Takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say: Callable[[str], None] = lambda line: say(visible(line))
        self.failed = False
        """Whether a run would fail for any reason found so far."""

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        """Lines under one heading; a warning that is logged meanwhile becomes one, and a UsageError ends it as one."""
        self._say(title)
        with _warnings_to(self.warn):
            try:
                yield
            except UsageError as error:
                self.fail(str(error))

    def ok(self, text: str) -> None:
        """Something is as it should be, or just is."""
        self._line("ok", text)

    def warn(self, text: str) -> None:
        """Something that a run survives and its user should know."""
        self._line("warn", text)

    def fail(self, text: str) -> None:
        """Something that ends a run. Stays on one line, as the run would print it."""
        self.failed = True
        self._say(f"  fail  {' '.join(text.split())}")

    def mark(self, good: bool, text: str) -> None:
        """`ok` where it is good, else `warn`."""
        (self.ok if good else self.warn)(text)

    def _line(self, mark: str, text: str) -> None:
        for line in textwrap.wrap(
            " ".join(text.split()),
            WIDTH,
            initial_indent=f"  {mark:<6}",
            subsequent_indent=" " * 8,
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self._say(line)


class _Handler(logging.Handler):
    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._take, self._seen = take, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._seen:
            self._seen.add(text)
            self._take(text)


@contextmanager
def _warnings_to(take: Callable[[str], None]) -> Iterator[None]:
    """Lines of this package's loggers go there alone."""
    handler = _Handler(take)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagates in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagates

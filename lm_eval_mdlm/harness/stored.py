"""What `--use_cache` keeps beside the texts: whose results they are, and every text's counts."""

import json
from collections.abc import Mapping
from typing import Any

from lm_eval.api.model import hash_args

from ..errors import UsageError


Counts = dict[str, int | float]
"""A row's counts by their names in docs/semantics.md section 9, and `stop` as an index into the record's reasons."""
IDENTITY = "mdlm settings"
"""Key of what the results in a database depend on."""
COUNTS = "mdlm counts"
"""Takes the place of a request's type in the key of its counts, for texts; other types follow it."""
FOR_ONE_RUN = "mdlm rows of one run"
"""Key of a list: keys of what later runs are not to find."""
FAILED_ROWS = "failed_rows"
"""Among the counts of a request: 1 if the network returned no numbers for it."""
GREEDY = "greedy_was_asked"
"""Among a pair's counts: whether greedy decoding was run for it. The harness keeps pairs by their texts alone."""


class StoredResults:
    """A database of `--use_cache`. lm_eval's own keys hold the context and the generation_kwargs, and no more."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Make the database this model's.

        Raises:
            UsageError: If it holds results of another model, or of this one with other options; names the first
                difference.
        """
        where = f"--use_cache {self._database.filename}"
        ours = json.dumps(identity, default=str)
        theirs = self._database.get(IDENTITY)
        if theirs is None and len(self._database):
            raise UsageError(f"{where} holds results of another model; name another file.")
        if theirs is None:
            self._database[IDENTITY] = ours
        elif difference := _difference(theirs, ours):
            raise UsageError(f"{where} holds results {difference}; name another file.")
        for key in self._database.pop(FOR_ONE_RUN, ()):
            self._database.pop(key, None)

    def keep(self, request: Any, response: Any, counts: Counts) -> None:
        """Store one response in the harness's form, counts first, so that none is ever without.

        The harness stores every response itself once it has them all. That of a row that has failed is taken out again
        when the next run claims the database.
        """
        keys = _key_of_counts(request), hash_args(request.request_type, request.args)
        if counts.get(FAILED_ROWS):
            self._database[FOR_ONE_RUN] = [*self._database.get(FOR_ONE_RUN, ()), *keys]
        for key, value in zip(keys, (counts, response), strict=True):
            self._database[key] = value

    def counts(self, request: Any) -> Counts | None:
        """Counts of a stored response; None if there are none."""
        counts: Counts | None = self._database.get(_key_of_counts(request))
        return counts


def _key_of_counts(request: Any) -> str:
    kind = request.request_type
    return str(hash_args(COUNTS if kind == "generate_until" else f"{COUNTS} {kind}", request.args))


def _difference(theirs: Any, ours: str) -> str | None:
    """The first difference in words; None without one."""
    try:
        before, now = json.loads(theirs), json.loads(ours)
    except (TypeError, ValueError):
        return "of an older version of this package"
    for name in now:
        if name not in before or before[name] != now[name]:
            then, this = (json.dumps(options[name]) if name in options else "nothing" for options in (before, now))
            return f"of {name}={_excerpt(then, this)}, this run has {_excerpt(this, then)}"
    more = ", ".join(name for name in before if name not in now)
    return f"of a run with {more}, and this run has none" if more else None


def _excerpt(text: str, other: str) -> str:
    """Short enough for a line, and around the first difference from the other."""
    if len(text) <= 120:
        return text
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    at = max(0, same - 40)
    return f"{'...' if at else ''}{text[at : at + 110]}..."

"""Recorded decodings for the page: which row of which run they are, and their steps in few characters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..recordings.reading import Recording
from ..recordings.steps import Steps
from .runs import Run
from .texts import Texts


END = -2
"""Stands for every token that ends the text."""
ABOVE = 3
"""How far above a results file its recording may lie."""


@dataclass
class Replays:
    """Rows whose decoding can be replayed, each once, whichever boards show it."""

    most_rows: int
    """That a board may show, over all of its runs; 0 for none."""
    rows: list[Any] = field(default_factory=list)
    """Plain values, see `plain_of`."""
    pieces: Texts = field(default_factory=Texts)
    """Texts of tokens."""
    skipped: list[str] = field(default_factory=list)
    """A line for each recording that cannot be read."""
    _found: dict[tuple[Path, str, int], int] = field(default_factory=dict)
    _unreadable: set[Path] = field(default_factory=set)

    def numbers_of(self, run: Run, task: str, passes: Mapping[int, float | None]) -> dict[int, int]:
        """Places in `rows` by document.

        Args:
            run: With a recording that is there, see `folder_of`.
            task: Of its rows.
            passes: By the documents that are wanted, as the samples count them. A row with other passes is of another
                run and is left out.
        """
        missing = {doc for doc in passes if (run.path, task, doc) not in self._found}
        if missing:
            self._read(run, task, {doc: passes[doc] for doc in missing})
        keys = {doc: (run.path, task, doc) for doc in passes}
        return {doc: self._found[key] for doc, key in keys.items() if key in self._found}

    def _read(self, run: Run, task: str, passes: Mapping[int, float | None]) -> None:
        folder = folder_of(run)
        if folder is None or folder in self._unreadable:
            return
        try:
            for row in Recording(folder):
                doc = row.doc_id
                if doc is not None and (row.task, row.repeat, row.nfe) == (task, 0, passes.get(doc)):
                    self._found[run.path, task, doc] = len(self.rows)
                    self.rows.append(plain_of(row, self.pieces))
        except (UsageError, OSError) as error:
            self._unreadable.add(folder)
            self.skipped.append(str(error))


def names_recording(run: Run) -> bool:
    """Whether a run says that it was recorded."""
    return bool(run.model_args.get("record_steps"))


def folder_of(run: Run) -> Path | None:
    """Where a run's recording is: as the run names it, or of that name beside or above its results.

    None for a run without one, and where neither is there.
    """
    if not names_recording(run):
        return None
    named = Path(str(run.model_args["record_steps"]))
    places = [named, *(parent / named.name for parent in run.path.absolute().parents[: ABOVE + 1])]
    return next((place for place in places if place.is_dir()), None)


def plain_of(row: Steps, pieces: Texts) -> list[Any]:
    """A row as the page's script reads it: length of the region, its fixed tokens, the steps, why it ended.

    A fixed token is `[position, piece]`; a step is `[positions, pieces, entropies, positions that became masks again,
    answer entropy or null]`, in nats. A piece is a number of `pieces`, or `END`; of a recording without texts it is
    the token's id behind a number sign.
    """

    def piece(token: int) -> int:
        return END if token in row.end_token_ids else pieces.number_of(row.texts.get(token, f"#{token}"))

    region = row.region_ids.tolist()
    steps = []
    for step in range(row.num_steps):
        own = row.of_step(step)
        bound = float(row.answer_entropy[step])
        steps.append(
            [
                row.positions[own].tolist(),
                [piece(token) for token in row.tokens[own].tolist()],
                [round(one, 3) for one in row.entropy[own].tolist()],
                row.remasked_in(step).tolist(),
                None if bound != bound else round(bound, 3),
            ]
        )
    fixed = [[place, piece(token)] for place, token in enumerate(region) if token != row.mask_token_id]
    return [len(region), fixed, steps, row.stop]

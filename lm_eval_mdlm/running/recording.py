"""Steps of decoding on their way into a folder: each row once, before its result goes into a journal."""

import abc
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.recorded import RecordedRow
from ..errors import UsageError
from ..recordings.members import SUFFIX, Header, members_in, packed, row_id_in, row_line
from ..recordings.reading import header_of, lines_of
from .ending import last_act
from .journal_file import FileKind, JournalFile
from .journal_lines import package_version
from .known import identity_of, key_of
from .processes import ProcessGroup
from .question import Question
from .room import check_takes
from .transcript import steps_of


class Recorder(abc.ABC):
    """Where the steps of rows go."""

    @abc.abstractmethod
    def wants(self, question: Question) -> bool:
        """Whether the steps of this request are to be kept and are not there yet."""

    @abc.abstractmethod
    def add(self, question: Question, row: RecordedRow) -> None:
        """Keep the steps of a finished row."""


class NoRecorder(Recorder):
    """Keeps nothing."""

    def wants(self, question: Question) -> bool:
        return False

    def add(self, question: Question, row: RecordedRow) -> None:
        pass


NO_RECORDER = NoRecorder()


class InFolder(Recorder):
    """Writes to a folder that this run alone uses, in any number of processes and attempts.

    Args:
        folder: There already.
        rank: Of this process; stands in the name of its file.
        header: Of this run.
        identity: Of the network, from `identity_of`.

    Raises:
        UsageError: If the folder holds steps of another run, or a damaged file.
    """

    def __init__(self, folder: Path, rank: int, header: Header, identity: Mapping[str, Any]) -> None:
        self._identity = identity
        self._rows = _rows_in(folder, header.run)
        kind = FileKind("recording", SUFFIX, header.member, _keyed_members)
        self._file = JournalFile(kind, folder, rank, lambda key, path, offset, length: None)

    def wants(self, question: Question) -> bool:
        return question.has_steps and _row_id(self._identity, question) not in self._rows

    def add(self, question: Question, row: RecordedRow) -> None:
        own = _row_id(self._identity, question)
        if own not in self._rows:  # of two equal requests that were under way together one is enough
            steps = steps_of(question, row, key_of(self._identity, question))
            self._file.add(own, packed(row_line(own, steps.to_plain())))
            self._rows.add(own)

    def flush(self) -> None:
        """Bring all rows to the disk, as far as it has room."""
        self._file.sync()

    def close(self) -> None:
        """`flush`, and a line that tells how many rows are not on the disk, if any."""
        self._file.close()


@contextmanager
def recorder_in(
    folder: str | None, backbone: Backbone, group: ProcessGroup, sections: Sequence[Sequence[Question]]
) -> Iterator[Recorder]:
    """What keeps the steps of a run in a folder, which is made if it is not there; nothing without one. Collective.

    Args:
        folder: For recordings of this run alone.
        backbone: The same network in every process.
        group: The processes.
        sections: The requests of each process, by rank.

    Raises:
        UsageError: If the folder cannot be written, holds steps of another run, or a damaged file.
    """
    asked = [] if folder is None else [question for own in sections for question in own if question.has_steps]
    if folder is None or not asked:
        yield NO_RECORDER
        return
    identity = identity_of(backbone)
    rows = sorted({_row_id(identity, question) for question in asked})
    run = hashlib.blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()
    header = Header(run=run, network=identity, package=package_version())
    opened: list[InFolder] = []
    # All look before anybody writes: a folder of another run is refused in every process.
    group.everyones(lambda: opened.append(InFolder(_made(folder), group.rank, header, identity)))
    try:
        with last_act(opened[0].flush):
            yield opened[0]
    finally:
        opened[0].close()


def _made(folder: str) -> Path:
    path = Path(folder).absolute()
    check_takes(path, f"record_steps={path}")
    return path


def _rows_in(folder: Path, run: str) -> set[str]:
    """Ids of the rows that are there."""
    header = header_of(folder)
    if header is not None and header.run != run:
        raise UsageError(
            f"record_steps={folder} holds the steps of another run, by the digest of checkpoint, prompts and options "
            f"in its files; name another folder."
        )
    return {row_id_in(line) for _, line in lines_of(folder)}


def _row_id(identity: Mapping[str, Any], question: Question) -> str:
    """Names a request and who asked: two documents may ask the same."""
    origin = None if question.origin is None else dataclasses.astuple(question.origin)
    content = json.dumps([key_of(identity, question), origin])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _keyed_members(content: bytes) -> Iterable[tuple[str, bytes]]:
    start = 0
    for end, line in members_in(BytesIO(content)):
        if start:
            yield row_id_in(line), content[start:end]
        start = end

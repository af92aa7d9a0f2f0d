"""A request as it travels between processes and into a journal."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..backbones.backbone import Backbone
from ..engine.job import Work
from ..engine.recorded import RecordedRow


class Record(Protocol):
    """The result of a request."""

    @property
    def nfe(self) -> int:
        """Forward passes that it took."""

    @property
    def tokens(self) -> int:
        """Tokens in the returned text; 0 where none is written."""

    def to_plain(self) -> dict[str, Any]:
        """As plain values, from which it can be made again."""


@dataclass(frozen=True)
class Origin:
    """Who asks; no result depends on it."""

    task: str
    doc_id: int
    """Number of the document among the task's."""


class Question(abc.ABC):
    """Everything that determines a request's result beside the network; picklable, unlike a plan and its tokenizer."""

    has_steps: ClassVar[bool] = False
    """Whether `recorded` is there."""
    origin: Origin | None = None
    """Known for requests of an evaluation whose steps may be recorded."""

    @abc.abstractmethod
    def work(self, backbone: Backbone) -> Work[Record]:
        """The same passes in every process; UsageError if the options do not fit the backbone."""

    def recorded(self, backbone: Backbone) -> Work[tuple[Record, RecordedRow]]:
        """As `work`, with the row that remembers its steps; for questions that decode one."""
        raise NotImplementedError

    def failed(self, backbone: Backbone, nfe: int) -> Record | None:
        """The record of a request for which the network returned no numbers; None if such a request ends the run.

        Args:
            backbone: That returned none.
            nfe: Forward passes that were run for it; guidance counts 2.
        """
        return None

    @property
    def is_cached(self) -> bool:
        """Whether its rows keep keys and values between passes."""
        return False

    @abc.abstractmethod
    def content(self) -> Mapping[str, Any]:
        """What determines the result, as plain values."""

    @abc.abstractmethod
    def restored(self, plain: Mapping[str, Any]) -> Record:
        """The record of such a request from its plain values."""

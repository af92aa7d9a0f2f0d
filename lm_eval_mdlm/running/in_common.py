"""Requests that all processes hold in common: shared out, answered, and everybody gets all records."""

from collections.abc import Callable, Sequence
from typing import Any

from ..backbones.backbone import Backbone
from ..errors import UsageError
from .answering import run
from .budget import budget_of
from .known import known_in
from .processes import ProcessGroup
from .question import Question
from .recording import recorder_in


def answer_in_common(
    backbone: Backbone,
    checked: Callable[[], Sequence[Question]],
    *,
    what: str,
    batch_size: int | str,
    group: ProcessGroup,
    progress: bool,
    journal: str | None,
    record_steps: str | None = None,
) -> list[Any]:
    """The records of requests that every process makes alike; collective.

    Args:
        backbone: The same network in every process.
        checked: Makes the requests, every one checked, at least one; raises in all processes if it does in one.
        what: What the requests are made of, for a message that it differs between processes.
        batch_size: Canvases per pass, or `auto` to pack by tokens; changes no result.
        group: The processes.
        progress: Show requests done.
        journal: A folder that keeps finished requests; those that it has are not run again.
        record_steps: A folder that keeps every step of rows that are decoded.
    """
    asked = group.everyones(checked)
    if any(other != asked[0] for other in asked):
        raise UsageError(f"{what} must be the same in all processes of a group, and they differ.")
    size = group.world_size
    sections = [asked[0][i::size] for i in range(size)]
    budget = budget_of(backbone, batch_size, cached=asked[0][0].is_cached)
    with (
        known_in(journal, backbone, group) as known,
        recorder_in(record_steps, backbone, group, sections) as recorder,
    ):
        own = run(
            backbone,
            sections,
            group=group,
            budget=budget,
            progress=progress and group.rank == 0,
            known=known,
            recorder=recorder,
        )
    parts = group.everyones(lambda: own.records)
    return [parts[i % size][i // size] for i in range(len(asked[0]))]

"""Records of earlier runs, by everything that determines them."""

import abc
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..backbones.backbone import Backbone
from .ending import ends_on_signals, last_act
from .journal import Journal
from .planning import RULES_VERSION
from .processes import ProcessGroup
from .question import Question, Record


DECISIVE, WHERE_PRESENT = ("family", "fingerprint", "tokenizer", "dtype"), ("adapter", "grid_block", "quantisation")
"""Entries of a backbone's description that decide results; where the checkpoint lies, say, does not."""


class Known(abc.ABC):
    """Where finished requests are looked up and kept."""

    @abc.abstractmethod
    def find(self, question: Question) -> Record | None:
        """The record of such a request; None if there is none."""

    @abc.abstractmethod
    def add(self, question: Question, record: Record) -> None:
        """Keep a new record."""


class NothingKnown(Known):
    """Finds and keeps nothing."""

    def find(self, question: Question) -> Record | None:
        return None

    def add(self, question: Question, record: Record) -> None:
        pass


NOTHING_KNOWN = NothingKnown()


class InJournal(Known):
    """Finds and keeps records in a journal.

    Args:
        journal: Open.
        identity: Of the network, from `identity_of`.
    """

    def __init__(self, journal: Journal, identity: Mapping[str, Any]) -> None:
        self._journal, self._identity = journal, identity

    def find(self, question: Question) -> Record | None:
        plain = self._journal.find(key_of(self._identity, question))
        return None if plain is None else question.restored(plain)

    def add(self, question: Question, record: Record) -> None:
        key = key_of(self._identity, question)
        # Of two equal requests that were under way together the first stands, as it does for later runs.
        if self._journal.find(key) is None:
            self._journal.add(key, record.to_plain())


def key_of(identity: Mapping[str, Any], question: Question) -> str:
    """Names a request by all that determines its result.

    Args:
        identity: Of the network, from `identity_of`.
        question: The request.
    """
    content = json.dumps([identity, type(question).__name__, question.content()], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def identity_of(backbone: Backbone) -> dict[str, Any]:
    """Everything that a result depends on beside the request, as plain values."""
    return {
        **{name: backbone.description.get(name) for name in DECISIVE},
        **{name: backbone.description[name] for name in WHERE_PRESENT if name in backbone.description},
        **({} if backbone.grid_block is None else {"grid_block": backbone.grid_block}),
        "device": backbone.device.type,
        "mask_token_id": backbone.mask_token_id,
        "end_token_ids": list(backbone.end_token_ids),
        "vocab_size": backbone.vocab_size,
        "max_length": backbone.max_length,
        "rules_version": RULES_VERSION,
    }


@contextmanager
def known_in(folder: str | None, backbone: Backbone, group: ProcessGroup) -> Iterator[Known]:
    """What a journal holds, open for new records; nothing where there is no folder. Collective.

    A signal that ends the run brings the journal to the disk first, and a line tells how to go on.
    """
    if folder is None:
        yield NOTHING_KNOWN
        return
    opened: list[Journal] = []
    group.everyones(lambda: opened.append(Journal.open(folder, rank=group.rank)))
    resume = f"the same command goes on from journal={folder}." if group.rank == 0 else None
    with opened[0] as journal, last_act(journal.flush), ends_on_signals(resume):
        yield InJournal(journal, identity_of(backbone))

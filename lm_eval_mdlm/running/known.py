"""Records of earlier runs, by everything that determines them."""

import abc
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .question import Question, Record


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


def key_of(identity: Mapping[str, Any], question: Question) -> str:
    """A digest, 32 hexadecimal digits, of the network's and the request's plain values."""
    content = json.dumps([identity, type(question).__name__, question.content()], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

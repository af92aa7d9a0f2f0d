"""Stored weights that a network has no use for: named in one line, in place of transformers' tables."""

import contextlib
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..showing.visible import visible
from .families.family import Architecture


logger = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.Lock()


def without_use(folder: Path, architecture: Architecture, names: Iterable[str]) -> list[str]:
    """Of stored weights that the network does not have, those that should not be there; the others are named."""
    names = sorted(names)
    known = [] if architecture.beside is None else [name for name in names if re.search(architecture.beside, name)]
    if known:
        logger.warning(
            "%s: %d stored weights beside the masked-LM head are not used (%s).",
            *(folder, len(known), visible(", ".join(sorted({name.rsplit(".", 1)[0] for name in known})))),
        )
    return [name for name in names if name not in known]


@contextlib.contextmanager
def without_report() -> Iterator[None]:
    """Inside, transformers writes no tables of weights; safe in several threads."""
    of_transformers = logging.getLogger("transformers")
    with _ONE_AT_A_TIME:
        before = of_transformers.level
        of_transformers.setLevel(logging.ERROR)
        try:
            yield
        finally:
            of_transformers.setLevel(before)

"""The families that can be loaded, and the choice among them."""

from ...errors import UsageError
from ..raw_config import RawConfig
from .dream import Dream
from .family import Family
from .llada import LLaDA
from .masked_lm import MaskedLM


FAMILIES: tuple[Family, ...] = (LLaDA(), Dream(), MaskedLM())
"""Tried in this order."""


def family_of(raw: RawConfig) -> Family:
    """The family of a config.json; UsageError, with the supported ones, for any other."""
    for family in FAMILIES:
        if family.matches(raw):
            return family
    supported = "; ".join(family.members for family in FAMILIES)
    raise UsageError(
        f"{raw.path}: no supported family has model_type {raw.values.get('model_type')!r} with architectures "
        f"{raw.values.get('architectures')!r}; supported are {supported}."
    )

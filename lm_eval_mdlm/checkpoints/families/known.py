"""The families that can be loaded, and the choice among them."""

from ...errors import UsageError
from ..raw_config import RawConfig
from .dream import Dream
from .family import Family
from .llada import LLaDA
from .llada2 import LLaDA2
from .llada_moe import LLaDAMoE
from .masked_lm import MaskedLM
from .refused import REFUSED
from .sdar import SDAR
from .stable_diffcoder import StableDiffCoder


FAMILIES: tuple[Family, ...] = (LLaDA(), LLaDAMoE(), LLaDA2(), SDAR(), Dream(), StableDiffCoder(), MaskedLM())
"""Tried in this order; `docs/families.md` has the table."""


def family_of(raw: RawConfig, given: str | None = None) -> Family:
    """The family of a config.json.

    Args:
        raw: The config.json.
        given: The key of a family, which overrides what the config looks like.

    Raises:
        UsageError: For an unknown key, a family that is refused by name, and with the supported ones for any other.
    """
    if given is not None:
        return _named(given)
    for family in FAMILIES:
        if family.matches(raw):
            return family
    for known in REFUSED:
        if known.matches(raw):
            raise UsageError(
                f"{raw.path}: {known.name} is not supported: {known.reason}; to load it as another family all the "
                f"same, give family=NAME."
            )
    code = " (it brings code of its own, auto_map, which is never run)" if raw.values.get("auto_map") else ""
    supported = "; ".join(family.members for family in FAMILIES)
    raise UsageError(
        f"{raw.path}: no supported family has model_type {raw.values.get('model_type')!r} with architectures "
        f"{raw.values.get('architectures')!r}{code}; supported are {supported}."
    )


def _named(key: str) -> Family:
    for family in FAMILIES:
        if family.key == key:
            return family
    raise UsageError(f"family must be one of {', '.join(family.key for family in FAMILIES)}, got {key!r}.")

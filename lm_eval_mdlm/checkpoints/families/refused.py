"""Checkpoints that are known and must not be loaded as another family: each with the reason."""

from collections.abc import Callable
from dataclasses import dataclass

from ..raw_config import RawConfig


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A family that is recognised in order to be refused."""

    name: str
    reason: str
    """Why, as the end of a sentence."""
    matches: Callable[[RawConfig], bool]


def _architectures(raw: RawConfig) -> str:
    return str(raw.values.get("architectures")).lower()


REFUSED: tuple[Refused, ...] = (
    Refused(
        name="iLLaDA",
        reason="the names of its stored weights are not known to be those of Llama",
        matches=lambda raw: (
            raw.values.get("model_type") in ("llada", "illada")
            and "hidden_size" in raw.values
            and "d_model" not in raw.values
            and "num_experts" not in raw.values
        ),
    ),
    Refused(
        name="DreamReasoner",
        reason="it is said to read tokens without Dream's shift, which no published file confirms",
        matches=lambda raw: raw.values.get("model_type") == "Dream" and "dreamforcausallm" in _architectures(raw),
    ),
    Refused(
        name="Fast-dLLM v2",
        reason="it shifts rows across the bounds of its blocks and decodes in blocks of blocks, which is not built",
        matches=lambda raw: "fast_dllm" in _architectures(raw) or "bd_size" in raw.values,
    ),
    Refused(
        name="DiffusionGemma",
        reason="it starts from random tokens instead of masks",
        matches=lambda raw: (
            "diffusiongemma" in _architectures(raw) or raw.values.get("model_type") == "diffusion_gemma"
        ),
    ),
)

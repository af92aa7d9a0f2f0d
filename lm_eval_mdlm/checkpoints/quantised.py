"""Checkpoints whose linear layers are stored in 8 or 4 bits, as bitsandbytes and torchao write them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.import_utils import is_bitsandbytes_available, is_torchao_available

from ..errors import UsageError
from .families.family import Architecture
from .families.stored_form import Shape
from .raw_config import RawConfig
from .weights import FLOATS, TIED_HEAD, StoredWeight, by_native_name, expected_weights, refuse_differences


LIBRARIES: Mapping[str, Callable[[], bool]] = {
    "bitsandbytes": is_bitsandbytes_available,
    "torchao": is_torchao_available,
}
"""Methods by their names in `quantization_config`, and whether a version that transformers takes is installed."""


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How the weights of a checkpoint are quantised."""

    method: str
    """A key of `LIBRARIES`."""
    options: Mapping[str, Any]
    """`quantization_config` of config.json."""

    @classmethod
    def of(cls, raw: RawConfig) -> "Quantisation | None":
        """What config.json says; None of plain weights.

        Raises:
            UsageError: For another method, and where its library is not installed.
        """
        options = raw.values.get("quantization_config")
        if options is None:
            return None
        method = options.get("quant_method") if isinstance(options, dict) else None
        if not isinstance(method, str) or method not in LIBRARIES:
            raise raw.refusal("quantization_config", f"must have a quant_method of {' or '.join(LIBRARIES)}")
        if not LIBRARIES[method]():
            raise UsageError(
                f"{raw.path}: the weights are quantised by {method}, which is not installed here or too old; pip "
                f"install --upgrade {method}, or use the checkpoint that is not quantised."
            )
        return cls(method=method, options=options)

    def refuse_for(self, raw: RawConfig, architecture: Architecture, *, peft: str | None) -> None:
        """UsageError for networks with experts, whose merged weights have no quantised form, and for an adapter."""
        if architecture.stored_forms:
            raise UsageError(
                f"{raw.path}: quantised weights are not supported in this family, whose experts are merged at load; "
                f"use the checkpoint that is not quantised."
            )
        if peft is not None:
            raise UsageError(
                f"peft={peft} cannot be added to weights that are quantised by {self.method}; give the checkpoint that "
                f"is not quantised, or merge before quantising."
            )


def check_quantised(folder: Path, architecture: Architecture) -> dict[str, StoredWeight]:
    """Every stored tensor by its native name, packed ones and their scales among them.

    UsageError unless there is something of every expected weight and nothing of any other, and plain numbers have
    their weight's shape. The library says what packed numbers look like, and transformers whether it could read them.
    """
    stored = by_native_name(folder, architecture.key_mapping)
    expected = expected_weights(architecture)
    if architecture.config.tie_word_embeddings:
        stored.pop(TIED_HEAD, None)
    owners = {name: _owner(name, expected) for name in stored}
    refuse_differences(
        folder,
        missing=[name for name in expected if name not in owners.values()],
        unexpected=[stored[name].name for name, owner in owners.items() if owner is None],
        mismatched=[
            f"{weight.name} {list(weight.shape)} instead of {list(expected[name])}"
            for name, weight in stored.items()
            if name in expected and weight.dtype in FLOATS and weight.shape != expected[name]
        ],
    )
    return stored


def _owner(name: str, expected: Mapping[str, Shape]) -> str | None:
    """The weight that a stored tensor is part of: itself, or `layer.weight` of `layer.SCB`, `layer._weight_scale`."""
    if name in expected:
        return name
    parts = name.split(".")
    candidates: Sequence[str] = [".".join((*parts[:i], "weight")) for i in range(len(parts) - 1, 0, -1)]
    return next((candidate for candidate in candidates if candidate in expected), None)

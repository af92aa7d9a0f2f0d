"""Whether the stored weights are those of the network, found out from the files' headers before anything is loaded."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UsageError
from .families.family import Architecture
from .families.stored_form import stored_shapes
from .inside import read_object, refuse_what_leads_outside, shard_in


FLOATS = ("F64", "F32", "F16", "BF16")
NUM_SHOWN = 3
EMBEDDING, TIED_HEAD = "model.embed_tokens.weight", "lm_head.weight"
"""Native names of two weights that are one where a config ties them."""
ROWS_AT_ONCE = 4096
"""Rows of a vocabulary that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class StoredWeight:
    """One tensor of a safetensors file."""

    name: str
    """As in the file."""
    shape: tuple[int, ...]
    dtype: str
    """In safetensors' spelling."""
    file: Path


def expected_weights(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's weights by their native names; a tied head is the embedding and not listed."""
    with torch.device("meta"):
        network = architecture.network(architecture.config)
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    if architecture.config.tie_word_embeddings:
        shapes.pop(TIED_HEAD)
    return shapes


def check_weights(folder: Path, architecture: Architecture) -> dict[str, StoredWeight]:
    """Every stored weight by its native name; experts and the like in the pieces that the files hold.

    UsageError unless `folder` holds each expected one, in its shape, and no other, each of them once. A head that is
    tied to the embedding may be stored too, if it is the embedding again.
    """
    stored = by_native_name(folder, architecture.key_mapping)
    expected = stored_shapes(architecture.stored_forms, expected_weights(architecture), stored)
    known = dict(expected)
    if architecture.config.tie_word_embeddings:
        known[TIED_HEAD] = expected[EMBEDDING]
    refuse_differences(
        folder,
        missing=[name for name in expected if name not in stored],
        unexpected=[weight.name for name, weight in stored.items() if name not in known],
        mismatched=[
            f"{weight.name} {list(weight.shape)} instead of {list(known[name])}"
            for name, weight in stored.items()
            if name in known and weight.shape != known[name]
        ],
    )
    _refuse_quantised(stored.values())
    if TIED_HEAD in known and TIED_HEAD in stored and TIED_HEAD not in expected:
        _refuse_another_head(stored[EMBEDDING], stored[TIED_HEAD])
    return stored


def by_native_name(folder: Path, key_mapping: Mapping[str, str]) -> dict[str, StoredWeight]:
    """UsageError for a weight that is stored twice: in two files, or under both of its names. One would be ignored."""
    found: dict[str, StoredWeight] = {}
    for weight in stored_weights(folder):
        first = found.setdefault(native_name(weight.name, key_mapping), weight)
        if first is not weight:
            raise UsageError(
                f"{folder}: every weight must be stored once, got {first.name} in {first.file.name} and {weight.name} "
                f"in {weight.file.name}, which are the same weight; fetch the checkpoint again, or remove one of them."
            )
    return found


def _refuse_quantised(stored: Iterable[StoredWeight]) -> None:
    for weight in stored:
        if weight.dtype not in FLOATS:
            raise UsageError(
                f"{weight.file}: weights must be one of {', '.join(FLOATS)}, got {weight.dtype} for {weight.name}; "
                f"quantised weights need a quantization_config in config.json that says how."
            )


def _refuse_another_head(embedding: StoredWeight, head: StoredWeight) -> None:
    """The only look at numbers before loading: a head that differs from the embedding would be dropped in silence."""
    with safe_open(embedding.file, framework="pt") as one, safe_open(head.file, framework="pt") as other:
        first, second = one.get_slice(embedding.name), other.get_slice(head.name)
        starts = range(0, embedding.shape[0], ROWS_AT_ONCE)
        same = all(_same(first[start : start + ROWS_AT_ONCE], second[start : start + ROWS_AT_ONCE]) for start in starts)
    if not same:
        raise UsageError(
            f"{head.file}: {head.name} must equal {embedding.name}, to which config.json ties it, and it differs; "
            f"correct the tying in config.json, or fetch the checkpoint again."
        )


def _same(a: Tensor, b: Tensor) -> bool:
    wide = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(wide), b.to(wide)
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def refuse_differences(folder: Path, **differences: Iterable[Any]) -> None:
    """UsageError that counts the differences of each kind and names the first; nothing if there are none."""
    parts = []
    for kind, names in differences.items():
        listed = [str(name) for name in names]
        if listed:
            more = ", ..." if len(listed) > NUM_SHOWN else ""
            parts.append(f"{len(listed)} {kind} ({', '.join(listed[:NUM_SHOWN])}{more})")
    if parts:
        raise UsageError(
            f"{folder}: the weights must be those of its config.json, got {'; '.join(parts)}; fetch the checkpoint "
            f"again, or correct its config.json."
        )


def stored_weights(folder: Path) -> list[StoredWeight]:
    """Names and shapes of all tensors of a single or sharded checkpoint, from the headers alone.

    Raises:
        UsageError: For no weights, a broken index, a missing shard, or a file that is cut short or damaged.
    """
    refuse_what_leads_outside(folder)  # again: weights of a hub repository come later than its small files
    files = weight_files(folder)
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise UsageError(
            f"{folder}: every shard of the index must be there, got {len(absent)} missing ({absent[0]} first); fetch "
            f"the checkpoint again."
        )
    return [weight for file in files for weight in read_headers(file)]


def has_weights(folder: Path) -> bool:
    """Whether all weight files are there, whole or not."""
    try:
        return all(file.is_file() for file in weight_files(folder))
    except UsageError:
        return False


def weight_files(folder: Path) -> Sequence[Path]:
    """The single file or all shards; UsageError without weights or with a broken index."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if not index.exists():
        raise UsageError(
            f"{folder} must hold model.safetensors or model.safetensors.index.json, got neither; only safetensors "
            f"weights are read, so convert others first."
        )
    try:
        shards = read_object(index)["weight_map"]
        return sorted({shard_in(folder, name) for name in shards.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{index} must be a JSON object with a weight_map, got {type(error).__name__}: {error}; fetch it again."
        ) from None


def read_headers(file: Path) -> list[StoredWeight]:
    """Names and shapes of the tensors of one file; UsageError if it is cut short or damaged."""
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 not a mapping
            return [
                StoredWeight(name=name, shape=tuple(part.get_shape()), dtype=part.get_dtype(), file=file)
                for name, part in slices.items()
            ]
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{file} must be a whole safetensors file, got {file.stat().st_size} bytes that are not: {error}; fetch "
            f"it again."
        ) from None


def native_name(name: str, key_mapping: Mapping[str, str]) -> str:
    """What the network calls a stored weight."""
    for pattern, replacement in key_mapping.items():
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name

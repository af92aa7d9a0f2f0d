"""Low-rank adapters added to the weights that they belong to. Source: Hu et al. 2021 (LoRA), arXiv:2106.09685."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import UsageError
from .adapter import MERGE, Adapter
from .families.family import Architecture
from .families.stored_form import groups_of
from .weights import EMBEDDING, NUM_SHOWN, TIED_HEAD, StoredWeight, expected_weights, native_name, read_headers


PREFIX = "base_model.model."
FACTORS = ("lora_A", "lora_B")
MOST_LETTERS, MOST_REPEATS = 1000, 4
"""Of a pattern of layers' names."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The two matrices of one weight, as they are stored: (r, in) and (out, r)."""

    a: StoredWeight
    b: StoredWeight


class LowRankUpdate:
    """What an adapter adds to a network, checked against it by the headers alone.

    Names in the adapter are those of the native network, or the family's own as on the hub.

    Args:
        adapter: Opened.
        stored: Every stored weight of the base by its native name.
        architecture: Of the base.

    Raises:
        UsageError: If the adapter is not one of such a network, or not whole.
    """

    def __init__(self, adapter: Adapter, stored: Mapping[str, StoredWeight], architecture: Architecture) -> None:
        self._adapter, self._stored = adapter, stored
        self._native = expected_weights(architecture)
        self._groups = groups_of(architecture.stored_forms, self._native)
        self._shapes = {**{name: weight.shape for name, weight in stored.items()}, **self._native}
        found = read_headers(adapter.file)
        self._pairs = {name: _pair(adapter, name, own) for name, own in self._by_weight(found, architecture).items()}
        if architecture.config.tie_word_embeddings and TIED_HEAD in self._pairs:
            raise self._refusal(f"{TIED_HEAD} is tied to {EMBEDDING}, and the adapter is of the head alone")
        for name, pair in self._pairs.items():
            (rank, inner), (outer, other) = pair.a.shape, pair.b.shape
            if rank != other or self._shapes[name] != (outer, inner):
                shapes = f"{list(pair.b.shape)} x {list(pair.a.shape)} for {name} of {list(self._shapes[name])}"
                raise self._refusal(f"it has {shapes}")
        self._refuse_gaps()

    def _by_weight(
        self, found: Iterable[StoredWeight], architecture: Architecture
    ) -> dict[str, dict[str, StoredWeight]]:
        """The matrices of each weight of the network."""
        weights: dict[str, dict[str, StoredWeight]] = {}
        for matrix in found:
            match = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.(lora_A|lora_B)\.weight", matrix.name)
            if match is None:
                raise UsageError(
                    f"peft={self._adapter.name}: {matrix.name} is no low-rank matrix beside a linear layer's weight, "
                    f"and is not merged while loading; {MERGE}."
                )
            name = native_name(f"{match[1]}.weight", architecture.key_mapping)
            if len(self._shapes.get(name, ())) != 2 or name == EMBEDDING:
                raise self._refusal(f"the network has no linear layer {match[1]}")
            if weights.setdefault(name, {}).setdefault(match[2], matrix) is not matrix:
                raise self._refusal(f"it has {match[2]} of {name} twice")
        return weights

    def _refuse_gaps(self) -> None:
        """UsageError if the configuration names layers that the file has no matrices for, or the other way round."""
        config = self._adapter.config
        wanted = config.get("target_modules")
        if isinstance(wanted, str) and not _is_simple(wanted):
            raise UsageError(
                f"peft={self._adapter.name}: target_modules={wanted!r:.80} is no pattern that is tried here: at most "
                f"{MOST_REPEATS} repeats, none of a group; {MERGE}."
            )
        if config.get("layers_to_transform") is not None or config.get("exclude_modules") is not None:
            return
        # An adapter names the layers of the native network, or those of the code that is published with the weights.
        layers = self._native if self._pairs.keys() <= self._native.keys() else self._stored.keys()
        named = {
            name
            for name in layers
            if len(self._shapes[name]) == 2 and name != EMBEDDING and _targets(wanted, name, *self._stored_name(name))
        }
        for what, names in (
            ("no matrices for", named - self._pairs.keys()),
            ("matrices for", self._pairs.keys() - named),
        ):
            if names:
                raise self._refusal(
                    f"its target_modules are {config.get('target_modules')!r:.80} and it has {what} {_some(names)}"
                )

    @torch.inference_mode()
    def merge_into(self, network: Any) -> None:
        """Add the update to the network's weights: summed in float32 on the host and rounded once, one at a time.

        Args:
            network: Loaded, in the dtype that it is going to run in.

        Raises:
            UsageError: If a weight lies where it cannot be written, or is no finite number any more.
        """
        weights = dict(network.named_parameters())
        places = {name: self._places(name, weights) for name in self._pairs}
        for name, parts in places.items():
            if any(part.device.type == "meta" for part in parts):
                raise UsageError(
                    f"peft={self._adapter.name} needs its layers on a device, and device_map leaves {name} in the "
                    f"host's memory or on the disk; {MERGE}."
                )
        for name, merged in self._merged():
            rounded = merged.to(places[name][0].dtype)
            if not bool(rounded.isfinite().all()):
                raise self._refusal(f"{name} is not finite with it, as {str(rounded.dtype).removeprefix('torch.')}")
            lengths = [len(part) for part in places[name]]
            for part, rows in zip(places[name], torch.split(rounded, lengths), strict=True):
                part.copy_(rows)

    def _places(self, name: str, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """The parts of the network's weights that hold a layer's, below one another."""
        if name in weights:
            return [weights[name]]
        group = next(group for group in self._groups if name in group.stored)
        views = group.views([weights[native] for native in group.native])
        return dict(zip(group.stored, views, strict=True))[name]

    def _stored_name(self, name: str) -> tuple[str, ...]:
        return (self._stored[name].name,) if name in self._stored else ()

    def _merged(self) -> Iterator[tuple[str, Tensor]]:
        with safe_open(self._adapter.file, framework="pt") as matrices:
            for name, pair in self._pairs.items():
                a, b = (matrices.get_tensor(matrix.name).float() for matrix in (pair.a, pair.b))
                yield name, self._base(name) + (b @ a) * self._adapter.scaling(len(a))

    def _base(self, name: str) -> Tensor:
        """The weight of a layer as it is stored, in float32."""
        stored, rows = self._stored.get(name), slice(None)
        if stored is None:
            group = next(group for group in self._groups if name in group.native)
            stored, rows = self._stored[next(iter(group.stored))], group.rows(name, self._native)
        with safe_open(stored.file, framework="pt") as weights:
            whole: Tensor = weights.get_tensor(stored.name).float()
        return whole[rows]

    def _refusal(self, reason: str) -> UsageError:
        return UsageError(
            f"peft={self._adapter.name} does not fit the network: {reason}; give the pretrained that it was trained on."
        )


def _pair(adapter: Adapter, name: str, own: Mapping[str, StoredWeight]) -> _Pair:
    if set(own) != set(FACTORS) or any(len(matrix.shape) != 2 for matrix in own.values()):
        raise UsageError(f"{adapter.file}: {name} must have lora_A and lora_B, got {', '.join(own)}; copy it again.")
    return _Pair(a=own["lora_A"], b=own["lora_B"])


def _is_simple(pattern: str) -> bool:
    """Whether a regular expression of others is sound, and cannot take for ever on any name."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return (
        len(pattern) <= MOST_LETTERS
        and len(re.findall(r"[*+{]", pattern)) <= MOST_REPEATS
        and ")*" not in (re.sub(r"\)\s*[+{]", ")*", pattern))
    )


def _targets(wanted: Any, *names: str) -> bool:
    """Whether peft would adapt a layer that has one of these weights' names."""
    modules = [name.removesuffix(".weight") for name in names]
    if isinstance(wanted, str):
        return any(re.fullmatch(wanted, module) for module in modules)
    ends = tuple(wanted) if isinstance(wanted, list) else ()
    return any(module == end or module.endswith(f".{end}") for module in modules for end in ends)


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - NUM_SHOWN} others" if len(names) > NUM_SHOWN else ""
    return ", ".join(sorted(names)[:NUM_SHOWN]) + more

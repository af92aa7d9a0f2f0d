"""Weights that are stored in other pieces than the native network holds them in.

A network of transformers holds all experts of a layer as one tensor, and queries, keys and values as three; files hold
experts one by one, and some hold one tensor for queries, keys and values. Everything that looks into files before or
without loading them (checks of names and shapes, adapters, saving) asks here.
"""

import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Group(abc.ABC):
    """Native weights and the pieces that hold the same numbers in a file."""

    native: tuple[str, ...]
    """Names in the network."""
    stored: Mapping[str, Shape]
    """Names of the pieces, in the network's spelling of everything else, and their shapes."""

    @abc.abstractmethod
    def views(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        """For every piece, as in `stored`, the parts of the weights `native` that lie below one another in it."""

    def rows(self, name: str, shapes: Mapping[str, Shape]) -> slice:
        """Where the native weight `name` lies in the group's one piece; `shapes` of native weights."""
        assert len(self.stored) == 1, f"{name} is stored in several pieces"
        before = self.native[: self.native.index(name)]
        start = sum(shapes[other][0] for other in before)
        return slice(start, start + shapes[name][0])


class StoredForm(abc.ABC):
    """One way in which native weights are stored in other pieces; stateless."""

    @abc.abstractmethod
    def groups(self, shapes: Mapping[str, Shape]) -> Iterator[Group]:
        """The groups among a network's weights, given their native names and shapes."""


class ExpertsOneByOne(StoredForm):
    """`experts.gate_up_proj` (E, 2 I, H) and `down_proj` (E, H, I) as `experts.0.gate_proj.weight` and so on."""

    def groups(self, shapes: Mapping[str, Shape]) -> Iterator[Group]:
        for name, shape in shapes.items():
            prefix, _, part = name.rpartition(".")
            if prefix.endswith(".experts") and part in ("gate_up_proj", "down_proj"):
                num_experts, rows, columns = shape
                halves = ("gate_proj", "up_proj") if part == "gate_up_proj" else ("down_proj",)
                piece = (rows // len(halves), columns)
                stored = {f"{prefix}.{i}.{half}.weight": piece for i in range(num_experts) for half in halves}
                yield _Experts(native=(name,), stored=stored)


class _Experts(Group):
    def views(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        (merged,) = weights
        halves = len(self.stored) // len(merged)
        return [[piece] for expert in merged for piece in expert.chunk(halves)]


class FusedQueryKeyValue(StoredForm):
    """`q_proj`, `k_proj` and `v_proj` below one another as `query_key_value`."""

    FIRST, ALL = "self_attn.q_proj.weight", ("q_proj", "k_proj", "v_proj")

    def groups(self, shapes: Mapping[str, Shape]) -> Iterator[Group]:
        for name in shapes:
            if name.endswith(self.FIRST):
                native = tuple(name.replace("q_proj", part) for part in self.ALL)
                rows = sum(shapes[part][0] for part in native)
                stored = {name.replace("q_proj", "query_key_value"): (rows, shapes[name][1])}
                yield _QueryKeyValue(native=native, stored=stored)


class _QueryKeyValue(Group):
    def views(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        return [list(weights)]


def groups_of(forms: Sequence[StoredForm], shapes: Mapping[str, Shape]) -> list[Group]:
    """All groups among a network's weights."""
    return [group for form in forms for group in form.groups(shapes)]


def stored_shapes(
    forms: Sequence[StoredForm], shapes: Mapping[str, Shape], found: Collection[str] = ()
) -> dict[str, Shape]:
    """Names and shapes of the weights as a file holds them.

    Args:
        forms: Of the family.
        shapes: Of the network's weights, by their native names.
        found: Names in the file; a group of which it has a native one is expected in the network's own form.
    """
    expected = dict(shapes)
    for group in groups_of(forms, shapes):
        if not any(name in found for name in group.native):
            for name in group.native:
                expected.pop(name)
            expected |= group.stored
    return expected


def origins(forms: Sequence[StoredForm], shapes: Mapping[str, Shape], found: Collection[str]) -> dict[str, list[str]]:
    """For every native weight, the stored ones among `found` that its numbers come from."""
    sources = {name: [name] for name in shapes}
    for group in groups_of(forms, shapes):
        for name in group.native:
            if name not in found:
                sources[name] = [piece for piece in group.stored if piece in found]
    return sources


def to_stored(forms: Sequence[StoredForm], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights in the pieces of a file."""
    pieces = dict(weights)
    for group in groups_of(forms, {name: tuple(weight.shape) for name, weight in weights.items()}):
        views = group.views([pieces.pop(name) for name in group.native])
        pieces |= {name: torch.cat(parts) for name, parts in zip(group.stored, views, strict=True)}
    return pieces

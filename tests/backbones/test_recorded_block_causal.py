"""Recorded block-causal passes replay what the layers do; see test_recorded_passes.py for how recording is played."""

import random

import pytest
import torch

from lm_eval_mdlm.backbones import attention, graphs
from lm_eval_mdlm.backbones.layout import Layout
from tests.backbones.test_recorded_passes import Played, layers, memory_of  # noqa: F401


def limited(query, key, value, starts, key_starts, longest, *, scale, visible):
    """What the own kernel computes, one query after the other."""
    mixed = torch.full_like(query, torch.nan)
    for start, end, first in zip(starts[:-1].tolist(), starts[1:].tolist(), key_starts[:-1].tolist(), strict=True):
        assert end - start <= longest
        for row in range(start, end):
            keys = slice(first, first + int(visible[row]))
            own = [part.transpose(0, 1)[None] for part in (query[row : row + 1], key[keys], value[keys])]
            seen = torch.nn.functional.scaled_dot_product_attention(*own, scale=scale, enable_gqa=True)
            mixed[row] = seen[0, :, 0]
    return mixed


@pytest.fixture
def recorded(layers, monkeypatch):  # noqa: F811
    """Plain and recorded layers, of which the recorded ones know the stretches that see alike by `visible` alone."""
    plain, replayed, graphed = layers
    monkeypatch.setattr(attention, "own_attention", lambda *_: limited)
    run = Played._run

    def without_sights(self, token_ids, layout):
        layout.__dict__["sights"] = None
        return run(self, token_ids, layout)

    monkeypatch.setattr(Played, "_run", without_sights)
    return plain, replayed, graphed


@torch.inference_mode()
@pytest.mark.parametrize("size", [4, 32])
def test_whole_canvases(recorded, size):
    plain, replayed, graphed = recorded
    rng = random.Random(size)
    for round_trip in range(3):
        lengths = [rng.randint(1, 40) for _ in range(3)]
        num_tokens = graphed.padded(max(64, sum(lengths)))
        token_ids, layout = torch.randint(0, 300, (num_tokens,)), Layout.of(lengths, num_tokens, size)
        expected = plain(token_ids, layout, torch.arange(num_tokens))
        for _ in range(2):  # recorded, and then surely replayed
            got = replayed(token_ids, layout, torch.arange(num_tokens))
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
        # The same shape without a grid is another recording.
        blind = Layout.of(lengths, num_tokens)
        shape = graphs._shape_of(layout, graphs.WantedRows.of(torch.arange(64), layout, 64))
        assert shape != graphs._shape_of(blind, graphs.WantedRows.of(torch.arange(64), blind, 64)), round_trip


@torch.inference_mode()
def test_parts_of_canvases(recorded, backbones, family):
    plain, replayed, graphed = recorded
    memories = [memory_of(backbones[family]._body._body, family) for _ in range(2)]
    lengths, size = (20, 70), 8
    slots = [[memory.reserve(n) for n in lengths] for memory in memories]
    for first in range(0, 72, size):
        positions = [torch.arange(min(first, n), min(first + size, n)) for n in lengths]
        num_parts = sum(map(len, positions))
        num_tokens = graphed.padded(max(64, num_parts))
        token_ids, wanted = torch.randint(0, 300, (num_tokens,)), torch.arange(num_parts)
        expected, got = (
            run(token_ids, Layout.of_parts(memory, own, positions, num_tokens, size), wanted)
            for run, memory, own in ((plain, memories[0], slots[0]), (replayed, memories[1], slots[1]))
        )
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)

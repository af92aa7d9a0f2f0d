"""Block-causal passes: a token sees its own grid block and earlier ones, with and without kept keys and values."""

import random

import pytest
import torch

from lm_eval_mdlm.backbones.backbone import CanvasPart
from tests.tiny import random_ids


@pytest.fixture(params=[1, 4, 7, 32])
def grid(backbone, request):
    """The network with a grid of that many positions a block; as it was afterwards."""
    backbone.grid_block = request.param
    yield backbone
    backbone.grid_block = None


def _masked_logits(backbone, ids):
    """By the network's own layers under a mask that lists who sees whom."""
    block = torch.arange(len(ids)) // backbone.grid_block
    sees = block[:, None] >= block[None, :]
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
    network = backbone._body._body
    hidden = network.embed_tokens(ids[None])
    rotary = network.rotary_emb(hidden, position_ids=torch.arange(len(ids))[None])
    implementation, network.config._attn_implementation = network.config._attn_implementation, "eager"
    for layer in network.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    network.config._attn_implementation = implementation
    logits = backbone._lm_head(network.norm(hidden))[0]
    return torch.cat([logits[:1], logits[:-1]]) if backbone.lookback else logits


@pytest.mark.parametrize("length", [1, 5, 32, 61])
def test_logits_are_those_under_a_block_causal_mask(grid, length):
    ids = random_ids(length)
    assert torch.allclose(grid.logits([ids])[0], _masked_logits(grid, ids), atol=2e-4)


def test_a_token_changes_its_block_and_later_ones_alone(grid):
    ids, size = random_ids(75), grid.grid_block
    before = grid.logits([ids])[0]
    for place in (0, 33, 74):
        changed = ids.clone()
        changed[place] = (changed[place] + 1) % 300
        differs = (grid.logits([changed])[0] != before).any(dim=1)
        first = place // size * size
        first += grid.lookback if first else 0  # a shifted family reads its first token from the state of that token
        assert not differs[:first].any()
        rest = differs[first:].tolist()
        assert 2 * sum(rest) >= len(rest)  # a head that looks elsewhere may give a token the weight 0


def test_bits_are_the_same_in_any_company_and_whether_the_canvas_goes_on(grid):
    ids, size = random_ids(64), grid.grid_block
    alone = grid.logits([ids])[0]
    assert torch.equal(grid.logits([random_ids(31), ids, random_ids(3)])[1], alone)
    end = 64 // size * size // 2 // size * size or size
    assert torch.equal(grid.logits([ids[:end]])[0], alone[:end])


def test_passes_over_the_blocks_in_turn_equal_one_pass_over_all(grid):
    rng, size = random.Random(5), grid.grid_block
    lengths = [rng.randint(1, 90) for _ in range(4)]
    canvases = [random_ids(length, seed=length) for length in lengths]
    whole = [grid.states(ids, [len(ids)], torch.arange(len(ids))) for ids in canvases]
    slots = [grid.reserve(length) for length in lengths]
    done = [0] * len(canvases)
    while any(start < length for start, length in zip(done, lengths, strict=True)):
        going = [i for i, start in enumerate(done) if start < lengths[i] and rng.random() < 0.7]
        parts, expected = [], []
        for i in going:
            stop = min(lengths[i], (done[i] // size + rng.randint(1, 3)) * size)
            positions = torch.arange(done[i], stop)
            wanted = torch.arange(min(grid.lookback, stop - done[i] - 1) if done[i] else 0, stop - done[i])
            parts.append(
                CanvasPart(token_ids=canvases[i][positions], positions=positions, wanted=wanted, slot=slots[i])
            )
            expected.append(whole[i][positions[wanted]])
            done[i] = stop
        if parts and not (grid.lookback and any(len(part.positions) == 1 for part in parts)):
            assert torch.equal(grid.partial_states(parts), torch.cat(expected))
        elif parts:
            grid.partial_states(parts)  # a shifted family reads nothing from a single token

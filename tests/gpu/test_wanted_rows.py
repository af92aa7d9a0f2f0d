"""The last layer at wanted positions only: the very bits that all positions give; in the interpreter, close ones.

All positions come from the same layers with one more behind them, whose outputs are zero and change nothing: so the
true last layer has neighbours on both sides, and runs as they do, for every token. In Triton's interpreter (see
test_kernels.py) the attention kernel has a stand-in.
"""

import copy
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones.body import memory_shape
from lm_eval_mdlm.backbones.graphs import MOST_TOKENS, GraphedLayers
from lm_eval_mdlm.backbones.layout import Layout
from lm_eval_mdlm.backbones.memory import KeyValueMemory
from tests.gpu.test_kernels import DEVICE, INTERPRETED, pytestmark  # noqa: F401
from tests.tiny import FAMILIES, make_checkpoint


SIZES = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 128}
CANVASES = [[40, 1, 13]]  # the interpreter takes seconds for each pass
if not INTERPRETED:
    SIZES = {"hidden": 1024, "layers": 3, "heads": 8, "kv_heads": 2, "ffn": 3072, "vocab": 4096, "max_length": 4096}
    CANVASES += [[70, 1, 33, 129], [7], [387, 64, 500], [300] * 5, [406] * 15, [4000]]


@pytest.fixture(params=FAMILIES)
def trio(request, tmp_path, monkeypatch):
    """A backbone with recorded passes, the layers under them, and the same layers with one behind them."""
    backbone = load_backbone(str(make_checkpoint(tmp_path, request.param, **SIZES)), device=DEVICE)
    if INTERPRETED:
        interpret(backbone, monkeypatch)
    fused = backbone._body._layers
    longer = copy.copy(fused)
    silent = {"attention_out": torch.zeros_like(fused.layers[-1].attention_out), "mlp": torch.zeros_like}
    longer.layers = [*fused.layers, replace(fused.layers[-1], **silent)]
    return backbone, fused, longer


def interpret(backbone, monkeypatch) -> None:
    from lm_eval_mdlm.backbones import fused as module
    from tests.backbones.test_recorded_passes import play, varlen

    def attend(query, key, value, starts, key_starts, longest, *, scale, visible):
        assert visible is None
        return varlen(query, key, value, starts, key_starts, longest, len(key), scale=scale)

    monkeypatch.setattr(module, "attend", attend)
    plain = backbone._body
    network = SimpleNamespace(model=plain._body, config=plain._body.config, dtype=backbone.dtype)
    fused = module.FusedLayers(network, plain._table, backbone._products)
    backbone._body = GraphedLayers(fused, backbone.device, lambda: play)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    if INTERPRETED:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(ours, theirs)


def some_of(num_tokens: int, rng: random.Random) -> list[torch.Tensor]:
    """Wanted tokens: all, none, the ends, and drawn ones in any order, of which some repeat."""
    drawn = [rng.choices(range(num_tokens), k=k) for k in (1, 5, num_tokens // 3, num_tokens + 3)]
    ends = [0, num_tokens - 1]
    all_of_these = [range(num_tokens), [], ends, *drawn]
    return [torch.tensor(own, dtype=torch.long) for own in (all_of_these[-1:] if INTERPRETED else all_of_these)]


@torch.inference_mode()
@pytest.mark.parametrize("lengths", CANVASES, ids=sum)
def test_wanted_states_of_whole_canvases_are_those_of_all_positions(trio, lengths):
    backbone, fused, longer = trio
    rng = random.Random(sum(lengths))
    num_tokens = backbone._body.padded(max(64, sum(lengths)))
    token_ids, layout = torch.randint(0, 380, (num_tokens,)), Layout.of(lengths, num_tokens)
    everywhere = longer(token_ids, layout, torch.arange(num_tokens))
    for wanted in some_of(sum(lengths), rng):
        expected = everywhere[wanted.to(everywhere.device)]
        assert_same(fused(token_ids, layout, wanted), expected)
        recordings = len(backbone._body._recordings)
        assert_same(backbone._body(token_ids, layout, wanted), expected)
        assert_same(backbone._body(token_ids, layout, wanted), expected)  # surely a replay
        assert recordings <= len(backbone._body._recordings) <= recordings + (num_tokens <= MOST_TOKENS)


@torch.inference_mode()
@pytest.mark.parametrize("lengths", CANVASES, ids=sum)
def test_tokens_are_read_from_the_row_that_their_family_predicts_them_from(trio, lengths):
    backbone, _, longer = trio
    num_tokens = backbone._body.padded(max(64, sum(lengths)))
    token_ids, layout = torch.randint(0, 380, (num_tokens,)), Layout.of(lengths, num_tokens)
    layout_of_ids = token_ids.clone()
    layout_of_ids[sum(lengths) :] = backbone.mask_token_id
    everywhere = longer(layout_of_ids, layout, torch.arange(num_tokens))
    starts = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths)
    row = torch.arange(sum(lengths)) - backbone.lookback
    row[starts] = starts
    for wanted in (torch.arange(sum(lengths)), torch.tensor([0, 1, 2, 1]) % sum(lengths), starts.flip(0)):
        ours = backbone.states(token_ids[: sum(lengths)], lengths, wanted)
        assert_same(ours, everywhere[row[wanted].to(everywhere.device)])


@torch.inference_mode()
def test_wanted_states_of_parts_of_canvases_are_those_of_all_positions(trio):
    backbone, fused, longer = trio
    network = SimpleNamespace(
        config=SimpleNamespace(num_key_value_heads=fused._kv_heads, num_hidden_layers=len(fused.layers)),
        dtype=backbone.dtype,
        model=SimpleNamespace(layers=[SimpleNamespace(self_attn=SimpleNamespace(head_dim=fused._head_width))]),
    )
    rng = random.Random(3)
    runs = (longer, fused, backbone._body)
    memories = []
    for run in runs:
        network.config.num_hidden_layers = len(fused.layers) + (run is longer)
        memories.append(KeyValueMemory(**memory_shape(network), device=backbone.device))
    lengths = [30, 9, 20] if INTERPRETED else [60, 25, 333]
    slots = [[memory.reserve(n) for n in lengths] for memory in memories]
    for step in range(2 if INTERPRETED else 8):
        if step == (1 if INTERPRETED else 4):
            del slots[0][1], slots[1][1], slots[2][1]  # a gap between the canvases
            lengths.pop(1)
        positions = [torch.tensor(sorted(rng.sample(range(n), n if step == 0 else 1 + n // 4))) for n in lengths]
        num_parts = sum(map(len, positions))
        num_tokens = backbone._body.padded(max(64, num_parts))
        token_ids = torch.randint(0, 380, (num_tokens,))
        layouts = [
            Layout.of_parts(memory, own, positions, num_tokens) for memory, own in zip(memories, slots, strict=True)
        ]
        everywhere = longer(token_ids, layouts[0], torch.arange(num_tokens))
        for wanted in some_of(num_parts, rng):
            expected = everywhere[wanted.to(everywhere.device)]
            for run, layout in zip(runs[1:], layouts[1:], strict=True):
                assert_same(run(token_ids, layout, wanted), expected)
        for layer in range(len(fused.layers)):
            for kept, mine, recorded in zip(*(memory.of_layer(layer) for memory in memories), strict=True):
                held = torch.cat([torch.arange(own.start, own.start + own.length) for own in slots[0]])
                assert_same(mine[held.to(mine.device)], kept[held.to(mine.device)])
                assert_same(recorded[held.to(mine.device)], kept[held.to(mine.device)])

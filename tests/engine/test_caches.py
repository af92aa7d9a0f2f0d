"""Prefix and dual caches: against a dense reference with stale keys and values, and by what must not change."""

import math

import numpy as np
import pytest
import torch

from lm_eval_mdlm import generate, load_backbone
from lm_eval_mdlm.backbones.backbone import CanvasPart
from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.engine.cache import DualCache, PrefixCache
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.record import Generation
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row
from tests.backbones.test_memory import new_memory
from tests.tiny import FAMILIES, make_checkpoint
from tests.toy import ScriptedBackbone


PROMPTS = [[3 + (7 * i + 11 * j) % 380 for j in range(4 + 9 * i % 40)] for i in range(8)]
OPTIONS = {"gen_length": 26, "block_length": 10}


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request, tmp_path_factory):
    return load_backbone(str(make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)), device="cpu")


def rotated(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class DenseReference:
    """One canvas through a network's modules, with plain matrices and stale keys and values kept in a list."""

    def __init__(self, backbone) -> None:
        self.body = backbone._body._body
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        hidden = self.body.embed_tokens(token_ids)
        cos, sin = (table[0] for table in self.body.rotary_emb(hidden, positions[None]))
        fresh = not self.kept
        for i, layer in enumerate(self.body.layers):
            attention = layer.self_attn
            normed = layer.input_layernorm(hidden)
            q, k, v = (
                project(normed).view(len(positions), -1, attention.head_dim).transpose(0, 1)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
            if fresh:
                self.kept.append((k.clone(), v.clone()))
            keys, values = self.kept[i]
            keys[:, positions], values[:, positions] = k, v
            repeats = len(q) // len(keys)
            scores = q @ keys.repeat_interleave(repeats, 0).transpose(1, 2) / math.sqrt(attention.head_dim)
            mixed = scores.softmax(-1) @ values.repeat_interleave(repeats, 0)
            hidden = hidden + attention.o_proj(mixed.transpose(0, 1).flatten(1))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return self.body.norm(hidden)


@torch.inference_mode()
def test_a_partial_pass_is_dense_attention_over_stale_keys_and_values(backbone):
    generator = torch.Generator().manual_seed(0)
    lengths = (30, 9, 51)
    canvases = [torch.randint(3, 380, (n,), generator=generator) for n in lengths]
    references = [DenseReference(backbone) for _ in lengths]
    gap = backbone.reserve(5)
    slots = [backbone.reserve(n) for n in lengths]
    del gap  # leaves a hole in front
    first = [torch.arange(n) for n in lengths]
    later = [torch.tensor([4, 5, 6, 20]), torch.tensor([0, 1]), torch.arange(30, 51)]
    for order, subsets in (((0, 1, 2), first), ((2, 0, 1), later), ((1, 2, 0), first), ((0, 2, 1), later)):
        for canvas, own in zip(canvases, subsets, strict=True):
            canvas[own[::2]] = torch.randint(3, 380, (len(own[::2]),), generator=generator)
        expected = [ref(canvas[own], own) for ref, canvas, own in zip(references, canvases, subsets, strict=True)]
        parts, rows = [], []
        for i in order:
            # A token read from the state before its own needs that one in the part.
            follows = np.flatnonzero(np.isin(subsets[i] - 1, subsets[i]) | (subsets[i] == 0).numpy())
            wanted = torch.from_numpy(follows) if backbone.lookback else torch.arange(len(subsets[i]))
            shift = backbone.lookback * (subsets[i][wanted] > 0).long()
            rows.append(expected[i][wanted - shift])
            own = {"token_ids": canvases[i][subsets[i]], "positions": subsets[i]}
            parts.append(CanvasPart(**own, wanted=wanted, slot=slots[i]))
        torch.testing.assert_close(backbone.partial_states(parts), torch.cat(rows), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_block_decoded_in_one_pass_is_exact(backbone, cache):
    exact = generate(backbone, PROMPTS, k=16, **OPTIONS)
    cached = generate(backbone, PROMPTS, k=16, cache=cache, **OPTIONS)
    assert cached == exact and {row.nfe_partial for row in cached} == {0}


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("cfg_scale", [0.0, 0.5])
def test_results_and_counts_do_not_depend_on_batch_or_order(backbone, cache, cfg_scale):
    options = {**OPTIONS, "sampler": "med", "entropy_threshold": 0.8, "cache": cache, "cfg_scale": cfg_scale}
    alone = generate(backbone, PROMPTS, batch_size=1, **options)
    assert generate(backbone, PROMPTS, batch_size=5, **options) == alone
    assert generate(backbone, PROMPTS[::-1], batch_size=4, **options)[::-1] == alone
    per_step = 2 if cfg_scale else 1
    assert len({row.nfe for row in alone}) > 1
    assert all(row.nfe - row.nfe_partial == 3 * per_step for row in alone)  # one whole pass for each of 3 blocks


def test_exact_and_cached_rows_share_a_batch_without_changing_each_other(backbone):
    kinds = ("none", "prefix", "dual")
    configs = [DecodingConfig.from_options({**OPTIONS, "k": 2, "cache": kinds[i % 3]}) for i in range(len(PROMPTS))]
    plans = [plan_row(backbone, prompt, config) for prompt, config in zip(PROMPTS, configs, strict=True)]

    def decoded(rows: int) -> list[Generation]:
        finished = dict(decode(Readout(backbone), enumerate(plans), Budget(max_rows=rows)))
        return [finished[i].generation(record_steps=True) for i in range(len(plans))]

    alone = decoded(1)
    assert decoded(7) == alone
    assert [row.nfe_partial > 0 for row in alone] == [i % 3 > 0 for i in range(len(PROMPTS))]


def test_what_each_cache_recomputes():
    template = Template.parse([{"reasoning": 8}, {"text": "ab"}, {"answer": 3}])
    region = template.lay_out(lambda text: [ord(c) for c in text], 0)
    everything = range(13)
    prefix = np.flatnonzero(PrefixCache().recomputed(region, 4, 8)).tolist()
    assert prefix == list(everything)[4:]
    dual = np.flatnonzero(DualCache().recomputed(region, 0, 4)).tolist()
    assert dual == [0, 1, 2, 3, 8, 9, 10, 11, 12]


def test_memory_is_given_back_reused_and_keeps_its_contents_when_it_grows():
    memory = new_memory()
    first, second = memory.reserve(10), memory.reserve(6)
    assert {*range(first.start, first.start + 10)}.isdisjoint(range(second.start, second.start + 6))
    value = torch.randn(6, 1, 4)
    memory.write(1, torch.arange(second.start, second.start + 6), value, -value)
    old_start = first.start
    del first
    assert memory.reserve(10).start == old_start
    large = memory.reserve(1000)
    assert large.start + 1000 < memory.capacity
    keys, values = memory.of_layer(1)
    assert torch.equal(keys[second.start : second.start + 6], value)
    assert torch.equal(values[second.start : second.start + 6], -value)


def test_a_backbone_without_memory_refuses_a_cache_before_the_first_pass():
    toy = ScriptedBackbone(lambda ids: ids, vocab_size=9, mask_token_id=8)
    with pytest.raises(UsageError, match="cache"):
        generate(toy, [[1, 2]], gen_length=4, cache="dual")
    assert toy.passes == []


class Fresh:
    """A backbone's passes over parts, with the tokens of each part noted."""

    def __init__(self, backbone, monkeypatch) -> None:
        self.parts: list[list[int]] = []
        run = backbone.partial_states
        noted = lambda parts: self.parts.extend(part.positions.tolist() for part in parts) or run(parts)  # noqa: E731
        monkeypatch.setattr(backbone, "partial_states", noted)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_every_pass_recomputes_the_block_its_rest_and_what_the_next_tokens_are_read_from(backbone, monkeypatch, cache):
    template = [{"reasoning": 11}, {"text": "ab"}, {"reasoning": 9}, {"answer": 4}]
    spied = Fresh(backbone, monkeypatch)
    prompt, block_length = PROMPTS[3], 6
    options = {"template": template, "block_length": block_length, "k": 2, "cache": cache, "record_steps": True}
    (row,) = generate(backbone, [prompt], **options)
    length = len(row.token_ids)
    kinds = ["text" if step is None else "reasoning" for step in row.commit_steps]
    kinds[-4:] = ["answer"] * 4
    masked = {i for i, kind in enumerate(kinds) if kind != "text"}
    previous = None
    for step, positions in enumerate(spied.parts, start=1):
        block = min(masked) // block_length
        span = range(block * block_length, min((block + 1) * block_length, length))
        wanted = (masked & {*span}) | (masked & {*range(length - 4, length)})
        own = (
            {*range(span[0], length)}
            if cache == "prefix"
            else {*span} | {i for i in range(length) if kinds[i] != "reasoning"}
        )
        inside = {len(prompt) + i for i in own} | {len(prompt) + i - backbone.lookback for i in wanted}
        assert positions == (sorted(inside) if block == previous else list(range(len(prompt) + length)))
        previous = block
        masked -= {i for i in masked if row.commit_steps[i] == step}
    assert not masked and row.nfe == len(spied.parts)


def test_small_parts_are_computed_in_passes_of_the_least_length(backbone, monkeypatch):
    seen = []
    run = type(backbone._body).__call__
    monkeypatch.setattr(
        type(backbone._body),
        "__call__",
        lambda body, ids, *rest: seen.append(len(ids)) or run(body, ids, *rest),
    )
    generate(backbone, [PROMPTS[0]], gen_length=8, block_length=8, k=2, cache="dual")
    assert min(seen) >= backbone._products.minimum_rows


def test_finished_rows_give_their_slots_back_while_they_are_held(backbone):
    config = DecodingConfig.from_options({**OPTIONS, "k": 16, "cache": "dual"})
    plans = [plan_row(backbone, prompt, config) for prompt in PROMPTS]
    held = list(decode(Readout(backbone), enumerate(plans), Budget(max_rows=1)))
    assert len(held) == len(PROMPTS) and not backbone._memory._taken

"""Random decoding of real tiny checkpoints of every family, with every cache, against plain decoders; and of `edit`.

Plain decoders compute in double precision. An input over which one decodes otherwise, once its distributions are moved
by as much as precisions may differ, is passed over.
"""

import functools
import random

import pytest
import torch
from hypothesis import strategies as st

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.checkpoints.families.known import FAMILIES as SUPPORTED
from lm_eval_mdlm.engine.cache import CACHES
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.generation import generate
from tests.encoders import make_encoder
from tests.engine import test_grid as grid
from tests.engine.test_path import Stale
from tests.fuzz.inputs import fuzz, sizes
from tests.fuzz.test_decoding import CONFIDENCE, MEMORY, PUBLISHED, options, share
from tests.published import Ways
from tests.slow_grid import decode_on_grid
from tests.slow_samplers import SlowWithMemory
from tests.tiny import FAMILIES as FULL, make_checkpoint
from tests.tiny_families import BLOCK_CAUSAL_FAMILIES, FAMILIES as FURTHER


ENCODER = "encoder"
KNOWN = sorted({*FULL, *FURTHER, ENCODER})
NO_BLOCK = ("fixed_k", "fixed_k of steps", "med", "entropy_bound", "confidence_threshold", "confidence_factor")
SHARED = {**{name: PUBLISHED[name] for name in NO_BLOCK}, **{name: MEMORY[name] for name in ("klass", "local_leap")}}
EDIT = options({}, {**CONFIDENCE, "edit_threshold": share(0.0, 0.99), "max_edit_passes": st.integers(0, 6)})
ON_GRID = {
    name: own.map(lambda drawn: {key: value for key, value in drawn.items() if key != "block_length"})
    for name, own in {**SHARED, "credit": MEMORY["credit"], "dus": PUBLISHED["dus"], "edit": EDIT}.items()
}
"""Blocks are the network's own there."""


@pytest.fixture(scope="session")
def loaded(tmp_path_factory, backbones):
    @functools.cache
    def one(family):
        if family in backbones:
            return backbones[family]
        make = make_encoder if family == ENCODER else functools.partial(make_checkpoint, family=family)
        size = {"grid_block": 4} if family.startswith("sdar") else {}
        return load_backbone(str(make(tmp_path_factory.mktemp(family))), device="cpu", **size)

    return one


def whole_shares(own, length):
    """`steps` is a multiple of the number of blocks, or refused."""
    blocks = -(-length // own.get("block_length", 32))
    return {**own, "steps": own["steps"] * blocks} if "steps" in own else own


def moved(oracle, by):
    """The same network but for a little noise."""
    rng, own = random.Random(0), oracle.log_probs
    oracle.log_probs = lambda *canvas: [[x + rng.uniform(-by, by) for x in row] for row in own(*canvas)]
    return oracle


class Steady:
    """What a plain decoder makes of an input, and over how many inputs it can be told."""

    def __init__(self):
        self.told, self.asked = 0, 0

    def compare(self, row, decoded, oracle, by):
        self.asked += 1
        expected = decoded(oracle())
        if decoded(moved(oracle(), by)) == expected:
            self.told += 1
            assert (row.token_ids, row.commit_steps, row.nfe) == expected


def plainly(prompt, length, own):
    def decoded(oracle):
        text = oracle.decode(prompt, length, own)
        cost = 2 if oracle.cfg_scale else 1
        return text.tokens, [passes // cost for passes in text.committed_in], text.passes

    return decoded


def on_grid(prompt, length, own, size):
    def decoded(oracle):
        text = decode_on_grid(oracle, size, prompt, [oracle.mask] * length, own, Ways())
        return text.region, [text.committed_in[i] for i in range(length)], text.steps * text.cost

    return decoded


class StaleWithMemory(Stale, SlowWithMemory):
    """With the samplers that look at earlier passes."""


APPROXIMATE = ("prefix", "dual")
PROMPTS = st.lists(st.lists(st.integers(5, 390), min_size=1, max_size=20), min_size=1, max_size=2)
LENGTHS = st.integers(1, 8)
BATCHES = st.integers(1, 5) | st.just("auto")


@sizes(2, 400)
def test_rows_of_every_family_are_those_of_its_network_asked_one_canvas_at_a_time(number, loaded):
    steady = Steady()

    def check(family, prompts, length, scale, batch_size, data):
        network, blocks = loaded(family), family in BLOCK_CAUSAL_FAMILIES
        samplers = ON_GRID if blocks else SHARED
        name = data.draw(st.sampled_from(sorted(samplers)))
        own = whole_shares({"sampler": name.split()[0], **data.draw(samplers[name])}, length)
        asked = {**own, "cfg_scale": scale, "batch_size": batch_size, "stop_when_settled": False}
        if blocks:
            asked["cache"] = data.draw(st.sampled_from(["none", "exact"]))

        def oracle():
            mask = network.mask_token_id
            logits = lambda ids: network.logits([torch.tensor(ids)])[0]  # noqa: E731
            return SlowWithMemory(logits, mask, cfg_scale=scale, forbidden=[mask])

        rows = generate(network, prompts, gen_length=length, record_steps=True, **asked)
        for prompt, row in zip(prompts, rows, strict=True):
            plain = on_grid(prompt, length, own, network.grid_block) if blocks else plainly(prompt, length, own)
            steady.compare(row, plain, oracle, 1e-5)

    scales = st.just(0.0) | share(0.1, 1.0)
    fuzz(number, check, st.sampled_from(KNOWN), PROMPTS, LENGTHS, scales, BATCHES, st.data())
    assert 2 * steady.told > steady.asked


@sizes(6, 400)
def test_rows_with_an_approximate_cache_are_those_of_dense_attention_over_what_it_keeps(number, loaded):
    steady = Steady()

    def check(family, cache, name, prompts, length, size, batch_size, data):
        network = loaded(family)
        own = {"sampler": name.split()[0], **data.draw(SHARED[name]), "block_length": size}
        own = whole_shares(own, length)
        asked = {"cache": cache, "batch_size": batch_size, "stop_when_settled": False}
        rows = generate(network, prompts, gen_length=length, record_steps=True, **own, **asked)
        for prompt, row in zip(prompts, rows, strict=True):
            plain = plainly(prompt, length, own)
            steady.compare(row, plain, lambda: StaleWithMemory(network, cache, size), 1e-3)

    kinds = (st.sampled_from(FULL), st.sampled_from(APPROXIMATE), st.sampled_from(sorted(SHARED)))
    fuzz(number, check, *kinds, PROMPTS, LENGTHS, st.integers(1, 8), BATCHES, st.data())
    assert 2 * steady.told > steady.asked


@sizes(8, 1_500)
def test_rows_on_a_grid_are_those_of_a_plain_decoder_that_also_edits(number):
    def check(name, seed, data):
        grid.compare(random.Random(seed), {"sampler": name.split()[0], **data.draw(ON_GRID[name])})

    fuzz(number, check, st.sampled_from([*ON_GRID, "edit"]), st.integers(0, 2**32), st.data())


def test_every_family_cache_and_sampler_is_among_them():
    assert {family.key for family in SUPPORTED} == {
        name.removesuffix("_moe") if "sdar" in name else name for name in KNOWN
    }
    assert set(CACHES) == {*APPROXIMATE, "exact"}
    assert {name.split()[0] for name in (*PUBLISHED, *MEMORY, *ON_GRID)} == set(SAMPLERS)

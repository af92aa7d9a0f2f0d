"""Which layers count as those that fused layers compute, among families with head norms and experts."""

import pytest
import torch

from benchmarks.networks import random_network
from benchmarks.shapes import SHAPES
from lm_eval_mdlm.backbones.body import bytes_per_token
from lm_eval_mdlm.backbones.fusable import fusable


FAMILIES = ("tiny-sdar", "tiny-llada-moe", "tiny-llada2")


def network_of(name):
    return random_network(SHAPES[name], "cpu", torch.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_plain_layers_are_fusable_and_another_subclass_is_not(name):
    network = network_of(name)
    assert fusable(network)
    last = network.model.layers[-1]
    last.self_attn.__class__ = type("Other", (type(last.self_attn),), {})
    assert not fusable(network)


def _other_eps(layer):
    layer.self_attn.k_norm.variance_epsilon *= 2


def _other_router(layer):
    layer.mlp.gate.__class__ = type("Other", (type(layer.mlp.gate),), {})


def _choice_elsewhere(layer):  # as routers of older versions of transformers leave it to the module around them
    layer.mlp.route_tokens_to_experts = lambda logits: logits


def _biased_shared_expert(layer):
    layer.mlp.shared_experts.down_proj.bias = torch.nn.Parameter(torch.zeros(64))


def _other_experts(layer):
    layer.mlp.experts.__class__ = type("Other", (type(layer.mlp.experts),), {})


CHANGES = (_other_eps, _other_router, _choice_elsewhere, _biased_shared_expert, _other_experts)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_one_part_that_computes_otherwise_is_enough_to_run_layers_as_they_are(change):
    network = network_of("tiny-llada2")
    change(network.model.layers[-1])
    assert not fusable(network)


def test_a_rotated_width_that_the_kernel_cannot_take_is_refused():
    network = network_of("tiny-llada2")
    network.model.rotary_emb.inv_freq = torch.ones(6)
    assert not fusable(network)
    network.model.rotary_emb.inv_freq = torch.ones(32)  # wider than a head
    assert not fusable(network)


def test_the_memory_estimate_covers_what_a_pass_of_experts_takes():
    """Against what transformers' grouped experts hold at once: counted from their shapes, not their code."""
    shape = SHAPES["llada2-mini"]
    experts = shape.experts
    config = network_of("tiny-llada2").config
    config.hidden_size, config.moe_intermediate_size, config.num_experts_per_tok = shape.hidden, experts.width, 8
    rows = experts.chosen
    states, weighted_in_float32 = 2 * rows * shape.hidden, 4 * rows * shape.hidden
    assert bytes_per_token(config, torch.bfloat16) >= states + 2 * weighted_in_float32 + 2 * rows * 2 * experts.width

"""Which way of running a body is chosen: fused layers only where they fit the network and can be built."""

import copy
import importlib.util
import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lm_eval_mdlm.backbones import body as bodies
from lm_eval_mdlm.backbones.attention import VARLEN
from lm_eval_mdlm.backbones.body import body_of
from lm_eval_mdlm.backbones.fusable import fusable
from lm_eval_mdlm.backbones.invariance import MatrixProducts
from lm_eval_mdlm.backbones.layers import TransformersLayers
from lm_eval_mdlm.engine import readout
from tests.toy import ScriptedBackbone


CPU = torch.device("cpu")


@pytest.fixture
def network(backbones, family):
    body = copy.deepcopy(backbones[family]._body._body)
    return SimpleNamespace(model=body, config=body.config, dtype=torch.float32)


class Quantised(nn.Linear):
    """Derives from a plain layer, as bitsandbytes' and transformers' own FP8 layers do, and scales its weights."""

    def forward(self, x):
        return super().forward(x) * 0.5


def swap(module: nn.Module, name: str) -> None:
    old = getattr(module, name)
    new = Quantised(old.in_features, old.out_features, bias=old.bias is not None)
    new.load_state_dict(old.state_dict())
    setattr(module, name, new)


class Renormed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, norm.variance_epsilon


def narrow(network):
    network.model.layers[0].mlp.down_proj.to(torch.float16)


CHANGES = {
    "a quantised query": lambda n: swap(n.model.layers[1].self_attn, "q_proj"),
    "a quantised output": lambda n: swap(n.model.layers[0].self_attn, "o_proj"),
    "a quantised gate": lambda n: swap(n.model.layers[1].mlp, "gate_proj"),
    "a weight of another dtype": narrow,
    "a norm of another dtype": lambda n: n.model.norm.to(torch.float16),
    "an embedding of another dtype": lambda n: n.model.embed_tokens.to(torch.float16),
    "a foreign norm": lambda n: setattr(
        n.model.layers[1], "input_layernorm", Renormed(n.model.layers[1].input_layernorm)
    ),
    "a foreign last norm": lambda n: setattr(n.model, "norm", Renormed(n.model.norm)),
    "another epsilon in one norm": lambda n: setattr(
        n.model.layers[1].post_attention_layernorm, "variance_epsilon", 0.1
    ),
    "a bias on the output": lambda n: setattr(n.model.layers[0].self_attn, "o_proj", nn.Linear(64, 64, bias=True)),
    "a bias on queries alone": lambda n: setattr(
        n.model.layers[0].self_attn, "q_proj", nn.Linear(64, 64, bias=n.model.layers[0].self_attn.q_proj.bias is None)
    ),
    "another activation": lambda n: setattr(n.config, "hidden_act", "gelu"),
    "heads of another size": lambda n: setattr(n.model.layers[0].self_attn, "head_dim", 12),
    "another layer": lambda n: setattr(n.model.layers[0], "__class__", type("Other", (type(n.model.layers[0]),), {})),
}


def test_plain_networks_are_fusable(network):
    assert fusable(network)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_network_that_computes_anything_else_is_not(network, change):
    config, network.model.config = network.config, None
    network.config = copy.deepcopy(config)
    change(network)
    assert not fusable(network)


@pytest.fixture
def on_gpu(network, backbones, family, monkeypatch):
    """A network whose attention is the GPU's, on a machine with Triton."""
    network.config = copy.deepcopy(network.config)
    network.config._attn_implementation = VARLEN
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return lambda: body_of(network, backbones[family]._body._table, MatrixProducts.on(CPU, torch.float32))


@pytest.mark.parametrize("fails", ["when imported", "when built", "when run"])
def test_kernels_that_cannot_be_built_are_told_in_one_line_and_done_without(on_gpu, monkeypatch, caplog, fails):
    def broken(*arguments):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

    made = broken if fails == "when built" else lambda *arguments: broken
    module = None if fails == "when imported" else SimpleNamespace(FusedLayers=made)
    monkeypatch.setitem(sys.modules, "lm_eval_mdlm.backbones.fused", module)
    with caplog.at_level(logging.WARNING):
        assert type(on_gpu()) is TransformersLayers
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line and "unfused" in line
    assert ("Failed to find C compiler" in line) == (fails != "when imported")


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_a_lack_of_memory_is_not_taken_for_a_lack_of_triton(on_gpu, monkeypatch, kind):
    def full(*arguments):
        raise kind("CUDA error: out of memory")

    monkeypatch.setitem(sys.modules, "lm_eval_mdlm.backbones.fused", SimpleNamespace(FusedLayers=full))
    with pytest.raises(kind, match="out of memory"):
        on_gpu()


def test_without_triton_layers_run_as_they_are(on_gpu, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, logger=bodies.__name__):
        assert type(on_gpu()) is TransformersLayers
    assert "Triton is not installed" in caplog.text


def test_statistics_are_read_without_triton_where_its_kernel_cannot_be_built(monkeypatch, caplog):
    def broken(*arguments):
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    module = SimpleNamespace(FusedStatistics=broken)
    monkeypatch.setitem(sys.modules, "lm_eval_mdlm.decoding.fused_statistics", module)
    backbone = ScriptedBackbone(lambda ids: ids, vocab_size=9, mask_token_id=8)
    backbone.device = SimpleNamespace(type="cuda")
    with caplog.at_level(logging.WARNING, logger="lm_eval.mdlm"):
        assert type(readout.reader_for(backbone)) is readout.PlainStatistics
    assert "Failed to find C compiler" in caplog.text

"""Devices, maps of devices, and dtypes."""

import pytest
import torch

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.checkpoints.placement import Placement
from tests.tiny import random_ids


MAPS = {
    "everything on the cpu": {"": "cpu"},
    "layers on disk": {
        "model.embed_tokens": "cpu",
        "model.layers": "disk",
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
        "lm_head": "cpu",
    },
    "ends on disk": {
        "model.embed_tokens": "disk",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
        "lm_head": "disk",
    },
    "found out": "auto",
    "a device": "cpu",
}
ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


@ON_CPU
@pytest.mark.parametrize("device_map", MAPS.values(), ids=MAPS)
def test_a_network_gives_the_same_logits_wherever_its_parts_are(checkpoints, backbones, family, device_map):
    spread = load_backbone(str(checkpoints[family]), device_map=device_map)
    sequences = [random_ids(30), random_ids(90)]
    for ours, expected in zip(spread.logits(sequences), backbones[family].logits(sequences), strict=True):
        assert torch.equal(ours, expected)
    assert spread.device == torch.device("cpu")


@ON_CPU
def test_unset_options_mean_float32_on_the_cpu(checkpoints):
    backbone = load_backbone(str(checkpoints["llada"]))
    assert (backbone.device, backbone.dtype) == (torch.device("cpu"), torch.float32)
    assert backbone.description["dtype"] == "float32" and backbone.description["device"] == "cpu"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"device": "cuda:99"}, "device"),
        ({"device": "gpu"}, "device"),
        ({"device": "meta"}, "device"),
        ({"device": "hpu"}, "device"),
        ({"device_map": {"model": 98, "lm_head": "cpu"}}, "device_map"),
        ({"device_map": {"": "tpu"}}, "device_map"),
        ({"device_map": "autom"}, "device"),
        ({"device": "cpu", "device_map": "auto"}, "device and device_map exclude"),
        ({"device_map": {"model.layers": "cpu"}}, "device_map"),
        ({"device_map": {}}, "device_map"),
        ({"dtype": "int8"}, "dtype"),
        ({"dtype": "float33"}, "dtype"),
        ({"dtype": torch.int64}, "dtype"),
        ({"revision": "main"}, "revision"),
    ],
    ids=str,
)
def test_a_place_or_dtype_that_cannot_be_is_refused(checkpoints, options, named):
    with pytest.raises(UsageError, match=named) as refusal:
        load_backbone(str(checkpoints["llada"]), **options)
    assert "\n" not in str(refusal.value)


def test_a_device_map_that_is_no_map_is_refused():
    with pytest.raises(UsageError, match="device_map must be one of auto"):
        Placement.of(dtype="auto", device=None, device_map=["cpu"])


def test_the_device_that_computes_is_the_one_of_the_results():
    if torch.cuda.is_available():
        placed = Placement.of(dtype="auto", device=None, device_map={"model": "cpu", "lm_head": 0})
        assert (placed.device, placed.dtype) == (torch.device("cuda", 0), torch.bfloat16)
    placed = Placement.of(dtype="auto", device=None, device_map={"model": "disk", "lm_head": "cpu"})
    assert (placed.device, placed.dtype) == (torch.device("cpu"), torch.float32)

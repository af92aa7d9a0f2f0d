"""The networks of a soak: tiny, random, of several families, made and loaded on the spot."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.soak.lane import Lane
from benchmarks.soak.python_lane import PythonLane
from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.errors import UsageError
from tests.tiny import make_checkpoint


FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llada": {},
    "dream": {},
    "llada_moe": {},
    "llada2": {},
    "sdar": {"grid_block": 4},
}
"""With the options that their checkpoints are loaded with."""
SIZES: Mapping[str, Mapping[str, Any]] = {
    "cpu": {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 2, "ffn": 48},
    "cuda": {"hidden": 128, "layers": 3, "heads": 4, "kv_heads": 4, "ffn": 128},  # heads that the own kernels take
}


def lanes(families: Sequence[str], device: torch.device, folder: Path, *, harness: bool) -> Iterator[Lane]:
    """A network of each family, asked in Python, and one of the first family behind lm_eval's interface.

    Args:
        families: Names in `FAMILIES`.
        device: Of the networks.
        folder: For the checkpoints.
        harness: Whether to ask the latter.

    Raises:
        UsageError: If lm_eval is wanted and not installed, or wanted on a GPU.
    """
    if harness and importlib.util.find_spec("lm_eval") is None:
        raise UsageError("--harness needs lm_eval, which is not installed; use --no-harness.")
    if harness and device.type != "cpu":
        raise UsageError(f"--harness runs on a CPU only, got --device {device}; use --no-harness.")
    for family in families:
        checkpoint = str(make_checkpoint(folder / family, family, **SIZES[device.type]))
        yield PythonLane(family, load_backbone(checkpoint, device=str(device), **FAMILIES[family]))
    if harness:
        from benchmarks.soak.harness_lane import HarnessLane

        yield HarnessLane(f"lm_eval, {families[0]}", str(folder / families[0]))

"""What a score depends on beside the options: versions, device, dtype, checkpoint."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..backbones.backbone import Backbone


PACKAGES = ("lm-eval-mdlm", "lm_eval", "torch", "transformers", "tokenizers", "accelerate", "datasets")


def provenance(backbone: Backbone) -> dict[str, Any]:
    """Versions, hardware and checkpoint of a run, as plain values."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "backbone": dict(backbone.description),
        "device": str(backbone.device),
        "device_name": torch.cuda.get_device_name(backbone.device)
        if backbone.device.type == "cuda"
        else platform.machine(),
        "cuda": torch.version.cuda,
        "dtype": str(backbone.dtype),
        "mask_token_id": backbone.mask_token_id,
        "end_token_ids": list(backbone.end_token_ids),
        "vocab_size": backbone.vocab_size,
        "max_length": backbone.max_length,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

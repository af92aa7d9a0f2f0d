"""What a score depends on beside the requests: versions, device, dtype, checkpoint, options."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..backbones.backbone import Backbone
from ..options.decoding import DecodingConfig
from ..options.likelihood import LikelihoodConfig
from ..options.loading import LoadingConfig
from ..running.planning import RULES_VERSION


PACKAGES = ("lm-eval-mdlm", "lm_eval", "torch", "transformers", "tokenizers", "accelerate", "datasets")


def provenance(backbone: Backbone) -> dict[str, Any]:
    """Versions, hardware and checkpoint of a run, as plain values."""
    return {
        "versions": versions(),
        "backbone": dict(backbone.description),
        "device": str(backbone.device),
        "device_name": device_name(backbone.device),
        "cuda": torch.version.cuda,
        "dtype": str(backbone.dtype),
        "mask_token_id": backbone.mask_token_id,
        "end_token_ids": list(backbone.end_token_ids),
        "vocab_size": backbone.vocab_size,
        "max_length": backbone.max_length,
    }


def versions() -> dict[str, str | None]:
    """Of Python and the packages that results depend on; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def device_name(device: torch.device) -> str:
    """Of a GPU, or of the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def headline(backbone: Backbone, loading: LoadingConfig) -> dict[str, Any]:
    """The entries that lm_eval's `hf` puts at the top of the results' config, where converters look for them."""
    return {
        "model_num_parameters": backbone.description.get("num_parameters", -1),
        "model_dtype": str(backbone.dtype),
        "model_revision": loading.revision or "main",
        "model_sha": backbone.description.get("commit_hash") or "",
        **({} if loading.peft is None else {"peft_sha": backbone.description.get("peft_commit_hash") or ""}),
    }


def identity(backbone: Backbone, config: DecodingConfig, likelihood: LikelihoodConfig) -> dict[str, Any]:
    """What a response depends on beside its request, for stored results."""
    return {
        **backbone.description,
        "mask_token_id": backbone.mask_token_id,
        "end_token_ids": list(backbone.end_token_ids),
        "rules_version": RULES_VERSION,
        **config.effective(),
        **likelihood.effective(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

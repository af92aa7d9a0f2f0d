"""The official LLaDA loop, loaded from the user's own copy of its repository, beside this project's engine."""

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.networks import Shape, random_network
from benchmarks.report import Measurement, Value
from benchmarks.timing import seconds
from lm_eval_mdlm import generate
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.errors import UsageError


ARGUMENTS = ("prompt", "steps", "gen_length", "block_length", "temperature", "cfg_scale", "remasking", "mask_id")


def official_generate(folder: Path) -> Callable[..., Tensor]:
    """The function `generate` of the repository's `generate.py`; UsageError where there is none of that kind."""
    path = folder / "generate.py"
    if not path.is_file():
        raise UsageError(f"--official must be a folder with generate.py, got {folder}; clone the LLaDA repository.")
    spec = importlib.util.spec_from_file_location("official_generate", path)
    assert spec is not None and spec.loader is not None, f"{path} has no loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, "generate", None)
    missing = set(ARGUMENTS) - set(inspect.signature(found).parameters) if callable(found) else set(ARGUMENTS)
    if missing:
        raise UsageError(f"generate in {path} must take {', '.join(sorted(missing))}; use the LLaDA repository's own.")
    loop: Callable[..., Tensor] = found  # type: ignore[assignment]
    return loop


class PlainModel:
    """A network as the official loop expects it: called on a batch of canvases, it has logits at every position."""

    def __init__(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> None:
        """The same random weights as `random_backbone` has, in a network of its own."""
        self.network: Any = random_network(shape, str(device), dtype)
        self.network.set_attn_implementation("sdpa")
        self.device = device

    @torch.inference_mode()
    def __call__(self, canvases: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        """Logits of all positions."""
        return SimpleNamespace(logits=self.network(canvases, attention_mask=attention_mask, is_causal=False).logits)


def beside(
    loop: Callable[..., Tensor],
    model: PlainModel,
    backbone: Backbone,
    prompt: Sequence[int],
    *,
    num_masks: int,
    block_length: int,
    repeats: int,
) -> dict[str, Value]:
    """Both loops on one prompt, one token a pass, by confidence; turn by turn, so that a drift meets both."""
    ids = torch.tensor([list(prompt)], device=backbone.device)
    sizes = {"steps": num_masks, "gen_length": num_masks, "block_length": block_length}
    fixed = {"temperature": 0.0, "cfg_scale": 0.0, "remasking": "low_confidence", "mask_id": backbone.mask_token_id}

    def theirs() -> Tensor:
        return loop(model, ids, **sizes, **fixed)

    def ours() -> list[int]:
        options: dict[str, Any] = {"sampler": "fixed_k", "k": 1, "score": "confidence", "gen_length": num_masks}
        (row,) = generate(backbone, [prompt], batch_size=1, block_length=block_length, **options)
        return row.token_ids

    differing = sum(a != b for a, b in zip(theirs()[0, len(prompt) :].tolist(), ours(), strict=True))
    pairs = [(seconds(backbone.device, theirs), seconds(backbone.device, ours)) for _ in range(repeats)]
    official, own = (Measurement(side) for side in zip(*pairs, strict=True))
    return {
        "case": f"official loop, prompt {len(prompt)} + {num_masks}",
        "rows": 1,
        "NFE": num_masks,
        "ms per NFE": own.scaled(1e3 / num_masks),
        "official, ms per NFE": official.scaled(1e3 / num_masks),
        "times faster": official.over(own),
        "differing tokens": differing,
    }

"""Both networks written out by hand in float64, from nothing but the published names: an oracle for backbones."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.tiny import NAMES


SIZES = {
    "llada": ("n_layers", "n_heads", "n_kv_heads", "rms_norm_eps", "weight_tying"),
    "dream": ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings"),
}


def plain_logits(folder: Path, family: str, token_ids: Tensor) -> Tensor:
    """Logits of one sequence, row i for token i."""
    config = json.loads((folder / "config.json").read_text())
    names = NAMES[family]
    weights = {}
    for file in folder.glob("*.safetensors"):
        weights |= {name: weight.double() for name, weight in load_file(file).items()}
    layers, heads, kv_heads, eps, tied = (config[name] for name in SIZES[family])
    x = weights[names["embed"]][token_ids]
    for layer in range(layers):
        parts = {part: f"{names['layers']}{layer}.{names[part]}" for part in names}

        def linear(part: str, value: Tensor, parts: dict[str, str] = parts) -> Tensor:
            return value @ weights[parts[part] + ".weight"].T + weights.get(parts[part] + ".bias", 0.0)

        normed = rms_norm(x, weights[parts["input_norm"] + ".weight"], eps)
        q, k, v = (linear(part, normed) for part in "qkv")
        x = x + linear("o", attend(q, k, v, heads=heads, kv_heads=kv_heads, theta=config["rope_theta"]))
        normed = rms_norm(x, weights[parts["post_norm"] + ".weight"], eps)
        gate = linear("gate", normed)
        x = x + linear("down", gate / (1 + torch.exp(-gate)) * linear("up", normed))
    x = rms_norm(x, weights[names["norm"]], eps)
    logits = x @ weights[names["embed" if tied else "head"]].T
    return torch.stack([logits[max(i - 1, 0)] for i in range(len(logits))]) if family == "dream" else logits


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps) * weight


def attend(q: Tensor, k: Tensor, v: Tensor, *, heads: int, kv_heads: int, theta: float) -> Tensor:
    size = q.shape[1] // heads
    outputs = []
    for head in range(heads):
        shared = head * kv_heads // heads
        query = rotate(q[:, head * size : (head + 1) * size], theta)
        key = rotate(k[:, shared * size : (shared + 1) * size], theta)
        scores = query @ key.T / math.sqrt(size)
        outputs.append(scores.softmax(dim=-1) @ v[:, shared * size : (shared + 1) * size])
    return torch.cat(outputs, dim=1)


def rotate(x: Tensor, theta: float) -> Tensor:
    """Pair (j, j + size/2) of position p turned by p / theta^(2j/size), as complex numbers."""
    half = x.shape[1] // 2
    speed = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(len(x), dtype=torch.float64)[:, None] * speed
    turned = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], dim=1)


def edit_config(folder: Path, **changes: Any) -> Path:
    """Replace or add entries of config.json; Ellipsis removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not ...}))
    return folder

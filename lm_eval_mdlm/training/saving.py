"""From a trained network to what `pretrained=` loads: the layout it came in, whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import PreTrainedModel

from ..checkpoints.adapter import record_base
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.families.stored_form import to_stored
from .networks import TrainableNetwork
from .sharding import gathered


ADAPTER = "adapter"
"""Folder of a run's adapter, in the layout of peft."""
CONFIGURATION = ("config.json", "generation_config.json")
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "*.tiktoken", "*.jinja"),
)
"""Files that belong to a checkpoint; whatever else lies beside them (records, logs) is somebody else's."""


def save_adapter(trained: TrainableNetwork, out: Path) -> None:
    """Write the adapters alone into `out`/adapter; the network has to be peft's."""
    for adapters in trained.network.peft_config.values():
        adapters.base_model_name_or_path = trained.source.checkpoint.pretrained
    # The embeddings are not trained; to find that out by itself peft would ask the hub.
    trained.network.save_pretrained(out / ADAPTER, save_embedding_layers=False)
    record_base(out / ADAPTER, trained.source.checkpoint)


def save_checkpoint(trained: TrainableNetwork, out: Path, *, dtype: torch.dtype, writes: bool = True) -> None:
    """Write what `pretrained=` loads: config.json, safetensors under the family's own names, tokenizer files.

    Files appear in `out` once all of them are written. Weights that are spread over processes are gathered, so every
    process calls this, and one of them `writes`. Adapters are merged into the network, which is changed by that.
    """
    network = trained.network
    if not isinstance(network, PreTrainedModel):
        network = network.merge_and_unload()
    named = {
        name: weight
        for name, weight in network.state_dict().items()
        if not (name == "lm_head.weight" and network.config.tie_word_embeddings)
    }
    exact = {name for name, _ in network.named_buffers()}  # such as a router's bias, which stays in float32
    # In one order everywhere, as all processes gather a weight together.
    weights = gathered({n: weight for n, weight in named.items() if n not in exact}, keep=writes, dtype=dtype)
    weights |= gathered({n: weight for n, weight in named.items() if n in exact}, keep=writes)
    if writes:
        family, forms = trained.source.family, trained.source.architecture.stored_forms
        pieces = to_stored(forms, {name: weights[name] for name in named})
        _write({family.hub_name(name): piece for name, piece in pieces.items()}, trained.source.checkpoint, out, dtype)


def _write(weights: dict[str, Tensor], checkpoint: Checkpoint, out: Path, dtype: torch.dtype) -> None:
    partial = out / "saving"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_torch_state_dict(weights, partial, max_shard_size="5GB")
    for path in _files_to_keep(checkpoint.folder):
        if path.suffix == ".json" and path.name in ("config.json", "tokenizer_config.json"):
            values = _true_here(json.loads(path.read_text(encoding="utf-8")), checkpoint, dtype)
            (partial / path.name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(path, partial / path.name)
    for stale in out.glob("model*.safetensors*"):  # of a run that was stopped while it wrote
        stale.unlink()
    for path in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
        os.replace(path, out / path.name)
    partial.rmdir()


def _files_to_keep(folder: Path) -> Iterator[Path]:
    for pattern in (*CONFIGURATION, *TOKENIZER):
        yield from sorted(folder.glob(pattern))
    modules = {module for path in CONFIGURATION[:1] + TOKENIZER[1:2] for module in _own_modules(folder / path)}
    if any((folder / module).is_file() for module in modules):
        yield from sorted(folder.glob("*.py"))


def _own_modules(path: Path) -> set[str]:
    """Code files that a configuration refers to without naming a repository."""
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    references = [r for reference in (values.get("auto_map") or {}).values() for r in _listed(reference)]
    return {_module(r) for r in references if isinstance(r, str) and "--" not in r}


def _true_here(values: dict[str, Any], checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, Any]:
    """A configuration whose dtype is that of the weights, and whose references to code lead somewhere."""
    found = dict(values)
    for key in ("torch_dtype", "dtype"):
        if key in found:
            found[key] = str(dtype).removeprefix("torch.")
    if found.get("auto_map"):
        kept = {name: _reachable(reference, checkpoint) for name, reference in found.pop("auto_map").items()}
        kept = {name: reference for name, reference in kept.items() if any(_listed(reference))}
        if kept:
            found["auto_map"] = kept
    return found


def _reachable(reference: Any, checkpoint: Checkpoint) -> Any:
    if isinstance(reference, list):
        return [_reachable(r, checkpoint) for r in reference]
    if not isinstance(reference, str):
        return None
    if "--" in reference or (checkpoint.folder / _module(reference)).is_file():
        return reference
    return f"{checkpoint.pretrained}--{reference}" if checkpoint.on_hub else None


def _listed(reference: Any) -> list[Any]:
    return reference if isinstance(reference, list) else [reference]


def _module(reference: str) -> str:
    return f"{reference.split('.')[0]}.py"

"""Stored weights into a network of transformers, one network at a time."""

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from .beside import without_use
from .families.family import Architecture
from .weights import TIED_HEAD, refuse_differences


_ONE_AT_A_TIME = threading.Lock()
"""While it loads, transformers replaces methods of all networks, `tie_weights` among them, and then puts back what it
found: two loads in two threads leave the replacement in place, and every later tied head without its values."""


def read_network(
    folder: Path,
    architecture: Architecture,
    *,
    dtype: torch.dtype,
    attention: str,
    experts: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
) -> Any:
    """The native network with the weights in `folder`; safe to call from several threads.

    Args:
        folder: Holds the weights, which `check_weights` has accepted.
        architecture: What they are loaded into.
        dtype: Of the weights.
        attention: Name of transformers' attention function.
        experts: Name of its function for mixtures of experts; its own choice if unset.
        device_map: Where to load them; the CPU if unset.

    Raises:
        UsageError: If a weight is missing, left over, or of another shape.
    """
    by_experts = {"experts_implementation": experts} if experts is not None and architecture.has_experts else {}
    with _ONE_AT_A_TIME, _room_for_converted(architecture, device_map) as (room, belongs_to):
        network, report = architecture.network.from_pretrained(
            str(folder),
            config=architecture.config,
            key_mapping=dict(architecture.key_mapping),
            dtype=dtype,
            device_map=device_map,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which only means that they are reported
            generation_config=GenerationConfig(),  # the checkpoint's own is for samplers that are not used here
            **by_experts,
            **room,
        )
        belongs_to(network)
    # transformers only warns, and leaves what it did not find at random values.
    tied = {TIED_HEAD} if network.config.tie_word_embeddings else set()
    refuse_differences(
        folder,
        missing=sorted(set(report["missing_keys"]) - tied),
        unexpected=without_use(folder, architecture, report["unexpected_keys"]),
        mismatched=report["mismatched_keys"],
    )
    return network


@contextlib.contextmanager
def _room_for_converted(
    architecture: Architecture, device_map: str | Mapping[str, Any] | None
) -> Iterator[tuple[dict[str, str], Callable[[Any], object]]]:
    """A folder for parts that stay on disk, in another form than they lie there; gone with what it belongs to."""
    on_disk = isinstance(device_map, str) or "disk" in dict(device_map or {}).values()
    if not architecture.stored_forms or not on_disk:
        yield {}, lambda network: None
        return
    folder = tempfile.mkdtemp(prefix="lm_eval_mdlm-")
    try:
        yield {"offload_folder": folder}, lambda network: weakref.finalize(network, shutil.rmtree, folder, True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise

"""From a name to a network that is ready to denoise."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..backbones.attention import best_attention
from ..backbones.backbone import Backbone
from ..backbones.invariance import stabilise
from ..backbones.packed import PackedBackbone
from ..backbones.stable_experts import best_experts, stabilise_routers
from ..errors import UsageError
from .adapter import Adapter
from .checkpoint import Checkpoint
from .encoders import load_encoder
from .families.family import Architecture, Family
from .families.known import family_of
from .fingerprint import fingerprint, tokenizer_fingerprint
from .finite import refuse_not_finite
from .low_rank import LowRankUpdate
from .network import read_network
from .packaged import DEMO, checkpoint_dir
from .placement import Placement
from .probe import prove_bidirectional
from .probe_fit import clearly_better
from .quantised import Quantisation, check_quantised
from .raw_config import RawConfig
from .room import in_given_room
from .tokenizer import load_tokenizer, special_tokens
from .visibility import grid_block_of
from .weights import check_weights, expected_weights


logger = logging.getLogger(__name__)


def load_backbone(
    pretrained: str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    revision: str | None = None,
    mask_token_id: int | None = None,
    family: str | None = None,
    grid_block: int | None = None,
    peft: str | None = None,
    require_tokenizer: bool = False,
) -> Backbone:
    """Load a masked diffusion LM from a folder or the hub, without running any code of the checkpoint.

    Everything that can be wrong with a checkpoint is looked for before its weights are downloaded or read.

    Args:
        pretrained: A folder with config.json and safetensors, a hub id, or `demo` for the packaged checkpoint.
        dtype: bfloat16, float16, float32, or `auto`: bfloat16 on a GPU, float32 on a CPU.
        device: Such as `cuda:1` or `cpu`; a GPU if there is one, if unset.
        device_map: Instead of `device`, spreads the network: `auto`, or module names to devices, as in transformers.
        revision: Branch, tag or commit of a hub id.
        mask_token_id: Overrides the checkpoint's own mask token.
        family: Overrides what the config looks like: `llada`, `llada_moe`, `llada2`, `sdar`, `dream`, ...
        grid_block: Positions of a grid block of a block-causal checkpoint, where neither config nor family tells it.
        peft: A low-rank adapter of it, added to its weights: a folder, or a hub id as `owner/name[@revision]`.
        require_tokenizer: Refuse a checkpoint without a tokenizer, before its weights are read.

    Raises:
        UsageError: For an option, a file or a weight that cannot be used; one line that names it.
    """
    placement = Placement.of(dtype=dtype, device=device, device_map=device_map)
    checkpoint = _opened(pretrained, revision)
    adapter = None if peft is None else Adapter.open(peft)
    raw = RawConfig.read(checkpoint.folder)
    kind = family_of(raw, family)
    grid_block = grid_block_of(kind, raw, pretrained, grid_block)
    if kind.encoder:
        return _encoder(checkpoint, adapter, raw, kind, placement, mask_token_id, device_map)
    architecture = kind.architecture(raw)
    quantised = _quantised(raw, architecture, peft)
    tokenizer = load_tokenizer(checkpoint.folder, kind)
    if require_tokenizer:
        _required(tokenizer, pretrained, "text tasks")
    vocab_size = architecture.config.vocab_size
    tokens = special_tokens(raw, tokenizer, vocab_size=vocab_size, family=kind, mask_token_id=mask_token_id)
    placement.refuse_gaps(expected_weights(architecture))
    attention = best_attention(placement.device, placement.dtype)
    with in_given_room(pretrained, placement, "use a narrower dtype or device_map='auto'"):
        network = _weighted_network(checkpoint, adapter, architecture, placement, attention)
        backbone = PackedBackbone(
            network,
            family=kind.name,
            tokens=tokens,
            tokenizer=tokenizer,
            shift=kind.shift,
            float32_rope=architecture.float32_rope,
            device=placement.device,
            grid_block=grid_block,
            description={
                **_recognised(kind, grid_block, architecture, placement),
                **quantised,
                "pretrained": pretrained,
                **_describe(checkpoint, placement, device_map, network, attention),
                **({} if adapter is None else adapter.description),
            },
        )
        return _examined(backbone, pretrained)


def _encoder(
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    raw: RawConfig,
    family: Family,
    placement: Placement,
    mask_token_id: int | None,
    device_map: str | Mapping[str, Any] | None,
) -> Backbone:
    if adapter is not None:
        raise UsageError(
            f"peft={adapter.name} is for decoders such as LLaDA and Dream, and {checkpoint.pretrained} is an encoder; "
            f"leave it out."
        )
    with in_given_room(checkpoint.pretrained, placement, "use a narrower dtype"):
        backbone, network = load_encoder(checkpoint, raw, family, placement, mask_token_id=mask_token_id)
        backbone.description = {
            "family": family.name,
            "pretrained": checkpoint.pretrained,
            **_describe(checkpoint, placement, device_map, network, network.config._attn_implementation),
            **backbone.description,
        }
        _probe(backbone, checkpoint.pretrained)
    return backbone


def tokenizer_of(pretrained: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer alone, to count tokens; no weights are fetched or read. UsageError if it has none."""
    checkpoint = _opened(pretrained, revision)
    tokenizer = load_tokenizer(checkpoint.folder, family_of(RawConfig.read(checkpoint.folder)))
    return _required(tokenizer, pretrained, "counting tokens")


def _opened(pretrained: str, revision: str | None) -> Checkpoint:
    return Checkpoint.open(str(checkpoint_dir()) if pretrained == DEMO else pretrained, revision)


def _required(tokenizer: PreTrainedTokenizerBase | None, pretrained: str, use: str) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise UsageError(f"{pretrained} must have a tokenizer for {use}, got none; add its tokenizer files.")
    return tokenizer


def _weighted_network(
    checkpoint: Checkpoint, adapter: Adapter | None, architecture: Architecture, placement: Placement, attention: str
) -> Any:
    """The network with its weights, an adapter's added; the adapter is checked before they are read."""
    checkpoint.fetch_weights()
    plain = getattr(architecture.config, "quantization_config", None) is None
    stored = (check_weights if plain else check_quantised)(checkpoint.folder, architecture)
    update = None
    if adapter is not None:
        adapter.refuse_another_base(checkpoint)
        update = LowRankUpdate(adapter, stored, architecture)
    network = _load_network(checkpoint.folder, architecture, placement, attention)
    refuse_not_finite(network, stored, architecture.stored_forms)
    if update is not None:
        update.merge_into(network)
    return network


def _quantised(raw: RawConfig, architecture: Architecture, peft: str | None) -> dict[str, str]:
    """Tell transformers how the weights are quantised, where they are; what the record says of it."""
    quantisation = Quantisation.of(raw)
    if quantisation is None:
        return {}
    quantisation.refuse_for(raw, architecture, peft=peft)
    architecture.config.quantization_config = dict(quantisation.options)
    return {"quantisation": quantisation.method}


def _recognised(
    kind: Family, grid_block: int | None, architecture: Architecture, placement: Placement
) -> dict[str, Any]:
    return {
        "family": kind.name,
        **({} if grid_block is None else {"grid_block": grid_block}),
        **({"experts": best_experts(placement.device)} if architecture.has_experts else {}),
    }


def _describe(
    checkpoint: Checkpoint,
    placement: Placement,
    device_map: str | Mapping[str, Any] | None,
    network: Any,
    attention: str,
) -> dict[str, Any]:
    return {
        "device_map": None if device_map is None else str(device_map),
        "network": type(network).__name__,
        "commit_hash": checkpoint.commit_hash,
        "fingerprint": fingerprint(checkpoint.folder),
        "tokenizer": tokenizer_fingerprint(checkpoint.folder),
        "dtype": str(placement.dtype).removeprefix("torch."),
        "device": str(placement.device),
        "num_parameters": network.num_parameters(),
        "attention": attention,
    }


def _examined(backbone: PackedBackbone, source: str) -> PackedBackbone:
    _probe(backbone, source)
    _compare_readings(backbone, source)
    return backbone


def _probe(backbone: Backbone, source: str) -> None:
    known = backbone.description.get("rows_are_bitwise_independent", True)
    exact, routed = "quantisation" not in backbone.description, "experts" in backbone.description
    independent = prove_bidirectional(backbone, source, exact=exact, routed=routed) and exact and known
    backbone.description = {**backbone.description, "rows_are_bitwise_independent": independent}
    if not independent:
        logger.warning("On this hardware rounding depends on how rows are batched; near ties may fall either way.")


def _compare_readings(backbone: PackedBackbone, source: str) -> None:
    """A line where masked text is predicted better by another reading than the declared one."""
    found = clearly_better(backbone, backbone.description["num_parameters"])
    if found is not None:
        logger.warning(
            "%s: masked text is predicted better with %s than with %s, as declared; check family and grid_block.",
            *(source, found[1], found[0]),
        )


def _load_network(folder: Path, architecture: Architecture, placement: Placement, attention: str) -> Any:
    network = read_network(
        folder,
        architecture,
        dtype=placement.dtype,
        attention=attention,
        experts=best_experts(placement.device),
        device_map=placement.device_map,
    )
    if placement.device.type == "cpu":
        stabilise(network)
        stabilise_routers(network)
    return network.eval().requires_grad_(False)

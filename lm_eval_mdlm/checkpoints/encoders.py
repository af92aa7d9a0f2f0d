"""From an encoder's checkpoint to a backbone: its tokenizer, its weights, and the way its passes are run."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..backbones.encoder import EncoderBackbone, Frame
from ..backbones.shortage import is_out_of_memory
from ..errors import UsageError
from .beside import without_report
from .checkpoint import Checkpoint
from .encoder_probe import choose_grouping
from .families.family import Architecture, Family
from .finite import refuse_not_finite
from .frame import frame_of, take_off_frame
from .network import read_network
from .placement import Placement
from .raw_config import RawConfig
from .tokenizer import load_tokenizer, special_tokens
from .weights import FLOATS, StoredWeight, stored_weights


LEAST_ROOM = 32
"""Tokens that a canvas must have room for; the passes that prove a network need nearly as many."""


def load_encoder(
    checkpoint: Checkpoint,
    raw: RawConfig,
    family: Family,
    placement: Placement,
    *,
    mask_token_id: int | None,
) -> tuple[EncoderBackbone, Any]:
    """Load an encoder and its network; what can be wrong is looked for before its weights are downloaded or read.

    Args:
        checkpoint: Open.
        raw: Its config.json.
        family: Of encoders.
        placement: Where the network goes.
        mask_token_id: The user's choice of the mask.

    Raises:
        UsageError: For an option, a file or a weight that cannot be used; one line that names it.
    """
    architecture = family.architecture(raw)
    tokenizer = load_tokenizer(checkpoint.folder, family)
    if tokenizer is None:
        raise UsageError(
            f"{checkpoint.pretrained} must have a tokenizer, which says what stands around a text, got none; add its "
            f"tokenizer files."
        )
    tokens = special_tokens(
        raw,
        tokenizer,
        vocab_size=architecture.config.vocab_size,
        family=family,
        mask_token_id=mask_token_id,
    )
    frame = frame_of(tokenizer, checkpoint.pretrained)
    take_off_frame(tokenizer)
    outline = _outline(raw, architecture)
    longest = _longest_input(raw, architecture, outline, tokenizer, frame)
    placement.refuse_gaps(outline.state_dict())
    network = _network(checkpoint, architecture, placement)
    try:
        backbone = EncoderBackbone(
            network,
            family=family.name,
            tokens=tokens,
            tokenizer=tokenizer,
            frame=frame,
            longest=longest,
            pad_token_id=_padding(tokenizer, architecture),
            device=placement.device,
            description={},
        )
        choose_grouping(backbone, architecture.config.model_type, checkpoint.pretrained)
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise _not_run(checkpoint, error) from None
    return backbone, network


def _outline(raw: RawConfig, architecture: Architecture) -> Any:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"):
            return architecture.network(architecture.config)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{raw.path}: the options must be those of a {architecture.network.__name__}, got "
            f"{type(error).__name__}: {reason[:200]}; correct it."
        ) from None


def _network(checkpoint: Checkpoint, architecture: Architecture, placement: Placement) -> Any:
    checkpoint.fetch_weights()
    origins = _Origins(checkpoint)
    with without_report():
        network = read_network(
            checkpoint.folder,
            architecture,
            dtype=placement.dtype,
            attention="sdpa" if architecture.network._supports_sdpa else "eager",
            device_map=placement.device_map,
        )
    refuse_not_finite(network, origins)
    return network.eval().requires_grad_(False)


class _Origins(dict[str, StoredWeight]):
    """Stored weights by name; one that transformers has renamed has the network's own name in messages."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        stored = stored_weights(checkpoint.folder)
        super().__init__({weight.name: weight for weight in stored})
        for weight in stored:
            if weight.dtype not in FLOATS and not weight.name.endswith("_ids"):
                raise UsageError(
                    f"{weight.file}: weights must be one of {', '.join(FLOATS)}, got {weight.dtype} for {weight.name}; "
                    f"quantised checkpoints are not supported, use the unquantised one."
                )

    def __missing__(self, name: str) -> StoredWeight:
        any_weight = next(iter(self.values()))
        return StoredWeight(name=name, shape=(), dtype=any_weight.dtype, file=any_weight.file.parent)


def _longest_input(
    raw: RawConfig, architecture: Architecture, outline: Any, tokenizer: PreTrainedTokenizerBase, frame: Frame
) -> int:
    """Most tokens of an input; UsageError if they leave no room between what stands around a text."""
    limits = [getattr(architecture.config, "max_position_embeddings", None), *_table_limits(outline)]
    known = [limit for limit in limits if limit is not None]
    longest = min(known) if known else int(tokenizer.model_max_length)
    room = longest - len(frame.prefix) - len(frame.suffix)
    if room < LEAST_ROOM:
        raise raw.refusal("max_position_embeddings", f"must leave room for a text of {LEAST_ROOM} tokens")
    return longest


def _table_limits(outline: Any) -> list[int]:
    """Rows of tables of absolute positions; with a padding row, positions begin behind it."""
    tables = (part for name, part in outline.named_modules() if name.rsplit(".", 1)[-1] == "position_embeddings")
    return [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if isinstance(table, nn.Embedding)
    ]


def _padding(tokenizer: PreTrainedTokenizerBase, architecture: Architecture) -> int:
    """The id by which some networks know padding."""
    for token_id in (architecture.config.pad_token_id, tokenizer.pad_token_id):
        if token_id is not None and 0 <= token_id < architecture.config.vocab_size:
            return int(token_id)
    return 0


def _not_run(checkpoint: Checkpoint, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())
    return UsageError(
        f"{checkpoint.pretrained}: the network must take token ids and give logits for every one, and fails with "
        f"{type(error).__name__}: {reason[:200]}; it cannot be evaluated."
    )

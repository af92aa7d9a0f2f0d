"""A checkpoint's tokenizer, and its special tokens: which id is the mask, which ones end a text."""

import logging
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..backbones.backbone import SpecialTokens
from ..errors import UsageError
from .families.family import Family
from .raw_config import RawConfig


logger = logging.getLogger(__name__)
MASK_TOKENS = ("<|mdm_mask|>", "<|mask|>", "<|MASK|>", "<[MASK]>")
"""Added tokens that are masks, for checkpoints that declare none."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def load_tokenizer(folder: Path, family: Family) -> PreTrainedTokenizerBase | None:
    """The checkpoint's tokenizer, with no code of the checkpoint run; None if the folder has no tokenizer files.

    Raises:
        UsageError: If there are tokenizer files and they cannot be read.
    """
    present = [name for name in TOKENIZER_FILES if (folder / name).exists()]
    if not present:
        return None
    try:
        tokenizer = family.load_tokenizer(folder)
    except BaseException as error:
        # The tokenizers library raises bare Exception for a damaged file, and less where its Rust code panics.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{folder}: the tokenizer files ({', '.join(present)}) must be those of a {family.name} checkpoint, got "
            f"{type(error).__name__}: {reason[:200]}; fetch them again."
        ) from None
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise UsageError(
            f"{folder}: the tokenizer must have a vocabulary, got only special tokens from {', '.join(present)}; fetch "
            f"the tokenizer files again."
        )
    return tokenizer


def special_tokens(
    raw: RawConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    vocab_size: int,
    family: Family,
    mask_token_id: int | None = None,
) -> SpecialTokens:
    """Work out the special tokens of a checkpoint.

    The mask is the first of: `mask_token_id`, the config's, the tokenizer's, an added token of `MASK_TOKENS`, the one
    of the family's published checkpoints, with a line. Without `mask_token_id`, config and tokenizer must not name
    different ones. An end of text that neither names is the family's too.

    Args:
        raw: The checkpoint's config.json.
        tokenizer: Its tokenizer, if it has one.
        vocab_size: Rows of the embedding; every id must be below.
        family: Knows the end of turn and what its published checkpoints leave out.
        mask_token_id: The user's choice of the mask.

    Raises:
        UsageError: If no mask or no end of text is known, if config and tokenizer disagree on the mask, if an id is
            out of range, or if the mask is also padding or an end of text.
    """
    where = "mask_token_id" if mask_token_id is not None else f"{raw.path}: mask_token_id"
    mask = next(_mask_candidates(raw, tokenizer, mask_token_id), None)
    if mask is None:
        mask = _by_default(raw, family, "mask_token_id", family.default_mask_token_id)
    if mask is None:
        raise UsageError(f"{where} must be known, got none from config or tokenizer; give mask_token_id=<id>.")
    ends = _unique(_config_ids(raw, "eos_token_id"), _tokenizer_id(tokenizer, "eos_token_id"))
    if not ends:
        end = _by_default(raw, family, "eos_token_id", family.default_end_token_id)
        ends = () if end is None else (end,)
    ends = _unique(ends, _added(tokenizer, family.turn_end))
    if not ends:
        raise UsageError(f"{raw.path}: eos_token_id must be known, got none from config or tokenizer; add it there.")
    paddings = _unique(_config_ids(raw, "pad_token_id"), _tokenizer_id(tokenizer, "pad_token_id"))
    named = {where: (mask,), f"{raw.path}: eos_token_id": ends, f"{raw.path}: pad_token_id": paddings}
    for name, ids in named.items():
        wrong = [token_id for token_id in ids if not 0 <= token_id < vocab_size]
        if wrong:
            raise UsageError(
                f"{name} must be below the {vocab_size} rows of the embedding, got {wrong[0]}; correct it, or the "
                f"vocabulary size in {raw.path.name}."
            )
    largest = max(tokenizer.get_vocab().values()) if tokenizer else 0
    if largest >= vocab_size:
        raise UsageError(
            f"{raw.path.parent}: the tokenizer's ids must be below the {vocab_size} rows of the embedding, got "
            f"{largest}; use the tokenizer that belongs to the weights."
        )
    for role, ids in (("end-of-text", ends), ("padding", paddings)):
        if mask in ids:
            raise UsageError(f"{where} must not be the {role} token, got {mask} for both; give mask_token_id=<id>.")
    if mask_token_id is None:
        _refuse_two_masks(raw, tokenizer)
    starts = _unique(_tokenizer_id(tokenizer, "bos_token_id") if tokenizer else _config_ids(raw, "bos_token_id"))
    return SpecialTokens(mask_token_id=mask, end_token_ids=ends, bos_token_id=next(iter(starts), None))


def _by_default(raw: RawConfig, family: Family, name: str, usual: int | None) -> int | None:
    if usual is not None:
        logger.warning(
            "%s: neither config nor tokenizer names %s; it is %d, as in the published %s checkpoints.",
            *(raw.path, name, usual, family.name),
        )
    return usual


def _refuse_two_masks(raw: RawConfig, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """UsageError if the tokenizer has a mask and the config another; decoding with the wrong one gives only noise."""
    configured = _config_ids(raw, "mask_token_id")
    declared = _tokenizer_id(tokenizer, "mask_token_id")
    known = declared or _unique(*(_added(tokenizer, token) for token in MASK_TOKENS))
    if configured and known and not set(configured) & set(known):
        named = ", ".join(f"{token_id} ({tokenizer.convert_ids_to_tokens(token_id)})" for token_id in known)  # type: ignore[union-attr]
        raise UsageError(
            f"{raw.path}: mask_token_id must be the tokenizer's mask, got {configured[0]} here and {named} in the "
            f"tokenizer; use the files that belong together, or give mask_token_id=<id>."
        )


def _mask_candidates(raw: RawConfig, tokenizer: PreTrainedTokenizerBase | None, explicit: int | None) -> Iterator[int]:
    if explicit is not None:
        yield explicit
    yield from _config_ids(raw, "mask_token_id")
    yield from _tokenizer_id(tokenizer, "mask_token_id")
    for token in MASK_TOKENS:
        yield from _added(tokenizer, token)


def _config_ids(raw: RawConfig, name: str) -> tuple[int, ...]:
    value = raw.values.get(name)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if any(type(token_id) is not int for token_id in ids):
        raise UsageError(f"{raw.path}: {name} must be a token id, got {value!r}; correct it there.")
    return tuple(ids)


def _tokenizer_id(tokenizer: PreTrainedTokenizerBase | None, name: str) -> tuple[int, ...]:
    token_id = None if tokenizer is None else getattr(tokenizer, name)
    return () if token_id is None else (token_id,)


def _added(tokenizer: PreTrainedTokenizerBase | None, token: str) -> tuple[int, ...]:
    token_id = None if tokenizer is None else tokenizer.get_added_vocab().get(token)
    return () if token_id is None else (token_id,)


def _unique(*groups: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(token_id for group in groups for token_id in group))

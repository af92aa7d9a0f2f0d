"""What a tokenizer puts around a text, so that the network can do it instead: around canvases, not around prompts."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from ..backbones.encoder import Frame
from ..errors import UsageError


TRIAL_TEXT = "1"
"""Any text that has tokens; unknown ones will do."""


def frame_of(tokenizer: PreTrainedTokenizerBase, source: str) -> Frame:
    """The special tokens before and behind a text.

    Raises:
        UsageError: If the tokenizer changes the text's own tokens; names the checkpoint `source`.
    """
    own = tokenizer.encode(TRIAL_TEXT, add_special_tokens=False)
    whole = tokenizer.encode(TRIAL_TEXT, add_special_tokens=True)
    for start in range(len(whole) - len(own) + 1 if own else 0):
        if whole[start : start + len(own)] == own:
            return Frame(tuple(whole[:start]), tuple(whole[start + len(own) :]))
    raise UsageError(
        f"{source}: the tokenizer must put special tokens around a text and leave its own as they are, got {whole} "
        f"for {own}; fetch the tokenizer files again."
    )


def take_off_frame(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer add no special tokens to any text, in place."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.post_processor = None
    else:  # the few that are written in Python
        tokenizer.build_inputs_with_special_tokens = _first_alone


def _first_alone(token_ids: list[int], more: list[int] | None = None) -> list[int]:
    return token_ids + (more or [])

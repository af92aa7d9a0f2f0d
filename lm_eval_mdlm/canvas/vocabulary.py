"""Which tokens a tokenizer has, in short."""

import hashlib
import json
from typing import Any

from ..errors import UsageError
from .tokenizers import once_per_tokenizer


@once_per_tokenizer(most=4)
def vocabulary_fingerprint(tokenizer: Any, purpose: str) -> str:
    """32 hexadecimal digits from all tokens and their ids.

    Args:
        tokenizer: With `get_vocab()`, as every transformers tokenizer has it.
        purpose: What needs it, for the message.

    Raises:
        UsageError: If the tokenizer does not say what tokens it has.
    """
    tokens = getattr(tokenizer, "get_vocab", None)
    if tokens is None:
        raise UsageError(
            f"{purpose} needs a tokenizer that lists its tokens (get_vocab), got a {type(tokenizer).__name__}; use the "
            f"checkpoint's own."
        )
    content = json.dumps(sorted(tokens().items()))
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

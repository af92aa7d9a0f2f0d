"""Options of the command line in the harness's spelling."""

import json
from collections.abc import Sequence
from typing import Any

from ..errors import UsageError


def options_of(flag: str, texts: Sequence[str]) -> dict[str, Any]:
    """From `name=value,name=value` or a JSON object, several of which are taken together, later ones winning.

    Raises:
        UsageError: For a text that is neither.
    """
    options: dict[str, Any] = {}
    for text in texts:
        options |= _options(flag, text.strip())
    return options


def _options(flag: str, text: str) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"{flag} is not valid JSON ({error.msg} at column {error.colno}); correct it.") from None
        except (ValueError, RecursionError) as error:  # too many digits, or too many brackets
            raise UsageError(f"{flag} is JSON that cannot be read ({error}); correct it.") from None
        return dict(found)
    for piece in filter(None, text.split(",")):
        if "=" not in piece:
            raise UsageError(
                f"{flag} must be name=value,name=value or a JSON object, got {piece!r}; values with commas need JSON."
            )
    from lm_eval.utils import simple_parse_args_string  # here, so that JSON is read where lm_eval is not installed

    return dict(simple_parse_args_string(text))

"""What a record of a run must not tell: keys of services, and whose home folder something lies in."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


HIDDEN = "***"
"""Takes the place of a secret."""
LEAST_LENGTH = 8
"""Characters of a variable of the environment that is looked for: shorter ones would be found by chance."""
_NAMES = r"(?:(?:\w+_)?(?:access|auth|bearer|hf|hub|session)_token|token|\w*api_?key|\w*secret(?:_key)?|\w*password)"
_SECRET_NAME = re.compile(rf"{_NAMES}|authorization", re.IGNORECASE)
_ASSIGNED = re.compile(rf"(?<!\w)({_NAMES}=)[^\s,&'\"]+", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"(?:TOKEN|API_?KEY|ACCESS_KEY|SECRET|SECRET_KEY|PASSWORD)$")
_KEYS = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[\w-]{20,}|\bgh[opsur]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{20,}|\bAKIA[0-9A-Z]{16}\b"
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_HOME = re.compile(
    r"(?<![\w./\\~-])(?:/(?:var/)?home/[^/\s,'\"]+|/Users/[^/\s,'\"]+|/root|[A-Za-z]:\\Users\\[^\\\s,'\"]+)(?![\w.-])"
)


def public(value: Any) -> Any:
    """A plain value as a record may hold it: `HIDDEN` for keys of services, and `~` for home folders.

    Hidden are: texts under a name such as token or api_key; keys of Hugging Face, OpenAI, GitHub and AWS by their form;
    what stands before the @ of an address; and the values of variables of the environment whose names end in TOKEN,
    API_KEY, SECRET or PASSWORD, wherever they stand. Lists and mappings are gone through; nothing is changed in place.
    """
    return _public(value, tuple(_own_secrets()))


def _public(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _text(value, secrets)
    if isinstance(value, Mapping):
        return {
            _public(name, secrets): HIDDEN if _is_secret(name, own) else _public(own, secrets)
            for name, own in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_public(own, secrets) for own in value) if type(value) in (list, tuple) else value
    return value


def _is_secret(name: Any, value: Any) -> bool:
    # `token=True` of a model means the one that is stored, and tells nothing.
    named = isinstance(name, str) and _SECRET_NAME.fullmatch(name) is not None
    return named and isinstance(value, str) and value not in ("", "True", "False")


def _text(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _IN_ADDRESS.sub(HIDDEN, _KEYS.sub(HIDDEN, _ASSIGNED.sub(rf"\g<1>{HIDDEN}", text)))
    return _HOME.sub("~", _without_own_home(text))


def _without_own_home(text: str) -> str:
    home = os.path.expanduser("~").rstrip(os.sep)
    if not os.path.isabs(home) or len(Path(home).parts) < 2:  # of a user without one it is the root of all paths
        return text
    return re.sub(rf"(?<![\w./\\~-]){re.escape(home)}(?![\w.-])", "~", text)


def _own_secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name.upper()) and len(value) >= LEAST_LENGTH:
            yield value

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
_NAMES = (
    r"(?:(?:[\w-]+[_-])?(?:access|auth|bearer|hf|hub|session)[_-]?token|token|[\w-]*api[_-]?key|"
    r"[\w-]*secret(?:[_-]?key)?|[\w-]*passw(?:or)?d|authorization)"
)
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
_QUOTE = r"\\{0,8}['\"]"
_ASSIGNED = re.compile(
    # `name=`, the option `--name `, and a name in quotes before a colon. A bare `token:` may be of any sentence.
    rf"((?<!\w){_NAMES}=|(?<![\w-])--{_NAMES}\s+(?!-)|(?P<mark>{_QUOTE}){_NAMES}(?P=mark)\s*:\s*"
    rf"|(?<![\w-])authorization:\s*)(?!(?:true|false|none|null)\b)"
    rf"(?:\[[^\]]*\]?|\{{[^}}]*\}}?|(?P<quote>{_QUOTE}).*?(?:(?<!\\)(?P=quote)|$)"
    rf"|(?:(?:Bearer|Basic)\s+)?[^\s,&'\"}}]+)",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_VARIABLE = re.compile(r"(?:TOKEN|API_?KEY|ACCESS_KEY|SECRET|SECRET_KEY|PASSWORD)$")
_KEYS = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[\w-]{20,}|\bgh[opsur]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{20,}|\bAKIA[0-9A-Z]{16}\b"
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s]+(?=@)")
_BEGINS_PATH = r"(?:(?<=://)|(?<![\w./\\~-]))"
_HOME = re.compile(
    rf"{_BEGINS_PATH}(?:/(?:var/)?home/[^/\s,'\"]+|/Users/[^/\s,'\"]+|/root|[A-Za-z]:\\Users\\[^\\\s,'\"]+)(?![\w.-])"
)


def public(value: Any) -> Any:
    """A plain value as a record may hold it: `HIDDEN` for keys of services, and `~` for home folders.

    Hidden are: what stands under a name such as token or api_key, in a mapping or in a text; keys of Hugging Face,
    OpenAI, GitHub and AWS by their form; what stands before the @ of an address; and the values of variables of the
    environment whose names end in TOKEN, API_KEY, SECRET or PASSWORD, wherever they stand. Lists and mappings are gone
    through; nothing is changed in place.
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
    return named and value is not None and not isinstance(value, bool) and value not in ("", "True", "False")


def _text(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _IN_ADDRESS.sub(HIDDEN, _KEYS.sub(HIDDEN, _ASSIGNED.sub(_hidden_value, text)))
    return _HOME.sub("~", _without_own_home(text))


def _hidden_value(found: re.Match[str]) -> str:
    quote = found["quote"] or ""
    return f"{found[1]}{quote}{HIDDEN}{quote}"


def _without_own_home(text: str) -> str:
    home = os.path.expanduser("~").rstrip(os.sep)
    if not os.path.isabs(home) or len(Path(home).parts) < 2:  # of a user without one it is the root of all paths
        return text
    return re.sub(rf"{_BEGINS_PATH}{re.escape(home)}(?![\w.-])", "~", text)


def _own_secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name.upper()) and len(value) >= LEAST_LENGTH:
            yield value

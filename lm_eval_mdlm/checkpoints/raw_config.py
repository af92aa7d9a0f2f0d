"""A checkpoint's config.json, read option by option so that none is guessed and none is passed over."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, as_a_name
from .inside import read_object


HARMLESS = frozenset(
    {
        *("_name_or_path", "architectures", "auto_map", "model_type", "transformers_version", "torch_dtype", "dtype"),
        *("_attn_implementation", "_attn_implementation_autoset", "tokenizer_class", "use_cache"),
        *("attention_dropout", "initializer_range", "quantization_config"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id"),
    }
)
"""Options of any family that change no logit, or that are read elsewhere (the special tokens, quantised weights)."""


MOST = 2**24
"""Of widths, tokens and positions: beyond that of any network, and small enough to be worked with unseen."""
MOST_LAYERS = 1000
MOST_OF_NUMBERS = 1e30


@dataclass(frozen=True, kw_only=True)
class RawConfig:
    """The options of one config.json as written there; every reader refuses what it cannot use."""

    path: Path
    """The file, for messages."""
    values: Mapping[str, Any]
    """Its entries."""

    @classmethod
    def read(cls, folder: Path) -> "RawConfig":
        """Read `folder`/config.json; UsageError if it is missing or is not one JSON object."""
        path = folder / "config.json"
        try:
            values = read_object(path)
        except FileNotFoundError:
            raise UsageError(
                f"{path} does not exist: a checkpoint needs one; point pretrained at a folder or hub id that has it."
            ) from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} must be a JSON object, got: {error}; fetch the file again.") from None
        return cls(path=path, values=values)

    def integer(self, name: str, default: int | None = None, *, most: int = MOST) -> int:
        """A whole number from 1 to `most`; `default` stands for a missing or null entry, else it is required."""
        value = self._value(name, default)
        if type(value) is not int or not 1 <= value <= most:
            limit = f" of at most {most}" if type(value) is int and value > most else ""
            raise self.refusal(name, f"must be a positive whole number{limit}")
        return value

    def number(self, name: str) -> float:
        """A positive number."""
        value = self._value(name, None)
        if type(value) not in (int, float) or not 0 < value <= MOST_OF_NUMBERS:
            raise self.refusal(name, "must be a positive number")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.refusal(name, "must be true or false")
        return value

    def accept(self, rules: Mapping[str, tuple[Any, ...]]) -> None:
        """UsageError unless each option has one of its accepted values; None among them lets it be missing or null."""
        for name, accepted in rules.items():
            if self.values.get(name) not in accepted:
                shown = " or ".join(json.dumps(choice) for choice in accepted)
                raise self.refusal(name, f"must be {shown} for this family")

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """UsageError for the first option that is neither in `known` nor harmless, unless it is null or false."""
        known = HARMLESS.union(known)
        for name, value in self.values.items():
            if name not in known and value is not None and value is not False:
                raise self.refusal(name, "is not an option that this family is known to have")

    def refusal(self, name: str, rule: str) -> UsageError:
        """The error for one option."""
        got = json.dumps(self.values.get(name)) if name in self.values else "nothing"
        got = got if len(got) <= 80 else got[:77] + "..."
        shown = as_a_name(name)
        return UsageError(f"{self.path}: {shown} {rule}, got {got}; this variant of the network is not supported.")

    def _value(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value

"""What a family of checkpoints is: how to recognise one, and which native network it becomes."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..raw_config import RawConfig


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The native network that a checkpoint is loaded into."""

    network: Any
    """A causal-LM class of transformers whose layers take precomputed rotary embeddings; of an encoder, a masked-LM
    class."""
    config: PreTrainedConfig
    """Its configuration, translated from the checkpoint's."""
    beside: str | None = None
    """Native names of stored weights that the network has no use for: a regular expression, found anywhere in one.
    They are named in a line; without this, any such weight is an error."""
    key_mapping: Mapping[str, str] = field(default_factory=dict)
    """Checkpoint weight names to native ones: regular expressions anchored at the start, with at most one group."""
    float32_rope: bool = False
    """Whether queries and keys are rotated in float32 whatever the dtype of the weights."""


class Family(abc.ABC):
    """One family of checkpoints; stateless. A new one joins by an entry in `families.FAMILIES`."""

    name: str
    """Its name in results and messages."""
    members: str
    """The published checkpoints it stands for, for messages."""
    encoder: bool = False
    """Whether its networks are masked LMs of transformers, run by their own forward (`checkpoints/encoders.py`)."""
    shift: bool
    """Whether logit row i - 1 predicts token i."""
    turn_end: str
    """The token that ends a turn of a chat."""

    @abc.abstractmethod
    def matches(self, raw: RawConfig) -> bool:
        """Whether a config.json is of this family."""

    @abc.abstractmethod
    def architecture(self, raw: RawConfig) -> Architecture:
        """Translate a config.json; UsageError for an option that is not mapped."""

    @abc.abstractmethod
    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        """The tokenizer in `folder`, without running any code found there."""

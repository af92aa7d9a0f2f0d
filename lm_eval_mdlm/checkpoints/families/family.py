"""What a family of checkpoints is: how to recognise one, and which native network it becomes."""

import abc
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..raw_config import RawConfig
from .measure import refuse_absurd_decoder, refuse_absurd_encoder
from .stored_form import StoredForm


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
    stored_forms: tuple[StoredForm, ...] = ()
    """How weights are stored in other pieces than the network holds them in; names as after `key_mapping`."""
    float32_rope: bool = False
    """Whether queries and keys are rotated in float32 whatever the dtype of the weights."""
    has_experts: bool = False
    """Whether some layers are mixtures of experts."""


class Family(abc.ABC):
    """One family of checkpoints; stateless. A new one joins by an entry in `known.FAMILIES`."""

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
    block_causal: bool = False
    """Whether a token sees its own and earlier blocks of a grid, and no later one."""
    usual_grid_block: int | None = None
    """Positions of a grid block in all of its published checkpoints; None where they differ."""
    default_mask_token_id: int | None = None
    """The mask of its published checkpoints, for those that name none in config or tokenizer."""
    default_end_token_id: int | None = None
    """The end of text likewise."""

    @property
    def key(self) -> str:
        """What the option `family` calls it: its name in small letters, digits and underscores."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower())

    @abc.abstractmethod
    def matches(self, raw: RawConfig) -> bool:
        """Whether a config.json is of this family."""

    def architecture(self, raw: RawConfig) -> Architecture:
        """Translate a config.json; UsageError for an option that is not mapped, or sizes beyond all measure."""
        translated = self._translated(raw)
        (refuse_absurd_encoder if self.encoder else refuse_absurd_decoder)(raw, translated.config)
        return translated

    @abc.abstractmethod
    def _translated(self, raw: RawConfig) -> Architecture:
        """As `architecture`, but for sizes that are absurd only together."""

    @abc.abstractmethod
    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        """The tokenizer in `folder`, without running any code found there."""

    def hub_name(self, native: str) -> str:
        """What its published checkpoints call a weight of the native network: the same, unless overridden."""
        return native

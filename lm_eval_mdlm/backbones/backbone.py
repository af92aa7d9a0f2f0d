"""What the engine needs of a network, and nothing of how a checkpoint is laid out."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class CanvasPart:
    """Tokens of one canvas that a pass recomputes, beside keys and values that earlier passes left in its slot."""

    token_ids: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]
    """Of these tokens in their canvas, ascending."""
    wanted: Int[Tensor, " r"]
    """Index into `token_ids` of the tokens to predict; where a family reads a token from the state before it, that
    one must be there too."""
    slot: Any
    """From `Backbone.reserve`."""


@runtime_checkable
class Tokenizer(Protocol):
    """The two calls that decoding needs; every transformers tokenizer has them."""

    def __hash__(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Ids that decoding has to know."""

    mask_token_id: int
    """The mask."""
    end_token_ids: tuple[int, ...]
    """End of text, then the family's end of turn where the tokenizer has one."""
    bos_token_id: int | None
    """Start of text; None where there is none."""


class Backbone(abc.ABC):
    """A bidirectional or block-causal network over packed canvases.

    Canvases are laid end to end without padding: `token_ids` has T tokens, `lengths` sums to T, and no
    canvas sees another. A pass is split in two so that the vocabulary is only ever touched where a
    distribution is wanted: `states` runs the body and keeps R rows, `head` turns rows into logits.
    """

    mask_token_id: int
    """Id of the mask token."""
    vocab_size: int
    """V, the number of logits per row; may exceed the tokenizer's vocabulary."""
    max_length: int
    """Longest canvas in tokens."""
    end_token_ids: tuple[int, ...]
    """Tokens that end the text: end of text, and the family's end of turn."""
    device: torch.device
    """Where results are; `token_ids` and `wanted` come from the host."""
    dtype: torch.dtype
    """Of states and logits."""
    bytes_per_token: int
    """Memory that a pass takes per token beside the weights, at its peak; the head and its logits are not in it."""
    tokenizer: Tokenizer | None
    """The checkpoint's tokenizer; None where the checkpoint has none."""
    description: Mapping[str, Any]
    """What identifies the network in a record of results."""
    memory_bytes_per_token: int | None = None
    """Memory that keys and values kept between passes take per token of a canvas; None if this backbone keeps none."""
    keeps_none_because: str = (
        "needs the whole network on one device, and this one is spread; leave out device_map, or cache."
    )
    """The rest of a sentence that begins with the option, for networks that keep none."""
    lookback: int = 0
    """1 where a token is predicted from the state before its own, else 0."""
    grid_block: int | None = None
    """Positions of a grid block, for a block-causal network: a token sees its own and earlier blocks of the grid that
    begins at its canvas's first token, and no later one. None where every token sees its whole canvas."""
    canvas_prefix: tuple[int, ...] = ()
    """Tokens that the network itself puts before every canvas, as [CLS]. They are no positions of the canvas, and not
    counted in `max_length`; a canvas after them may begin with its region."""
    canvas_suffix: tuple[int, ...] = ()
    """Tokens that it puts behind every canvas likewise, as [SEP]."""

    @abc.abstractmethod
    def states(
        self, token_ids: Int[Tensor, " T"], lengths: Sequence[int], wanted: Int[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        """One forward pass: the states from which the tokens at flat positions `wanted` are predicted.

        A family whose logit row i - 1 predicts token i undoes that shift here.
        """

    @abc.abstractmethod
    def head(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        """Logits of the given states, in `dtype`."""

    @torch.inference_mode()
    def logits(self, sequences: Sequence[Int[Tensor, " _"]]) -> list[Float[Tensor, "_ V"]]:
        """Logits of every position of every sequence; row i is the distribution of token i."""
        lengths = [len(sequence) for sequence in sequences]
        token_ids = torch.cat([sequence.cpu() for sequence in sequences])
        everywhere = torch.arange(len(token_ids))
        return list(torch.split(self.head(self.states(token_ids, lengths, everywhere)), lengths))

    def reserve(self, length: int) -> Any:
        """A slot for keys and values of a canvas, given back when nothing refers to it any more."""
        raise NotImplementedError

    def give_up(self) -> bool:
        """Free all memory that only saves time, such as recordings and unused slots; whether there was any.

        Called when memory has run out; results do not change.
        """
        return False

    def partial_states(self, parts: Sequence[CanvasPart]) -> Float[Tensor, "R D"]:
        """One forward pass over parts of canvases: states of the wanted tokens, part by part.

        Keys and values of the given tokens are written to their slots. A part that holds its whole canvas fills a
        slot, and gives what `states` would.
        """
        raise NotImplementedError

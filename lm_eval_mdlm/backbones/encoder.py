"""BERT-like networks as denoisers: their own forward over rectangles of canvases, padded on the right."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from .backbone import Backbone, SpecialTokens, Tokenizer
from .grouping import Group, Grouping
from .invariance import MatrixProducts
from .masked_lm import masked_lm_of
from .stable_functions import stable_functions


TRIAL_TOKENS = 23
"""Of the pass by which it is found out how the network can be run."""


class Frame(NamedTuple):
    """What stands around a text in the inputs that a network was trained on, as [CLS] and [SEP]."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


class EncoderBackbone(Backbone):
    """A masked-LM network of transformers, run by its own forward.

    The network sees every canvas between `canvas_prefix` and `canvas_suffix`, which are no positions of the canvas.
    """

    keeps_none_because = "needs keys and values of earlier passes, and an encoder keeps none; leave it out."
    family: str
    """Name of the family of checkpoints."""
    grouping: Grouping
    """Which canvases run together; changes how fast passes are, and results by no more than rounding."""

    def __init__(
        self,
        network: Any,
        *,
        family: str,
        tokens: SpecialTokens,
        tokenizer: Tokenizer | None,
        frame: Frame,
        longest: int,
        pad_token_id: int,
        device: torch.device,
        description: Mapping[str, Any],
    ) -> None:
        """Wrap `network`, whose inputs have at most `longest` tokens, those of `frame` included."""
        self.mask_token_id, self.end_token_ids = tokens.mask_token_id, tokens.end_token_ids
        self.tokenizer, self.family = tokenizer, family
        self.canvas_prefix, self.canvas_suffix = frame
        self._longest, self.max_length = longest, longest - len(frame.prefix) - len(frame.suffix)
        self.device, self.dtype = device, network.dtype
        self.grouping = Grouping(alone=True)
        self._pad_token_id = pad_token_id
        self._products = MatrixProducts.on(device, self.dtype)
        # Padding at either end would make transformers ask for a mask.
        trial = torch.tensor([[tokens.mask_token_id, *range(TRIAL_TOKENS), tokens.mask_token_id]])
        self._network = masked_lm_of(network, trial.to(device))
        self.description = {**description, "body": self._network.name}
        states, logits = self._shapes()
        self.vocab_size = logits
        self.bytes_per_token = bytes_per_token(network, states, longest)

    @torch.inference_mode()
    def states(
        self, token_ids: Int[Tensor, " T"], lengths: Sequence[int], wanted: Int[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        """See `Backbone.states`."""
        assert sum(lengths) == len(token_ids), f"{sum(lengths)} tokens in {list(lengths)}, got {len(token_ids)}"
        before, behind = (torch.tensor(part, dtype=torch.long) for part in (self.canvas_prefix, self.canvas_suffix))
        inputs = [torch.cat([before, canvas, behind]) for canvas in torch.split(token_ids, list(lengths))]
        starts = torch.tensor([0, *accumulate(lengths)])
        canvas_of = torch.searchsorted(starts, wanted.contiguous(), right=True) - 1
        columns = wanted - starts[canvas_of] + len(before)
        parts, rows = [], []
        for group in self.grouping.groups([len(ids) for ids in inputs], self._longest):
            row_of = torch.full((len(inputs),), -1)
            row_of[group.members] = torch.arange(len(group.members))
            own = (row_of[canvas_of] >= 0).nonzero()[:, 0]
            states = self._run(group, [inputs[place] for place in group.members])
            parts.append(states[row_of[canvas_of[own]].to(self.device), columns[own].to(self.device)])
            rows.append(own)
        return torch.cat(parts)[torch.cat(rows).argsort().to(self.device)]

    @torch.inference_mode()
    def head(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        """See `Backbone.head`."""
        # On a CPU in parts of one size, since several threads share products in a way that depends on their size.
        size = self._products.minimum_rows if self.device.type == "cpu" else max(len(states), 1)
        parts = [self._logits(part) for part in torch.split(states, size)]
        return torch.cat(parts).to(self.device)

    def _logits(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        filled = pad(states, (0, 0, 0, self._products.padded(len(states)) - len(states)))
        with self._products.in_fixed_order(), stable_functions(self.device):
            return self._network.logits(filled)[: len(states)]

    def _run(self, group: Group, inputs: Sequence[Int[Tensor, " _"]]) -> Float[Tensor, "B L D"]:
        """States of one pass; the first canvas fills the rectangle up to as many rows as products need."""
        length, padded = group.shape
        needed = 1 if self.grouping.alone else math.ceil(self._products.minimum_rows / length)
        num_rows = max(len(inputs), needed)
        token_ids = torch.full((num_rows, length), self._pad_token_id)
        is_token = torch.zeros(num_rows, length, dtype=torch.bool)
        for row in range(num_rows):
            ids = inputs[row if row < len(inputs) else 0]
            token_ids[row, : len(ids)], is_token[row, : len(ids)] = ids, True
        return self._forward(token_ids, is_token if padded else None)

    def _forward(self, token_ids: Int[Tensor, "B L"], is_token: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B L D"]:
        mask = None if is_token is None else is_token.long().to(self.device)
        with self._products.in_fixed_order(), stable_functions(self.device):
            return self._network.states(token_ids.to(self.device), mask).to(self.device)

    def _shapes(self) -> tuple[int, int]:
        """Width of states, and number of logits."""
        states = self.states(torch.zeros(1, dtype=torch.long), [1], torch.zeros(1, dtype=torch.long))
        return states.shape[1], self.head(states).shape[1]


def bytes_per_token(network: Any, width: int, longest: int) -> int:
    """Activations that one token of a pass needs at the peak, with a margin of 2.

    Args:
        network: The network.
        width: Of what is kept of a token, such as the hidden size.
        longest: Tokens of the longest input: without an attention kernel a token has scores with all others.
    """
    linear = (module for module in network.base_model.modules() if isinstance(module, torch.nn.Linear))
    widest = max((module.out_features for module in linear), default=width)
    kernel = network.config._attn_implementation != "eager"
    scores = 0 if kernel else 2 * longest * int(getattr(network.config, "num_attention_heads", 1))
    return int(2 * network.dtype.itemsize * (3 * width + 3 * widest + scores))

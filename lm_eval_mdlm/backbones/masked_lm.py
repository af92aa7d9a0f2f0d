"""A masked-LM network of transformers, split into body and head where it can be.

Every class has its own head, inline in its forward as often as not. Instead of knowing them, the network's own forward
is run with a body that returns given states; whether that gives the network's logits is found out by trying.
"""

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput


TOLERANCE = 0.05
"""Largest difference, relative to the largest logit, that other shapes of the same products can cause by rounding."""


@runtime_checkable
class MaskedLM(Protocol):
    """Runs rectangles of canvases."""

    name: str
    """What the record of results calls this way of running."""

    def states(self, token_ids: Int[Tensor, "B L"], mask: Int[Tensor, "B L"] | None) -> Float[Tensor, "B L D"]:
        """What is kept of every position."""
        ...

    def logits(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        """Logits of kept states."""
        ...


class WholeNetwork(MaskedLM):
    """Keeps the logits of every position themselves: more memory, and right for any network."""

    name = "network"

    def __init__(self, network: Any) -> None:
        self._network = network

    def states(self, token_ids: Int[Tensor, "B L"], mask: Int[Tensor, "B L"] | None) -> Float[Tensor, "B L D"]:
        logits: Tensor = self._network(input_ids=token_ids, attention_mask=mask).logits
        return logits

    def logits(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        return states


class BodyAndHead(MaskedLM):
    """Keeps the body's states, so that the vocabulary is touched only where a distribution is wanted."""

    name = "body and head"

    def __init__(self, network: Any, token_id: int) -> None:
        """Split `network`, which stays as it is; `token_id` stands for tokens that nothing looks at."""
        self._token_id = token_id
        self._body = network.base_model
        # Copies of two shells that share all weights: the one calls the other where it would call the body.
        self._given, self._head = copy.copy(self._body), copy.copy(network)
        parts = {name: self._given if part is self._body else part for name, part in network._modules.items()}
        self._head.__dict__["_modules"] = parts

    def states(self, token_ids: Int[Tensor, "B L"], mask: Int[Tensor, "B L"] | None) -> Float[Tensor, "B L D"]:
        states: Tensor = self._body(input_ids=token_ids, attention_mask=mask)[0]
        return states

    def logits(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        given = BaseModelOutput(last_hidden_state=states[None])
        self._given.__dict__["forward"] = lambda *args, **kwargs: given
        try:
            ignored = torch.full((1, len(states)), self._token_id, device=states.device)
            logits: Tensor = self._head(input_ids=ignored).logits
        finally:
            del self._given.__dict__["forward"]
        return logits[0]


@torch.inference_mode()
def masked_lm_of(network: Any, token_ids: Int[Tensor, "1 L"]) -> MaskedLM:
    """The network split in two, if its logits at some tokens then come out as before, in any order; else whole."""
    whole = WholeNetwork(network)
    if network.base_model is network:
        return whole
    expected = whole.states(token_ids, None)[0].float()
    try:
        split = BodyAndHead(network, int(token_ids[0, 0]))
        # Backwards, so that a head which looks at neighbours shows.
        found = split.logits(split.states(token_ids, None)[0].flip(0)).flip(0).float()
    except Exception:  # whatever a head does that looks at more than states
        return whole
    same = found.shape == expected.shape and bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
    return split if same else whole

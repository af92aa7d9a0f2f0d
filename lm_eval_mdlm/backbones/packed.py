"""A native network run over packed canvases, layer by layer."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from .backbone import Backbone, CanvasPart, SpecialTokens, Tokenizer
from .body import body_of, bytes_per_token, is_spread, memory_shape
from .invariance import MatrixProducts
from .layout import Layout
from .memory import KeyValueMemory, Slot, bytes_per_position
from .rotary import RotaryTable


class PackedBackbone(Backbone):
    """A causal-LM network of transformers used as a bidirectional denoiser.

    Its body is run over packed canvases, and its head on the wanted rows only.
    """

    bos_token_id: int | None
    """Start of text; None where the checkpoint has none."""
    family: str
    """Name of the family of checkpoints."""

    def __init__(
        self,
        network: Any,
        *,
        family: str,
        tokens: SpecialTokens,
        tokenizer: Tokenizer | None,
        shift: bool,
        float32_rope: bool,
        device: torch.device,
        description: Mapping[str, Any],
        grid_block: int | None = None,
    ) -> None:
        """Wrap `network`, which has `model` (embed_tokens, layers, norm, rotary_emb) and `lm_head`.

        With `shift`, row i - 1 predicts token i. With `float32_rope`, queries and keys are rotated in float32.
        With `grid_block`, tokens do not see beyond the end of their grid block.
        """
        self.mask_token_id, self.end_token_ids = tokens.mask_token_id, tokens.end_token_ids
        self.bos_token_id, self.tokenizer = tokens.bos_token_id, tokenizer
        self.vocab_size, self.max_length = network.config.vocab_size, network.config.max_position_embeddings
        self.device, self.dtype = device, network.dtype
        self.family, self.grid_block = family, grid_block
        self._lm_head, self.lookback = network.lm_head, int(shift)
        table = RotaryTable(
            network.model.rotary_emb, dtype=torch.float32 if float32_rope else self.dtype, device=device
        )
        self._products = MatrixProducts.on(device, self.dtype)
        self._body = body_of(network, table, self._products)
        self.description = {**description, "body": self._body.name}
        self.bytes_per_token = bytes_per_token(network.config, self.dtype)
        self._memory = None
        if not is_spread(network, device):
            self._memory = KeyValueMemory(**memory_shape(network), device=device)
            self.memory_bytes_per_token = bytes_per_position(**memory_shape(network))

    @torch.inference_mode()
    def states(
        self, token_ids: Int[Tensor, " T"], lengths: Sequence[int], wanted: Int[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        """See `Backbone.states`. Extra tokens fill a small pass up; they make a canvas of their own."""
        assert sum(lengths) == len(token_ids), f"{sum(lengths)} tokens in {list(lengths)}, got {len(token_ids)}"
        num_tokens = self._body.padded(self._products.padded(len(token_ids)))
        return self._pass(token_ids, Layout.of(lengths, num_tokens, self.grid_block), wanted)

    def reserve(self, length: int) -> Slot:
        """See `Backbone.reserve`."""
        assert self._memory is not None, "`memory_bytes_per_token` says that there is none"
        return self._memory.reserve(length)

    def give_up(self) -> bool:
        """See `Backbone.give_up`."""
        # Recordings first: what they hold may be what a smaller memory for keys and values is copied into.
        freed = self._body.give_up()
        return (self._memory is not None and self._memory.trim()) or freed

    @torch.inference_mode()
    def partial_states(self, parts: Sequence[CanvasPart]) -> Float[Tensor, "R D"]:
        """See `Backbone.partial_states`."""
        assert self._memory is not None, "slots come from `reserve`"
        order = sorted(range(len(parts)), key=lambda i: parts[i].slot.start)
        counts = [len(parts[i].token_ids) for i in order]
        first_token = dict(zip(order, [0, *accumulate(counts)], strict=False))
        num_tokens = self._body.padded(self._products.padded(sum(counts)))
        layout = Layout.of_parts(
            self._memory,
            [parts[i].slot for i in order],
            [parts[i].positions for i in order],
            num_tokens,
            self.grid_block,
        )
        token_ids = torch.cat([parts[i].token_ids for i in order])
        wanted = torch.cat([part.wanted + first_token[i] for i, part in enumerate(parts)])
        return self._pass(token_ids, layout, wanted)

    def _pass(self, token_ids: Int[Tensor, " T"], layout: Layout, wanted: Int[Tensor, " R"]) -> Float[Tensor, "R D"]:
        if self.lookback:
            # The first token of a canvas has no row before it and is read from its own.
            wanted = wanted - (layout.position_ids[wanted] > 0).to(wanted.dtype)
        missing = len(layout.position_ids) - len(token_ids)
        hidden = self._body(pad(token_ids, (0, missing), value=self.mask_token_id), layout, wanted)
        return hidden.to(self.device)

    @torch.inference_mode()
    def head(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        """See `Backbone.head`."""
        filled = pad(states, (0, 0, 0, self._products.padded(len(states)) - len(states)))
        with self._products.in_fixed_order():
            logits: Tensor = self._lm_head(filled)
        return logits[: len(states)].to(self.device)

"""A native network run over packed canvases, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from .backbone import Backbone, Tokenizer
from .invariance import padded_rows
from .layout import Layout
from .rotary import RotaryTable
from .tokenizer import SpecialTokens


class PackedBackbone(Backbone):
    """A causal-LM network of transformers used as a bidirectional denoiser.

    Its layers are called one by one with one of this package's attention functions; the network's own forward,
    which would build masks and compute logits everywhere, is never used.
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
    ) -> None:
        """Wrap `network`, which has `model` (embed_tokens, layers, norm, rotary_emb) and `lm_head`.

        With `shift`, row i - 1 predicts token i. With `float32_rope`, queries and keys are rotated in float32.
        """
        self.mask_token_id, self.end_token_ids = tokens.mask_token_id, tokens.end_token_ids
        self.bos_token_id, self.tokenizer = tokens.bos_token_id, tokenizer
        self.vocab_size, self.max_length = network.config.vocab_size, network.config.max_position_embeddings
        self.device, self.dtype = device, network.dtype
        self.family, self.description = family, description
        self._body, self._lm_head, self._shift = network.model, network.lm_head, shift
        self._rotary = RotaryTable(
            network.model.rotary_emb, dtype=torch.float32 if float32_rope else self.dtype, device=device
        )

    @torch.inference_mode()
    def states(
        self, token_ids: Int[Tensor, " T"], lengths: Sequence[int], wanted: Int[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        """See `Backbone.states`. Extra tokens fill a small pass up; they make a canvas of their own."""
        assert sum(lengths) == len(token_ids), f"{sum(lengths)} tokens in {list(lengths)}, got {len(token_ids)}"
        layout = Layout.of(lengths, self.device)
        hidden = self._layers(pad(token_ids, (0, layout.num_padding), value=self.mask_token_id), layout)
        if self._shift:
            # The first token of a canvas has no row before it and is read from its own.
            wanted = wanted - (layout.position_ids[wanted] > 0).to(wanted.dtype)
        return hidden[wanted.to(hidden.device)].to(self.device)

    @torch.inference_mode()
    def head(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        """See `Backbone.head`."""
        num_rows = len(states)
        filled = pad(states, (0, 0, 0, padded_rows(num_rows, self.device) - num_rows))
        logits: Tensor = self._lm_head(filled)[:num_rows]
        return logits.to(self.device)

    def _layers(self, token_ids: Int[Tensor, " T"], layout: Layout) -> Float[Tensor, "T D"]:
        longest = max(layout.lengths)
        rotary = self._rotary(layout.position_ids, longest)
        hidden: Tensor = self._body.embed_tokens(token_ids[None])
        for layer in self._body.layers:
            # Plain values and tensors, because accelerate's hooks move tensors between devices one by one.
            hidden = layer(
                hidden,
                attention_mask=None,
                position_ids=layout.position_ids[None],
                position_embeddings=rotary,
                use_cache=False,
                canvas_starts=layout.starts,
                canvas_lengths=layout.lengths,
                longest_canvas=longest,
            )
        normed: Tensor = self._body.norm(hidden)
        return normed[0]

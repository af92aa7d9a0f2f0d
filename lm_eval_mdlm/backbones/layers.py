"""A network's own layers, called one by one: runs any family on any device, also spread over several."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .invariance import MatrixProducts
from .layout import Layout
from .rotary import RotaryTable


class TransformersLayers:
    """Runs packed canvases through the layers that transformers defines.

    The network's own forward, which would build masks and compute logits everywhere, is never used.
    """

    name = "layers of transformers"

    def __init__(self, network: Any, table: RotaryTable, products: MatrixProducts) -> None:
        """Take over `network`, which has `model` (embed_tokens, layers, norm)."""
        self._body, self._table, self._products = network.model, table, products

    def padded(self, num_tokens: int) -> int:
        """Tokens of the pass that has room for `num_tokens`: as many."""
        return num_tokens

    def give_up(self) -> bool:
        """Nothing is kept between passes."""
        return False

    @torch.inference_mode()
    def __call__(self, token_ids: Int[Tensor, " T"], layout: Layout, wanted: Int[Tensor, " R"]) -> Float[Tensor, "R D"]:
        """Normed states of the wanted tokens, on the last layer's device; inputs may be on the host."""
        # Ahead of the layers, and without waiting: a copy that waits would wait for all of them.
        wanted = wanted.to(self._table.device, non_blocking=True)
        with self._products.in_fixed_order():
            normed = self._run(token_ids, layout)
        return normed[wanted.to(normed.device)]

    def _run(self, token_ids: Int[Tensor, " T"], layout: Layout) -> Float[Tensor, "T D"]:
        """States of all tokens: a foreign layer gives no fewer."""
        sights = layout.sights  # found on the host
        token_ids, layout = token_ids.to(self._table.device, non_blocking=True), layout.to(self._table.device)
        rotary = self._table.at(layout.position_ids, layout.longest_canvas)
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
                longest_canvas=layout.longest,
                memory=layout.memory,
                visible=layout.visible,
                sights=sights,
            )
        normed: Tensor = self._body.norm(hidden)
        return normed[0]

"""A Llama-like body in nine launches a layer, and more where it has experts: products, attention, and fused the rest.

The last layer has keys and values of all tokens, and everything else only of those whose states are read.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from .attention_kernel import attend
from .fused_layer import FusedLayer
from .invariance import MatrixProducts
from .kernels import add_and_norm, norm_and_rotate, rotate
from .layout import Layout
from .rotary import RotaryTable
from .wanted import WantedRows, distinct


class FusedLayers:
    """Runs packed canvases through all layers of a network on one GPU."""

    name = "fused layers"

    def __init__(self, network: Any, table: RotaryTable, products: MatrixProducts) -> None:
        """Take over the layers of `network` (see `fusable.py`); their modules keep working, on the same memory."""
        config, body = network.config, network.model
        self._embedding, self._final_norm = body.embed_tokens.weight, body.norm.weight
        self._eps, self._table, self._products = config.rms_norm_eps, table, products
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_width = body.layers[0].self_attn.head_dim
        self.layers = [FusedLayer.of(layer) for layer in body.layers]

    @torch.inference_mode()
    def __call__(self, token_ids: Int[Tensor, " T"], layout: Layout, wanted: Int[Tensor, " R"]) -> Float[Tensor, "R D"]:
        """Normed states of the wanted tokens; inputs are on the host."""
        tokens, places = distinct(wanted)
        rows = WantedRows.of(tokens, layout, self.padded_rows(len(tokens)))
        # Ahead of the layers: a copy that waits would wait for all of them.
        places = places.to(self._embedding.device, non_blocking=True)
        return self.run(token_ids, layout, rows)[places]

    @torch.inference_mode()
    def run(self, token_ids: Int[Tensor, " T"], layout: Layout, rows: WantedRows) -> Float[Tensor, "N D"]:
        """Normed states of the tokens of `rows`; inputs may be on the host."""
        with torch.cuda.device_of(self._embedding), self._products.in_fixed_order():  # type: ignore[no-untyped-call]
            device = self._embedding.device
            return self._run(token_ids.to(device, non_blocking=True), layout.to(device), rows.to(device))

    def _run(self, token_ids: Int[Tensor, " T"], layout: Layout, rows: WantedRows) -> Float[Tensor, "N D"]:
        table = self.table_up_to(layout.longest_canvas)
        hidden = self._embedding[token_ids]
        normed = add_and_norm(hidden, None, self.layers[0].attention_norm, self._eps)
        last = len(self.layers) - 1
        for i in range(last):
            normed = self._after_attention(i, hidden, self._attention(i, normed, layout, table))
        mixed = self._attention_of_rows(last, normed, layout, table, rows)
        return self._after_attention(last, hidden[rows.tokens], mixed)

    def _after_attention(
        self, index: int, hidden: Float[Tensor, "N D"], mixed: Float[Tensor, "N A"]
    ) -> Float[Tensor, "N D"]:
        """The rest of a layer, added to `hidden` in place; the sum, normed for what follows."""
        layer = self.layers[index]
        normed = add_and_norm(hidden, linear(mixed, layer.attention_out), layer.mlp_norm, self._eps)
        following = self.layers[index + 1].attention_norm if index + 1 < len(self.layers) else self._final_norm
        return add_and_norm(hidden, layer.mlp(normed), following, self._eps)

    def padded(self, num_tokens: int) -> int:
        """Tokens of the pass that has room for `num_tokens`: as many."""
        return num_tokens

    def padded_rows(self, num_rows: int) -> int:
        """Rows of the last layer to compute so that `num_rows` of them come out the same in any company."""
        return self._products.padded(num_rows)

    def give_up(self) -> bool:
        """Nothing is kept between passes."""
        return False

    def table_up_to(self, longest: int) -> tuple[Float[Tensor, "P D"], Float[Tensor, "P D"]]:
        """Cosines and sines of at least `longest` positions."""
        return self._table.up_to(longest)

    def _attention(
        self, index: int, normed: Float[Tensor, "T D"], layout: Layout, table: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "T A"]:
        layer = self.layers[index]
        qkv = linear(normed, layer.qkv, layer.qkv_bias)
        turned = self._turned(layer, qkv, layout.position_ids, table, self._heads, self._kv_heads)
        query, key = torch.split(turned, [self._heads, self._kv_heads], dim=1)
        value = self._by_head(qkv)[:, -self._kv_heads :]
        return self._attend(index, query, key, value, layout, layout.starts, layout.longest, layout.visible)

    def _attention_of_rows(
        self, index: int, normed: Float[Tensor, "T D"], layout: Layout, table: tuple[Tensor, Tensor], rows: WantedRows
    ) -> Float[Tensor, "N A"]:
        """Keys and values of all tokens, queries of some; the same bits for these as if all had queries."""
        layer, width = self.layers[index], self._heads * self._head_width
        q_bias, kv_bias = (None, None) if layer.qkv_bias is None else (layer.qkv_bias[:width], layer.qkv_bias[width:])
        q, kv = linear(normed[rows.tokens], layer.qkv[:width], q_bias), linear(normed, layer.qkv[width:], kv_bias)
        query = self._turned(layer, q, layout.position_ids[rows.tokens], table, self._heads, 0)
        key = self._turned(layer, kv, layout.position_ids, table, 0, self._kv_heads)
        value = self._by_head(kv)[:, -self._kv_heads :]
        visible = None if layout.visible is None else layout.visible[rows.tokens]
        return self._attend(index, query, key, value, layout, rows.starts, rows.longest, visible)

    def _turned(
        self,
        layer: FusedLayer,
        qkv: Float[Tensor, "N A"],
        positions: Int[Tensor, " N"],
        table: tuple[Tensor, Tensor],
        queries: int,
        keys: int,
    ) -> Float[Tensor, "N H W"]:
        """Of the first heads, so many of queries and then of keys, normed where the layer does so, and rotated."""
        if layer.head_norms is not None:
            return norm_and_rotate(qkv, positions, table, layer.head_norms, (queries, keys), self._eps)
        rotate(qkv, positions, table, queries + keys, self._head_width)
        return self._by_head(qkv)[:, : queries + keys]

    def _attend(
        self,
        index: int,
        query: Float[Tensor, "N Hq W"],
        key: Float[Tensor, "T Hkv W"],
        value: Float[Tensor, "T Hkv W"],
        layout: Layout,
        starts: Int[Tensor, " boundaries"],
        longest: int,
        visible: Int[Tensor, " N"] | None,
    ) -> Float[Tensor, "N A"]:
        key_starts = layout.starts
        if layout.memory is not None:
            key, value = layout.memory.memory.write(index, layout.memory.places, key, value)
            key_starts = layout.memory.starts
        scale = self._head_width**-0.5
        return attend(query, key, value, starts, key_starts, longest, scale=scale, visible=visible).flatten(1)

    def _by_head(self, side_by_side: Float[Tensor, "N A"]) -> Float[Tensor, "N H W"]:
        return side_by_side.view(len(side_by_side), -1, self._head_width)

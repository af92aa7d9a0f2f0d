"""The body of a network, everything between token ids and states, and the choice of how to run it."""

import importlib.util
import logging
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .attention import VARLEN
from .fusable import fusable
from .invariance import MatrixProducts
from .layers import TransformersLayers
from .layout import Layout
from .one_line import in_one_line
from .rotary import RotaryTable
from .shortage import is_out_of_memory


logger = logging.getLogger(__name__)
TRIAL_TOKENS = 64
"""Of the pass in which kernels are built; as many as every pass has at least."""


@runtime_checkable
class Body(Protocol):
    """Runs packed canvases through all layers."""

    name: str
    """What the record of results calls this way of running."""

    def padded(self, num_tokens: int) -> int:
        """Tokens of the pass that has room for `num_tokens`."""
        ...

    def __call__(self, token_ids: Int[Tensor, " T"], layout: Layout, wanted: Int[Tensor, " R"]) -> Float[Tensor, "R D"]:
        """Normed states of the wanted tokens, which come in any order and may repeat; inputs are on the host."""
        ...

    def give_up(self) -> bool:
        """Free memory that only saves time; whether there was any."""
        ...


def body_of(network: Any, table: RotaryTable, products: MatrixProducts) -> Body:
    """Fused kernels and recorded passes where device, dtype and layers allow it, else the layers as they are."""
    if network.config._attn_implementation != VARLEN or is_spread(network, table.device):
        return TransformersLayers(network, table, products)
    if getattr(network, "hf_quantizer", None) is not None:
        logger.warning("Quantised layers run as their library runs them, unfused.")
        return TransformersLayers(network, table, products)
    if not fusable(network):
        logger.warning("Layers of %s have no fused form and run as they are.", type(network).__name__)
        return TransformersLayers(network, table, products)
    fused = _fused(network, table, products)
    if fused is None:
        return TransformersLayers(network, table, products)
    from .graphs import GraphedLayers

    return GraphedLayers(fused, table.device)


def _fused(network: Any, table: RotaryTable, products: MatrixProducts) -> Any:
    """Fused layers that have run one pass, so that every kernel is built; None, and a line, where that fails."""
    if importlib.util.find_spec("triton") is None:
        logger.warning("Triton is not installed, so that layers run unfused, and more slowly.")
        return None
    try:
        from .fused import FusedLayers  # its kernels need Triton, which only builds for GPUs bring along

        fused = FusedLayers(network, table, products)
        token_ids = torch.zeros(TRIAL_TOKENS, dtype=torch.long)
        fused(token_ids, Layout.of([TRIAL_TOKENS], TRIAL_TOKENS), token_ids)
    except Exception as error:  # Triton passes on whatever its C compiler, linker or driver says
        if is_out_of_memory(error):
            raise
        logger.warning(
            "Triton cannot run its kernels here (%s), so that layers run unfused, and more slowly.", in_one_line(error)
        )
        return None
    return fused


def is_spread(network: Any, device: torch.device) -> bool:
    """Whether parts of the network are on other devices, or wait in memory or on disk."""
    places = {str(place) for place in (getattr(network, "hf_device_map", None) or {}).values()}
    waits = device.type != "cpu" and not places.isdisjoint({"cpu", "disk", "meta"})
    return waits or len(places) > 1


def memory_shape(network: Any) -> dict[str, Any]:
    """Sizes of a memory for the keys and values of a network."""
    return {
        "num_layers": network.config.num_hidden_layers,
        "num_heads": network.config.num_key_value_heads,
        "head_width": network.model.layers[0].self_attn.head_dim,
        "dtype": network.dtype,
    }


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Activations that one token of a pass needs at the peak, in the widest part of a layer, with a margin of 2."""
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    qkv = (config.num_attention_heads + 2 * config.num_key_value_heads) * head_width
    # Transformers' own experts hold a row for each expert of a token: its state, gate, up and their product, the
    # result, the same in another order and, if it is weighed so, in float32.
    chosen = getattr(config, "num_experts_per_tok", None) or 0
    experts = chosen * (5 * config.hidden_size + 3 * getattr(config, "moe_intermediate_size", 0))
    widest = max(3 * config.intermediate_size, qkv + config.hidden_size, experts)
    return int(2 * dtype.itemsize * (3 * config.hidden_size + widest))

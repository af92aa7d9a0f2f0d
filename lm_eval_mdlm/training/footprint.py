"""How much memory a run needs on each device, by calculation.

`python -m lm_eval_mdlm.training.footprint` prints the table of docs/training.md. Weights, gradients and optimiser
states are exact. What passes need is an estimate from above, of the moment of most need: the end of the forward pass
and the beginning of the backward one.
"""

from dataclasses import dataclass, replace

from .optimisers import OPTIMISERS


GB = 1e9
FLOAT32, BFLOAT16 = 4, 2


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Sizes of a decoder of the Llama kind, and the weights counted in it."""

    num_layers: int
    hidden: int
    mlp_hidden: int
    vocabulary: int
    num_weights: int
    num_trained: int
    """All of them, or the adapters, which `num_weights` does not count then."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """How a network is trained."""

    weight_bytes: int = FLOAT32
    """Of a weight of the network as it is kept."""
    computes_in_bfloat16: bool = True
    has_frozen_base: bool = False
    """LoRA: the network's own weights have no gradient; adapters are float32."""
    optim: str = "adamw"
    averages: bool = False
    num_shards: int = 1
    """Processes that weights, gradients and states are spread over."""
    rows: int = 1
    """Of one pass on one device."""
    length: int = 512
    """Tokens of a row."""
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimiser: float
    averages: float
    copies: float
    """Weights in the dtype of the passes: cast for them, or gathered from the other devices."""
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it at once."""
        kept = self.weights + self.gradients + self.optimiser + self.averages
        return kept + self.copies + self.activations + self.logits


def footprint(shape: NetworkShape, work: Workload) -> Footprint:
    """What a run needs on each of its devices."""
    trained, shards = shape.num_trained, work.num_shards
    adapters = trained * FLOAT32 if work.has_frozen_base else 0
    return Footprint(
        weights=(shape.num_weights * work.weight_bytes + adapters) / shards,
        gradients=trained * FLOAT32 / shards,
        optimiser=trained * OPTIMISERS[work.optim].state_bytes / shards,
        averages=trained * FLOAT32 / shards if work.averages else 0,
        copies=_copies(shape, work),
        activations=_activations(shape, work),
        logits=_logits(shape, work),
    )


def _copies(shape: NetworkShape, work: Workload) -> float:
    pass_bytes = BFLOAT16 if work.computes_in_bfloat16 else FLOAT32
    if work.num_shards > 1:
        # Embedding, head and last norm are gathered together and stay; of the layers two are there at a time. Their
        # gradients are summed in float32 before they are spread again.
        ends = 2 * shape.vocabulary * shape.hidden + shape.hidden
        layer = (shape.num_weights - ends) / shape.num_layers
        return (ends + 2 * layer) * pass_bytes + (ends + layer) * FLOAT32
    # Autocast keeps its casts to the end of the forward pass.
    cast = shape.num_trained if work.has_frozen_base else shape.num_weights
    return cast * BFLOAT16 if work.computes_in_bfloat16 and work.weight_bytes == FLOAT32 else 0


def _activations(shape: NetworkShape, work: Workload) -> float:
    """What the backward pass needs of the forward one."""
    tokens = work.rows * work.length
    pass_bytes = BFLOAT16 if work.computes_in_bfloat16 else FLOAT32
    # The sum that runs through all layers is as wide as what the embedding gives: float32 unless weights are bfloat16.
    stream = pass_bytes if work.num_shards > 1 else work.weight_bytes
    # Per token of a layer: two norms keep their input twice in float32 and give it twice on; q, k, v, their rotations
    # in float32 and bfloat16, the attention's output; of the feed-forward part gate, up, their product and SiLU.
    norms = 2 * (2 * FLOAT32 + stream + pass_bytes)
    attention = 4 * pass_bytes + 2 * (2 * FLOAT32 + pass_bytes)
    layer = shape.hidden * (norms + attention) + 4 * shape.mlp_hidden * pass_bytes
    if work.gradient_checkpointing:
        return float(tokens * (shape.num_layers * shape.hidden * stream + layer))
    return float(tokens * shape.num_layers * layer)


def _logits(shape: NetworkShape, work: Workload) -> float:
    """All tokens masked: logits as computed, in float32, their log-probabilities and the gradients of both."""
    pass_bytes = BFLOAT16 if work.computes_in_bfloat16 else FLOAT32
    return float(work.rows * work.length * shape.vocabulary * (2 * pass_bytes + 3 * FLOAT32))


LLADA_8B = NetworkShape(
    num_layers=32,
    hidden=4096,
    mlp_hidden=12288,
    vocabulary=126464,
    num_weights=8_015_581_184,
    num_trained=8_015_581_184,
)
LLADA_8B_LORA = replace(LLADA_8B, num_trained=32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 12288)))
"""At rank 16."""
MACHINES = {"1 x 80 GB": (1, 80), "1 x 141 GB": (1, 141), "8 x 80 GB": (8, 80)}
"""Devices and the memory of each, in units of 10^9 bytes."""
HEADROOM = 0.94
"""Share of a device's memory that a run may plan with: the rest is the driver's, the allocator's and the kernels'."""
FULL = Workload(rows=8, length=512, gradient_checkpointing=True)
CASES = {
    "LoRA of rank 16": (LLADA_8B_LORA, replace(FULL, weight_bytes=BFLOAT16, has_frozen_base=True)),
    "all weights, `--optim adamw`": (LLADA_8B, FULL),
    "all weights, `--optim adamw_8bit`": (LLADA_8B, replace(FULL, optim="adamw_8bit")),
    "all weights, `--optim adafactor`": (LLADA_8B, replace(FULL, optim="adafactor")),
}


def verdict(shape: NetworkShape, work: Workload, *, num_devices: int, memory: float) -> str:
    """One cell of the table: gigabytes needed on each device, and whether that fits; spread if it can be."""
    spreads = num_devices > 1 and not work.has_frozen_base and OPTIMISERS[work.optim].shards
    needed = footprint(shape, replace(work, num_shards=num_devices if spreads else 1)).total / GB
    fits = "fits" if needed <= HEADROOM * memory else "does not fit"
    return f"{needed:.0f} GB, {fits}{' with `--shard`' if spreads and fits == 'fits' else ''}"


def table() -> str:
    """What fits where, in Markdown."""
    lines = ["| LLaDA-8B | " + " | ".join(MACHINES) + " |", "|---" * (len(MACHINES) + 1) + "|"]
    for label, (shape, work) in CASES.items():
        cells = [verdict(shape, work, num_devices=count, memory=memory) for count, memory in MACHINES.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

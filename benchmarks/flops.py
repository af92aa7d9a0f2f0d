"""What a forward pass has to compute and to move, counted from the sizes of the network."""

from collections.abc import Sequence

from benchmarks.networks import Shape


def layer_parameters(shape: Shape) -> int:
    """Weights of the matrix products of one layer: queries, keys, values, output; gate, up, down."""
    return 4 * shape.hidden**2 + 3 * shape.hidden * shape.ffn


def pass_flops(shape: Shape, lengths: Sequence[int], num_wanted: int) -> int:
    """Floating-point operations of one exact pass, a multiplication and an addition counted as two.

    With P weights in the layers' products, T tokens, canvases of L tokens, width D = heads * head_dim and V logits:

        2 * P * T                         products of the body, for every token
        4 * L^2 * D  per layer, canvas    attention: queries with keys, weights with values
        2 * D * V    per wanted row       head

    Norms, rotations, activations and statistics are left out; they are far below a percent. So is padding: this
    is what a whole pass has, not what an implementation does, nor what the wanted rows alone need (`spared_flops`).
    """
    tokens = sum(lengths)
    body = 2 * shape.layers * layer_parameters(shape) * tokens
    attention = 4 * shape.layers * shape.hidden * sum(length**2 for length in lengths)
    return body + attention + 2 * shape.hidden * shape.vocab * num_wanted


def spared_flops(shape: Shape, lengths: Sequence[int], wanted: Sequence[int]) -> int:
    """Operations of `pass_flops` that no logits need: the last layer of tokens that only give keys and values.

    Args:
        shape: Of the network.
        lengths: Tokens of each canvas.
        wanted: Of each canvas, tokens whose states are read.

    Fused layers leave them out, transformers' own compute them. For each token that is not wanted, with F the width of
    the MLP: 4 * D^2 of queries and output, 6 * D * F of the MLP, and 4 * L * D of attention.
    """
    products = 4 * shape.hidden**2 + 6 * shape.hidden * shape.ffn
    return sum(
        (length - own) * (products + 4 * length * shape.hidden) for length, own in zip(lengths, wanted, strict=True)
    )


def pass_bytes(shape: Shape, lengths: Sequence[int], num_wanted: int, width: int) -> int:
    """Bytes moved to and from memory by one pass whose numbers take `width` bytes each.

    Every weight is read once. Activations are counted for one kernel per matrix product and fused ones between them
    (elements per token and layer): queries, keys, values 4 D; rotation 4 D; attention 4 D; output 2 D; sum and norm
    4 D; gate and up D + 2 F; their product 3 F; down F + D; sum and norm 4 D. The head reads D and writes V a row.
    """
    tokens = sum(lengths)
    weights = shape.layers * layer_parameters(shape) + shape.hidden * shape.vocab
    layer = 24 * shape.hidden + 6 * shape.ffn
    embedding, head = 2 * tokens * shape.hidden, num_wanted * (shape.hidden + shape.vocab)
    return width * (weights + tokens * shape.layers * layer + embedding + head)

"""What a forward pass has to compute and to move, counted from the sizes of the network."""

from collections.abc import Sequence

from benchmarks.shapes import Shape


def layer_parameters(shape: Shape) -> int:
    """Weights of the matrix products of one layer without experts: queries, keys, values, output; gate, up, down."""
    return _attention_parameters(shape) + 3 * shape.hidden * shape.ffn


def active_parameters(shape: Shape) -> int:
    """Weights of all layers that one token is multiplied with: of experts, the chosen and shared ones."""
    if shape.experts is None:
        return shape.layers * layer_parameters(shape)
    dense = shape.experts.dense_layers
    return dense * layer_parameters(shape) + (shape.layers - dense) * (
        _attention_parameters(shape) + _active_mlp(shape)
    )


def expert_parameters(shape: Shape) -> int:
    """Weights of one expert."""
    assert shape.experts is not None
    return 3 * shape.hidden * shape.experts.width


def seen_pairs(shape: Shape, length: int, first: int = 0) -> int:
    """Pairs of a token from `first` on in a canvas of `length` and a token that it sees."""
    if shape.grid_block is None:
        return (length - first) * length
    return sum(min((i // shape.grid_block + 1) * shape.grid_block, length) for i in range(first, length))


def pass_flops(shape: Shape, lengths: Sequence[int], num_wanted: int, first: int = 0) -> int:
    """Floating-point operations of one exact pass, a multiplication and an addition counted as two.

    With P weights of the layers' products that a token meets, T tokens, canvases of L tokens, A = heads * head_dim and
    V logits:

        2 * P * T                         products of the body, for every token
        4 * L^2 * A  per layer, canvas    attention: queries with keys, weights with values
        2 * D * V    per wanted row       head

    Block-causal networks have fewer pairs than L^2. With `first`, keys and values of the tokens before it are known.
    Norms, rotations, activations and statistics are left out; they are far below a percent. So is padding: this
    is what a whole pass has, not what an implementation does, nor what the wanted rows alone need (`spared_flops`).
    """
    tokens = sum(length - first for length in lengths)
    body = 2 * active_parameters(shape) * tokens
    pairs = sum(seen_pairs(shape, length, first) for length in lengths)
    attention = 4 * shape.layers * shape.attention_width * pairs
    return body + attention + 2 * shape.hidden * shape.vocab * num_wanted


def spared_flops(shape: Shape, lengths: Sequence[int], wanted: Sequence[int]) -> int:
    """Operations of `pass_flops` that no logits need: the last layer of tokens that only give keys and values.

    Args:
        shape: Of the network.
        lengths: Tokens of each canvas.
        wanted: Of each canvas, tokens whose states are read.

    Fused layers leave them out, transformers' own compute them. For each token that is not wanted: 4 * D * A of queries
    and output, 6 * D * F of an MLP of width F, or as much of its experts, and 4 * L * A of attention to all tokens.
    """
    mlp = 3 * shape.hidden * shape.ffn if shape.experts is None else _active_mlp(shape)
    products = 4 * shape.hidden * shape.attention_width + 2 * mlp
    return sum(
        (length - own) * (products + 4 * length * shape.attention_width)
        for length, own in zip(lengths, wanted, strict=True)
    )


def pass_bytes(shape: Shape, lengths: Sequence[int], num_wanted: int, width: int) -> int:
    """Bytes moved to and from memory by one pass of a network without experts whose numbers take `width` bytes each.

    Every weight is read once. Activations are counted for one kernel per matrix product and fused ones between them
    (elements per token and layer): queries, keys, values 4 D; rotation 4 D; attention 4 D; output 2 D; sum and norm
    4 D; gate and up D + 2 F; their product 3 F; down F + D; sum and norm 4 D. The head reads D and writes V a row.
    """
    tokens = sum(lengths)
    weights = shape.layers * layer_parameters(shape) + shape.hidden * shape.vocab
    layer = 24 * shape.hidden + 6 * shape.ffn
    embedding, head = 2 * tokens * shape.hidden, num_wanted * (shape.hidden + shape.vocab)
    return width * (weights + tokens * shape.layers * layer + embedding + head)


def block_bytes(shape: Shape, chosen: Sequence[int], keys: int, width: int) -> int:
    """Bytes that a small pass must read: weights of all layers, of experts the chosen ones, the head, keys and values.

    Args:
        shape: Of the network.
        chosen: Of each layer with experts, how many of them any token chose.
        keys: Positions whose keys and values are read, of all canvases together.
        width: Bytes of a number.
    """
    weights = shape.layers * _attention_parameters(shape) + shape.hidden * shape.vocab
    if shape.experts is None:
        weights += 3 * shape.layers * shape.hidden * shape.ffn
    else:
        experts = shape.experts
        weights += 3 * experts.dense_layers * shape.hidden * shape.ffn
        weights += (shape.layers - experts.dense_layers) * (shape.hidden * experts.number)
        weights += expert_parameters(shape) * (sum(chosen) + (shape.layers - experts.dense_layers) * experts.shared)
    return width * (weights + 2 * shape.layers * shape.key_width * keys)


def _attention_parameters(shape: Shape) -> int:
    return 2 * shape.hidden * (shape.attention_width + shape.key_width)


def _active_mlp(shape: Shape) -> int:
    assert shape.experts is not None
    experts = shape.experts
    return expert_parameters(shape) * (experts.chosen + experts.shared) + shape.hidden * experts.number

"""A few small passes that prove a loaded network is what decoding takes it for."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..backbones.backbone import Backbone
from ..backbones.shortage import is_out_of_memory
from ..errors import UsageError


LENGTHS = (19, 29)
"""Tokens of a mate and of the canvas under test; odd, so that nothing is aligned by chance."""
MATE_LENGTH = 97
MATES = {"cuda": (1, 4, 11, 23, 84, 168)}
"""Numbers of mates in longer passes, by kind of device: the last three are too long to be recorded, the last has nearly
as many tokens as `batch_size=auto` packs. None on a CPU, where such passes of a large network take minutes."""
MOST_ROWS = 1024
"""Of a pass whose logits are compared; no more are ever read together."""
TOLERANCE = 0.05
"""Largest change of a state, relative to the largest state, that other kernels can cause by rounding alone."""
ROUTED_SHARE = 0.75
"""Least share of tokens within the tolerance where each chooses its experts, so that a near tie changes its state."""


def prove_bidirectional(backbone: Backbone, source: str, *, exact: bool = True, routed: bool = False) -> bool:
    """Check that a token sees what its family declares, and that other canvases and its place do not matter.

    A token must see later ones, up to its canvas's end or, in a block-causal network, its grid block's, and none
    beyond.

    Args:
        backbone: The network to check.
        source: The checkpoint, for messages.
        exact: Whether a token that is not seen must leave every bit as it is; where layers are quantised over the whole
            pass it need not.
        routed: Whether tokens choose experts, so that rounding may send a few of them elsewhere.

    Returns:
        Whether the canvas had the very same bits alone as behind a mate, and on a GPU in longer passes too.

    Raises:
        UsageError: If the network is causal, sees later grid blocks or other canvases, depends on its place, or returns
            NaN.
    """
    mate, canvas = (_spread_ids(length, backbone) for length in (LENGTHS[0], _length(backbone)))
    reference = _run(backbone, mate, canvas)
    if not bool(reference.isfinite().all()):  # which is equal to nothing, and would pass for any of the faults below
        raise UsageError(
            f"{source}: the network must return numbers, but returns NaN or infinities as {backbone.dtype} although "
            f"its weights are finite; use dtype=bfloat16 or float32."
        )
    # Compared in passes of one shape, where kernels agree bit by bit, so that any difference is the token's.
    start = _last_block(backbone, len(canvas))
    for place in dict.fromkeys((len(canvas) - 1, start)) if start else (len(canvas) - 1,):
        changed = _run(backbone, mate, _with_another(canvas, place, backbone))
        _refuse_other_sight(backbone, source, reference[len(mate) :], changed[len(mate) :], place, start, exact)
        if not _same(reference[: len(mate)], changed[: len(mate)], exact):
            raise UsageError(
                f"{source}: canvases packed together must not see each other, but a token changed its mate."
            )
    behind, alone = reference[len(mate) :].float(), _run(backbone, canvas).float()
    if not _near(alone, behind) >= (ROUTED_SHARE if routed else 1.0):
        raise UsageError(f"{source}: a canvas must give the same states alone and behind another one, but it does not.")
    return torch.equal(behind, alone) and _keeps_its_bits(backbone, canvas)


def _refuse_other_sight(
    backbone: Backbone,
    source: str,
    before: Float[Tensor, "n D"],
    after: Float[Tensor, "n D"],
    place: int,
    start: int,
    exact: bool,
) -> None:
    """UsageError unless the changed token at `place` changed the block at `start`, and nothing before it."""
    first = start + backbone.lookback if start else 0  # that is read from a state that sees the token
    other = first if place > first else len(before) - 1  # the end of the block that is not the token itself
    if other != place and torch.equal(before[other], after[other]):
        size = backbone.grid_block
        whole = "be bidirectional" if size is None else f"see whole grid blocks of {size}"
        raise UsageError(f"{source}: the network must {whole}, but its last token does not change its first.")
    if first and not _same(before[:first], after[:first], exact):
        raise UsageError(
            f"{source}: the network must be blind to later grid blocks of {backbone.grid_block}, but sees one's token."
        )


def _near(one: Float[Tensor, "n D"], other: Float[Tensor, "n D"]) -> float:
    """Share of tokens whose states differ by no more than rounding; 0 where they are no numbers."""
    return float(((one - other).abs().amax(dim=1) <= TOLERANCE * one.abs().max()).float().mean())


def _same(one: Float[Tensor, "n D"], other: Float[Tensor, "n D"], exact: bool) -> bool:
    """Whether states are equal to the bit, or as close as other kernels leave them."""
    return torch.equal(one, other) if exact else bool((one - other).abs().max() <= TOLERANCE * one.abs().max())


def _last_block(backbone: Backbone, length: int) -> int:
    """First token of a canvas's last grid block; 0 where it sees the whole canvas."""
    return 0 if backbone.grid_block is None else (length - 1) // backbone.grid_block * backbone.grid_block


def _length(backbone: Backbone) -> int:
    """Tokens of the canvas under test: an even number of whole grid blocks, where there are such canvases."""
    if backbone.grid_block is None:
        return LENGTHS[1]
    # Even, so that blocks of twice the size would begin elsewhere than the last one.
    return min(2 * -(-LENGTHS[1] // (2 * backbone.grid_block)) * backbone.grid_block, backbone.max_length)


def _keeps_its_bits(backbone: Backbone, canvas: Int[Tensor, " _"]) -> bool:
    """Whether states and logits are the same in passes of all kinds of length, where other products are chosen.

    And whether the states are also the same where no others are asked for, so that the last layer computes fewer.
    """
    alone = _run(backbone, canvas)
    logits = backbone.head(alone)
    for num_mates in MATES.get(backbone.device.type, ()):
        mates = [_spread_ids(MATE_LENGTH, backbone) for _ in range(num_mates)]
        try:
            together, few = _run(backbone, *mates, canvas), _last(backbone, *mates, canvas)
            seen = backbone.head(together[-MOST_ROWS:])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break  # nor will decoding run passes of this length
        if not torch.equal(together[-len(canvas) :], alone) or not torch.equal(seen[-len(canvas) :], logits):
            return False
        if not torch.equal(few.flip(0), alone):
            return False
    return True


def _run(backbone: Backbone, *canvases: Int[Tensor, " _"]) -> Float[Tensor, "T D"]:
    token_ids = torch.cat(canvases)
    everywhere = torch.arange(len(token_ids))
    return backbone.states(token_ids, [len(canvas) for canvas in canvases], everywhere)


def _last(backbone: Backbone, *canvases: Int[Tensor, " _"]) -> Float[Tensor, "n D"]:
    """States of the last canvas alone, from its last token to its first."""
    token_ids = torch.cat(canvases)
    wanted = torch.arange(len(token_ids) - len(canvases[-1]), len(token_ids)).flip(0)
    return backbone.states(token_ids, [len(canvas) for canvas in canvases], wanted)


def _spread_ids(length: int, backbone: Backbone) -> Int[Tensor, " {length}"]:
    ordinary = backbone.vocab_size // 2  # special tokens have the last ids
    return torch.arange(1, length + 1) * 7919 % ordinary


def _with_another(canvas: Int[Tensor, " n"], place: int, backbone: Backbone) -> Int[Tensor, " n"]:
    changed = canvas.clone()
    changed[place] = (canvas[place] + 1) % backbone.vocab_size
    return changed

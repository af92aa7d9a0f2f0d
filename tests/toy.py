"""Networks small enough to be exact: conditionals by enumeration, and scripts that are certain of what they say."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lm_eval_mdlm.backbones.backbone import Backbone, Tokenizer


class _Direct(Backbone):
    """A backbone whose states are its logits already."""

    def __init__(self, vocab_size: int, mask_token_id: int, end_token_ids: tuple[int, ...] = ()) -> None:
        self.vocab_size, self.mask_token_id, self.end_token_ids = vocab_size, mask_token_id, end_token_ids
        self.max_length = 4096
        self.device, self.dtype, self.bytes_per_token = torch.device("cpu"), torch.float32, 4 * vocab_size
        self.tokenizer: Tokenizer | None = None
        self.description = {"family": "toy"}
        self.passes: list[list[int]] = []  # lengths of the canvases of every pass

    def states(self, token_ids: Tensor, lengths: Sequence[int], wanted: Tensor) -> Tensor:
        self.passes.append(list(lengths))
        return torch.cat([self.read(canvas) for canvas in token_ids.split(list(lengths))])[wanted].float()

    def head(self, states: Tensor) -> Tensor:
        return states

    def read(self, canvas: Tensor) -> Tensor:
        raise NotImplementedError


class TableBackbone(_Direct):
    """Exact conditional marginals of an explicit joint over the last positions of a canvas.

    Args:
        joint: Probability of every sequence, shape `(V,) * L`, summing to one. The mask token is id V.
    """

    def __init__(self, joint: Tensor) -> None:
        super().__init__(joint.shape[0] + 1, joint.shape[0])
        self.joint = joint.double()

    def read(self, canvas: Tensor) -> Tensor:
        region = canvas[-self.joint.ndim :].tolist()
        given = torch.zeros_like(self.joint)
        seen = tuple(t if t != self.mask_token_id else slice(None) for t in region)
        given[seen] = self.joint[seen]
        axes = range(self.joint.ndim)
        marginals = torch.stack([given.sum(dim=[a for a in axes if a != axis]) for axis in axes])
        logits = torch.full((len(canvas), self.vocab_size), -math.inf)
        logits[-self.joint.ndim :, :-1] = (marginals / marginals.sum(-1, keepdim=True)).log().float()
        logits[: len(canvas) - self.joint.ndim, 0] = 0.0
        return logits


class ScriptedBackbone(_Direct):
    """Certain, at every masked position, of the token that a script gives for the whole canvas.

    Args:
        script: From the canvas's token ids to the tokens it should become, same length.
        certainty: Logit of the scripted token; the others have 0.
    """

    def __init__(
        self, script: Callable[[list[int]], list[int]], *, vocab_size: int, mask_token_id: int, certainty: float = 30.0
    ) -> None:
        super().__init__(vocab_size, mask_token_id)
        self.script, self.certainty = script, certainty

    def read(self, canvas: Tensor) -> Tensor:
        wanted = torch.tensor(self.script(canvas.tolist()))
        return torch.zeros(len(canvas), self.vocab_size).scatter(1, wanted[:, None], self.certainty)


class RandomBackbone(_Direct):
    """Logits drawn anew for every canvas: no joint has these conditionals, so each order of reading says otherwise.

    Args:
        seen: How many of the canvas's last tokens the logits depend on; None for all.
        scale: Spread of the logits.
        grid_block: Those of a position then depend on the canvas up to the end of its grid block.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        scale: float = 2.0,
        seen: int | None = None,
        end_token_ids: tuple[int, ...] = (),
        grid_block: int | None = None,
    ) -> None:
        super().__init__(vocab_size, vocab_size - 1, end_token_ids)
        self.scale, self.seen, self.grid_block = scale, seen, grid_block
        self.canvases: list[tuple[int, ...]] = []  # of every pass that went through, canvas by canvas

    def read(self, canvas: Tensor) -> Tensor:
        self.canvases.append(tuple(canvas.tolist()))
        if self.grid_block is None:
            return self.logits_of(self.canvases[-1])
        ends = range(self.grid_block, len(canvas) + self.grid_block, self.grid_block)
        return torch.cat([self.logits_of(self.canvases[-1][:end])[end - self.grid_block :] for end in ends])

    def logits_of(self, canvas: Sequence[int]) -> Tensor:
        """Logits of every position, for an oracle's own use."""
        seed = hash(tuple(canvas if self.seen is None else canvas[-self.seen :])) % 2**31
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(self.seen or len(canvas), self.vocab_size, generator=generator) * self.scale
        unseen = torch.zeros(len(canvas) - len(drawn), self.vocab_size)
        return torch.cat([unseen, drawn])

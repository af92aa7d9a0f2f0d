"""The network of the laboratory: its states are the exact posteriors of a joint distribution."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.laboratory.joint import Joint
from lm_eval_mdlm.backbones.backbone import Backbone, Tokenizer


class ExactBackbone(Backbone):
    """Log-probabilities of every masked position given all fixed ones of the last L positions of a canvas.

    What stands before them, the prompt, says nothing about them. The mask token is id V, and is never likely.
    """

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.vocab_size, self.mask_token_id = joint.vocab_size + 1, joint.vocab_size
        self.max_length, self.end_token_ids = joint.length + 8, ()
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.bytes_per_token = 64 * joint.initial.numel()
        self.tokenizer: Tokenizer | None = None
        self.description = {"family": "laboratory", "joint": joint.name}

    def states(
        self, token_ids: Int[Tensor, " T"], lengths: Sequence[int], wanted: Int[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        ends = torch.tensor(lengths).cumsum(0)
        region = ends[:, None] + torch.arange(-self.joint.length, 0)
        canvas = torch.searchsorted(ends, wanted, right=True)
        position = wanted - region[canvas, 0]
        known = self.joint.log_posterior(token_ids[region])[canvas, position.clamp_min(0)]
        known = known.masked_fill((position < 0)[:, None], 0.0)  # of a prompt nothing is known
        return torch.nn.functional.pad(known, (0, 1), value=-torch.inf).to(self.dtype)

    def head(self, states: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        return states

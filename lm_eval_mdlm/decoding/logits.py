"""What happens to the network's logits before anything is read from them: guidance, then forbidden tokens."""

from dataclasses import dataclass

import torch

from .types import Logits


@dataclass(frozen=True)
class LogitRule:
    """Classifier-free guidance and suppression, in float32.

    Guided logits are `uncond + (w + 1) * (cond - uncond)`, where the unconditional canvas has its prompt
    masked; w = 0 is the conditional distribution itself. Source: Nie et al. 2025, arXiv:2502.09992.
    """

    forbidden_ids: tuple[int, ...]
    """Tokens that can never be proposed: the mask token, and suppressed ones."""
    cfg_scale: float = 0.0
    """w >= 0; above 0 a step needs two forward passes."""

    @property
    def guided(self) -> bool:
        """Whether the unconditional canvas is needed."""
        return self.cfg_scale > 0

    def apply(self, conditional: Logits, unconditional: Logits | None = None) -> Logits:
        """Float32 logits with guidance applied and forbidden tokens at -inf; the arguments stay as they are."""
        logits = conditional.float()
        if self.guided:
            assert unconditional is not None
            baseline = unconditional.float()
            logits = baseline + (self.cfg_scale + 1) * (logits - baseline)
        forbidden = torch.tensor(self.forbidden_ids, dtype=torch.long, device=logits.device)
        return logits.index_fill(-1, forbidden, -torch.inf)

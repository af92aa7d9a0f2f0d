"""PC-Sampler's order: early positions first, and tokens that say more than a corpus would first.

Source: `src/generate.py` of NEUIR/PC-Sampler.
"""

from dataclasses import dataclass

from ...errors import UsageError
from ..frequencies import TokenFrequencies
from ..scores import Candidates, VocabularyScore
from ..types import PerPosition
from ..vocabulary import Vocabulary


RAREST = 1e-9
"""Added to every frequency."""


@dataclass(frozen=True)
class CalibratedScore(VocabularyScore):
    """Largest exp(-lambda i) min(-c ln f, alpha) first: i the index in the block, c the confidence, f the frequency.

    f is that of the most likely token, also where a sample is drawn: statistics come before temperature.
    """

    token_frequencies: TokenFrequencies
    pc_lambda: float = 0.25
    pc_alpha: float = 10.0

    def __call__(self, candidates: Candidates) -> PerPosition:
        index = (candidates.position - candidates.block_start[:, None]).double()
        information = -(self.token_frequencies.of(candidates.argmax) + RAREST).log()
        calibrated = (candidates.confidence.double() * information).clamp(max=self.pc_alpha)
        return -(-self.pc_lambda * index).exp() * calibrated

    def check(self, vocabulary: Vocabulary) -> None:
        if vocabulary.fingerprint("score=pc") != self.token_frequencies.vocabulary:
            raise UsageError(
                "token_frequencies must have been counted with the checkpoint's own tokenizer, got counts of another; "
                "count with lm-eval-mdlm frequencies."
            )

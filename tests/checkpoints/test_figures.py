"""The probe's figures, on networks whose answers are known and on block-causal ones."""

import pytest
import torch

from lm_eval_mdlm.checkpoints.figures import LENGTH, MATE_LENGTH, figures_of
from tests.toy import _Direct


class Sums(_Direct):
    """The state of a token: the sum over what it sees of the token ids, or over the whole pass if canvases leak."""

    def __init__(self, *, grid: int | None, sees: int | None = None, leaks: float = 0.0, uneven: float = 0.0) -> None:
        super().__init__(vocab_size=1000, mask_token_id=999)
        self.grid_block, self.sees, self.leaks, self.uneven = grid, sees, leaks, uneven

    def states(self, token_ids, lengths, wanted):
        rows = []
        for canvas in token_ids.double().split(list(lengths)):
            block = self.sees or len(canvas)
            ends = [min((i // block + 1) * block, len(canvas)) for i in range(len(canvas))]
            rows += [[canvas[:end].sum() + self.leaks * token_ids.sum() + self.uneven * len(lengths)] for end in ends]
        return torch.tensor(rows)[wanted].float()


def ids(length: int) -> torch.Tensor:
    return torch.arange(1, length + 1) * 7919 % 500


def test_figures_of_a_network_that_sums_are_known():
    found = figures_of(Sums(grid=None))
    assert found.seen == pytest.approx(1 / ids(LENGTH).sum().item(), rel=1e-3)
    assert (found.unseen, found.mate, found.behind_mate) == (None, 0.0, 0.0)


def test_a_block_causal_network_sees_its_block_and_nothing_behind():
    found = figures_of(Sums(grid=8, sees=8))
    assert found.seen == pytest.approx(1 / ids(8).sum().item(), rel=1e-3) and found.unseen == 0.0


def test_faults_show():
    assert figures_of(Sums(grid=8, sees=None)).unseen > 0  # sees later blocks
    assert figures_of(Sums(grid=8, sees=4)).seen == 0.0  # sees half its own block
    assert figures_of(Sums(grid=None, leaks=0.5)).mate > 0
    whole = ids(LENGTH).sum().item()
    assert figures_of(Sums(grid=None, uneven=1.0)).behind_mate == pytest.approx(1 / whole, rel=0.01)
    assert MATE_LENGTH < LENGTH


def test_loaded_networks_have_the_figures_that_the_probe_demands(backbone):
    found = figures_of(backbone)
    assert found.seen > 0 and found.unseen is None and found.mate == found.behind_mate == 0.0

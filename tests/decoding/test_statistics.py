import itertools
import math

import pytest
import torch

from lm_eval_mdlm.decoding.bias import packed_gains
from lm_eval_mdlm.decoding.logits import LogitRule
from lm_eval_mdlm.decoding.statistics import Statistics, statistics


def by_hand(row: list[float]) -> tuple[float, float, float]:
    """Entropy, confidence and margin in double precision, one token at a time."""
    finite = [x for x in row if x > -math.inf]
    total = math.fsum(math.exp(x - max(finite)) for x in finite)
    p = [*sorted((math.exp(x - max(finite)) / total for x in finite), reverse=True), 0.0]
    return -math.fsum(q * math.log(q) for q in p if q > 0), p[0], p[0] - p[1]


@pytest.mark.parametrize("seed", range(5))
def test_statistics_equal_their_definitions(seed):
    torch.manual_seed(seed)
    logits = torch.randn(7, 50) * 4
    logits[torch.rand(7, 50) < 0.3] = -math.inf
    logits[:, 5] = 1.0
    found = statistics(logits)
    for i, row in enumerate(logits.tolist()):
        entropy, confidence, margin = by_hand(row)
        assert found.entropy[i].item() == pytest.approx(entropy, abs=1e-5)
        assert found.confidence[i].item() == pytest.approx(confidence, abs=1e-6)
        assert found.margin[i].item() == pytest.approx(margin, abs=1e-6)
        assert found.argmax[i].item() == row.index(max(row))


def test_point_mass_has_no_entropy_and_uniform_has_log_v():
    certain = torch.tensor([[0.0, -math.inf, -math.inf, -math.inf]])
    found = statistics(torch.cat([certain, torch.zeros(1, 4)]))
    assert found.entropy.tolist() == pytest.approx([0.0, math.log(4)])
    assert found.margin.tolist() == pytest.approx([1.0, 0.0])
    assert found.argmax.tolist() == [0, 0]


def test_bfloat16_logits_are_read_in_float32():
    logits = torch.tensor([[8.0, 0.0, 0.0]], dtype=torch.bfloat16)
    assert statistics(logits).confidence.item() == pytest.approx(by_hand([8.0, 0.0, 0.0])[1], abs=1e-7)
    assert statistics(logits).confidence.item() < 1.0


@pytest.mark.parametrize("seed", range(3))
def test_log_probability_of_a_token_is_its_definition(seed):
    torch.manual_seed(seed)
    logits, targets = torch.randn(9, 60) * 8, torch.randint(60, (9,))
    logits[torch.rand(9, 60) < 0.3] = -math.inf
    logits[:, 5], targets[:2] = 1.0, torch.tensor([5, int(logits[1].argmax())])
    found = statistics(logits, targets)
    for row, target, log_prob in zip(logits.tolist(), targets.tolist(), found.log_prob.tolist(), strict=True):
        total = math.fsum(math.exp(x) for x in row)
        assert log_prob == pytest.approx(row[target] - math.log(total), abs=2e-6), (row[target], total)
    assert statistics(logits).log_prob is None
    for name in ("entropy", "confidence", "margin", "argmax"):  # asking for it changes nothing else
        assert torch.equal(getattr(statistics(logits), name), getattr(found, name))


def test_packing_statistics_loses_nothing():
    logits = torch.randn(5, 200_000)
    for found in (statistics(logits), statistics(logits, torch.arange(5))):
        moved = Statistics.unpacked(found.packed())
        assert vars(moved).keys() == vars(found).keys()
        for name, column in vars(found).items():
            assert (column is None and getattr(moved, name) is None) or torch.equal(column, getattr(moved, name))


def test_forbidden_tokens_get_no_probability_and_arguments_stay():
    conditional = torch.randn(3, 6)
    before = conditional.clone()
    out = LogitRule((2, 5)).apply(conditional)
    assert (out.softmax(-1)[:, [2, 5]] == 0).all()
    assert torch.equal(out[:, [0, 1, 3, 4]], before[:, [0, 1, 3, 4]])
    assert torch.equal(conditional, before)


def test_guidance_extrapolates_away_from_the_unconditional_logits():
    conditional, unconditional = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0]])
    out = LogitRule((), 1.5).apply(conditional, unconditional)
    assert out.tolist() == [[1 + 2.5 * 1, 1.0, 1 - 2.5 * 1]]


def test_packed_gains_are_found_by_their_row_and_rounded_once():
    packed = packed_gains([{2: 0.1, 6: -1.25}, {}, {0: 3.0}], 5)
    starts, tokens, added = packed[:6].tolist(), packed[6:9].tolist(), packed[9:].view(torch.float32)
    assert [tokens[start:end] for start, end in itertools.pairwise(starts)] == [[2, 6], [], [0], [], []]
    assert torch.equal(added, torch.tensor([0.1, -1.25, 3.0]))
    assert packed_gains([{}, {}], 2).tolist() == [0, 0, 0]

"""Which tokens may be drawn: against transformers' own rules, and by counting draws."""

import itertools

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lm_eval_mdlm.decoding.proposal import gumbel_argmax
from lm_eval_mdlm.decoding.restriction import Draw, Restriction, restricted


CASES = [
    case
    for case in itertools.product((None, 1, 3, 50), (None, 0.05, 0.5, 0.95), (None, 0.02, 0.3, 1.0))
    if case != (None, None, None)
]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_allowed_tokens_are_those_of_transformers(case, temperature):
    top_k, top_p, min_p = case
    logits = torch.randn(20, 40, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, 7] = -torch.inf
    warpers = [TemperatureLogitsWarper(temperature)]
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p else []
    warpers += [MinPLogitsWarper(min_p)] if min_p else []
    expected = LogitsProcessorList(warpers)(None, logits.double()).isfinite()
    left = Restriction(top_k, top_p, min_p).apply(logits, temperature)
    assert torch.equal(left.isfinite(), expected)
    assert torch.equal(left[expected], logits[expected])


def test_a_row_is_restricted_alike_alone_and_in_company():
    logits = torch.randn(9, 5000, generator=torch.Generator().manual_seed(1))
    restriction = Restriction(top_k=2000, top_p=0.7, min_p=1e-4)
    together = restriction.apply(logits, 0.8)
    for i in range(9):
        assert torch.equal(restriction.apply(logits[i : i + 1], 0.8)[0], together[i])


def test_ties_at_the_border_of_top_p_go_to_the_lower_ids():
    left = Restriction(top_p=0.5).apply(torch.zeros(1, 8), 1.0)
    assert left[0].isfinite().tolist() == [True] * 4 + [False] * 4


def test_draws_follow_the_renormalised_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    left = Restriction(top_k=2).apply(logits, 1.0)
    drawn = [int(gumbel_argmax(left, [1.0], [seed])) for seed in range(4000)]
    share = drawn.count(0) / 4000
    assert set(drawn) == {0, 1}
    assert abs(share - torch.tensor([2.0, 1.0]).softmax(0)[0].item()) < 4 * 0.5 / 4000**0.5


def test_nothing_to_restrict_is_no_restriction():
    assert Restriction.of(top_k=None, top_p=None, min_p=None) is None
    assert Restriction.of(top_k=None, top_p=0.5, min_p=None) == Restriction(top_p=0.5)


def test_every_row_of_a_draw_has_its_own_restriction():
    logits = torch.randn(3, 30, generator=torch.Generator().manual_seed(2))
    few, none = Restriction(top_k=2), None
    rows = restricted(
        logits, [Draw(temperature=t, seed=0, restriction=r) for t, r in ((1.0, few), (0.5, none), (2.0, few))]
    )
    assert [int(row.isfinite().sum()) for row in rows] == [2, 30, 2]
    assert restricted(logits, [Draw(temperature=1.0, seed=0)] * 3) is logits

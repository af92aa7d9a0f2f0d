"""Every policy against a direct transcription of its rule in docs/semantics.md section 4, in plain Python."""

import itertools
import math
import random

import pytest
import torch

from lm_eval_mdlm.decoding.policies import (
    ConfidenceFactor,
    ConfidenceThreshold,
    EntropyBound,
    EvenSchedule,
    FixedK,
    MultiTokenEntropy,
)
from lm_eval_mdlm.decoding.scores import (
    Candidates,
    at_random,
    by_confidence,
    by_entropy,
    by_margin,
    left_to_right,
)
from lm_eval_mdlm.errors import UsageError
from tests.decoding.making import candidates_of, rows_of


POLICIES = [
    *(
        FixedK(k, score)
        for k in (1, 3, 40)
        for score in (by_entropy, by_confidence, by_margin, at_random, left_to_right)
    ),
    *(MultiTokenEntropy(t, cap) for t in (0.0, 0.2, 1.0, math.inf) for cap in (None, 1, 3)),
    *(EntropyBound(b) for b in (0.0, 0.13, 0.9, math.inf)),
    *(ConfidenceThreshold(t) for t in (0.0, 0.5, 0.9, 1.0)),
    *(ConfidenceFactor(f) for f in (0.0, 0.7, 1.0, 4.0)),
    *(EvenSchedule(s, score) for s in (2, 6, 20) for score in (by_entropy, by_confidence)),
]


def candidates(rows: int, width: int, seed: int, coarse: bool) -> Candidates:
    """Random statistics; coarse ones have many exact ties."""
    torch.manual_seed(seed)

    def values(scale: float) -> torch.Tensor:
        raw = torch.rand(rows, width)
        return ((raw * 4).floor() / 4 if coarse else raw) * scale

    eligible = torch.rand(rows, width) < 0.6
    eligible[:, 0] |= ~eligible.any(dim=-1)
    masks = eligible.sum(-1)
    return candidates_of(
        entropy=values(1.5),
        confidence=values(1.0),
        margin=values(1.0),
        noise=values(1.0),
        eligible=eligible,
        block_masks=masks + torch.randint(0, 3, (rows,)),
        block_step=torch.randint(0, 3, (rows,)),
        num_blocks=torch.full((rows,), 2),
    )


def transcribed(policy, c: Candidates, row: int) -> set[int]:
    """The rule, position by position."""
    where = [i for i, e in enumerate(c.eligible[row].tolist()) if e]
    entropy, confidence = c.entropy[row].tolist(), c.confidence[row].tolist()
    keys = {
        by_entropy: entropy,
        by_confidence: [-x for x in confidence],
        by_margin: [-x for x in c.margin[row].tolist()],
        at_random: c.noise[row].tolist(),
        left_to_right: list(range(c.entropy.shape[1])),
    }
    best = {score: sorted(where, key=lambda i, key=key: (key[i], i)) for score, key in keys.items()}
    match policy:
        case FixedK(k, score):
            return set(best[score][:k])
        case EvenSchedule(steps, score):
            share = steps // c.num_blocks[row].item()
            masks, step = c.block_masks[row].item(), c.block_step[row].item()
            return set(best[score][: masks // share + (1 if step < masks % share else 0)])
        case MultiTokenEntropy(threshold, k_max):
            below = [i for i in best[by_entropy] if entropy[i] < threshold]
            return set(below[:k_max]) if below else {best[by_entropy][0]}
        case EntropyBound(bound):
            order = best[by_entropy]
            prefixes = [order[:n] for n in range(1, len(order) + 1)]
            fitting = [p for p in prefixes if sum(entropy[i] for i in p) - max(entropy[i] for i in p) <= bound]
            return set(fitting[-1])
        case ConfidenceThreshold(threshold):
            above = {i for i in where if confidence[i] >= threshold}
            return above or {best[by_confidence][0]}
        case ConfidenceFactor(factor):
            order = best[by_confidence]
            n = max(
                (n for n in range(1, len(order) + 1) if (n + 1) * (1 - confidence[order[n - 1]]) < factor), default=1
            )
            return set(order[:n])
    raise AssertionError(policy)


def name(policy) -> str:
    """The same in every process: a function's own text holds its address."""
    options = (f"{key}={getattr(value, '__name__', value)}" for key, value in vars(policy).items())
    return f"{type(policy).__name__}({', '.join(options)})"


@pytest.mark.parametrize("policy", POLICIES, ids=name)
@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "ties"])
def test_policy_commits_what_its_rule_says(policy, coarse):
    for seed, width in itertools.product(range(12), (1, 2, 9, 33)):
        c = candidates(5, width, seed, coarse)
        chosen = policy.select(c)
        for row in range(5):
            assert set(chosen[row].nonzero().flatten().tolist()) == transcribed(policy, c, row), (seed, width, row)


@pytest.mark.parametrize("policy", [p for p in POLICIES if not isinstance(p, EvenSchedule)], ids=name)
def test_policy_stays_eligible_and_makes_progress(policy):
    for seed in range(20):
        c = candidates(4, 17, seed, coarse=bool(seed % 2))
        chosen = policy.select(c)
        assert not (chosen & ~c.eligible).any()
        assert chosen.any(dim=-1).all()


def test_row_is_decided_alone():
    c = candidates(6, 12, 3, coarse=False)
    order = torch.tensor(random.Random(0).sample(range(6), 6))
    shuffled = rows_of(c, order)
    for policy in POLICIES:
        assert torch.equal(policy.select(c)[order], policy.select(shuffled)), policy


def test_med_threshold_is_strict():
    c = candidates(1, 3, 0, coarse=False)
    exact = Candidates(
        **{**vars(c), "entropy": torch.tensor([[0.25, 0.5, 0.125]]), "eligible": torch.ones(1, 3).bool()}
    )
    assert MultiTokenEntropy(0.25).select(exact).tolist() == [[False, False, True]]


def test_confidence_threshold_is_inclusive():
    c = candidates(1, 3, 0, coarse=False)
    exact = Candidates(
        **{**vars(c), "confidence": torch.tensor([[0.5, 0.75, 0.25]]), "eligible": torch.ones(1, 3).bool()}
    )
    assert ConfidenceThreshold(0.5).select(exact).tolist() == [[True, True, False]]


@pytest.mark.parametrize("masks", range(1, 12))
@pytest.mark.parametrize("steps", range(1, 12))
def test_even_schedule_empties_a_block_within_its_steps_larger_steps_first(masks, steps):
    left, sizes = masks, []
    policy = EvenSchedule(steps)
    while left:
        c = candidates(1, masks, 0, coarse=False)
        eligible = torch.arange(masks)[None] < left
        step = torch.tensor([len(sizes)])
        c = Candidates(
            **{
                **vars(c),
                "eligible": eligible,
                "block_masks": torch.tensor([masks]),
                "block_step": step,
                "num_blocks": torch.tensor([1]),
            }
        )
        sizes.append(int(policy.select(c).sum()))
        left -= sizes[-1]
        assert sizes[-1] > 0
    assert len(sizes) == min(steps, masks) and sum(sizes) == masks
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_steps_that_do_not_divide_into_blocks_are_refused():
    EvenSchedule(6).check_blocks(3)
    with pytest.raises(UsageError, match=r"steps must be a multiple .*4 here.* got 6"):
        EvenSchedule(6).check_blocks(4)

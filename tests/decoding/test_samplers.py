"""What random distributions never show of the samplers: exact ties, thresholds that are just met, and small regions."""

import itertools

import pytest
import torch

from lm_eval_mdlm.decoding.policies import FixedK, MultiTokenEntropy
from lm_eval_mdlm.decoding.policy import Progress, UnmaskPolicy
from lm_eval_mdlm.decoding.samplers.ada_block import AdaBlock
from lm_eval_mdlm.decoding.samplers.dus import DilatedSchedule, dilated_levels
from lm_eval_mdlm.decoding.samplers.remdm import ReMask
from lm_eval_mdlm.decoding.samplers.sliding_block import SlidingBlock
from lm_eval_mdlm.decoding.samplers.slow_fast import SlowFast, Stage
from lm_eval_mdlm.decoding.scores import by_confidence
from lm_eval_mdlm.decoding.wrapping import Spaced
from tests.decoding.making import candidates_of


def seen(confidence, memory, **columns):
    """One row's candidates, all of them masks but where `eligible` says otherwise."""
    values = torch.tensor([confidence])
    given = {name: torch.tensor([column]) for name, column in columns.items()}
    return candidates_of(
        **{"eligible": torch.ones_like(values, dtype=torch.bool), "confidence": values, "memories": (memory,), **given}
    )


def filled(decision) -> list[int]:
    return decision.commit[0].nonzero().flatten().tolist()


def test_slow_fast_thresholds_are_strict():
    rule = SlowFast(slow_threshold=0.25, confidence_threshold=0.5)
    assert filled(rule.decide(seen([0.5, 0.75, 0.5, 0.625], Stage(end=3)))) == [1, 3]
    assert filled(rule.decide(seen([0.5, 0.5, 0.25], Stage(end=3)))) == [0]
    after = rule.decide(seen([0.5, 0.75, 0.5, 0.25, 0.125], Stage()))
    assert filled(after) == [1] and after.memories == [Stage(horizons=(2,))]


def test_slow_fast_sees_no_farther_than_its_first_mask_where_nothing_is_likely():
    after = SlowFast(stable_window=1).decide(seen([0.05, 0.0625], Stage(end=6), position=[7, 9]))
    assert after.memories == [Stage(end=7)]


@pytest.mark.parametrize(
    ("before", "now", "end"), [((4,), 5, 4), ((4,), 6, None), ((9, 4), 5, 4), ((4, 8, 2), 7, 4), ((0, 0, 1), 9, 5)]
)
def test_slow_fast_goes_on_at_the_mean_of_a_stable_window_or_after_its_last_slow_pass(before, now, end):
    # Variances of two positions that differ by one and by two are 1/4 and 1: only the first is below 1.
    rule = SlowFast(max_slow_steps=4)
    after = rule.decide(seen([0.9] * (now + 1), Stage(horizons=before)))
    assert after.memories == [Stage(end=end) if end is not None else Stage(horizons=(*before, now))]


def test_ada_block_ends_with_the_leftmost_of_equal_delimiters_and_at_its_very_threshold():
    rule = AdaBlock(block_length=5, delimiter_threshold=0.5, delimiters=(7,))
    columns = {"argmax": [7, 1, 7, 7, 1, 7, 1, 7], "block_masks": 20}
    confidence = [0.25, 0.75, 0.5, 0.5, 0.125, 0.875, 0.5, 0.9375]

    def end_of(confidence, **changed):
        own = {**columns, **changed, "block_masks": [changed.get("block_masks", 20)]}
        given = {name: torch.tensor([column]) for name, column in own.items() if name != "block_masks"}
        rows = seen(confidence, 0)
        given["block_masks"] = torch.tensor(own["block_masks"])
        return rule.focus(type(rows)(**{**vars(rows), **given})).memories[0]

    assert end_of(confidence) == 3  # a window of 5; positions 5 and 7 are beyond it
    assert end_of([0.25, 0.75, 0.375, 0.4375, 0.1, 0.9, 0.5, 0.9]) == 5  # too unlikely: block_length
    assert end_of(confidence, block_masks=24) == 6
    assert end_of(confidence, block_masks=3) == 5  # no window at all
    assert end_of(confidence, argmax=[1] * 8) == 5


def test_ada_block_keeps_its_end_once_it_is_open():
    rule = AdaBlock(block_length=5, delimiters=(7,))
    rows = seen([0.9] * 3, 4, argmax=[7, 7, 7], position=[1, 2, 3])
    again = rule.focus(rule.focus(rows))
    assert again.memories == (4,) and again.eligible.all()


def test_sliding_block_is_a_window_of_masks_and_perhaps_of_positions():
    masked = torch.tensor([0, 1, 1, 0, 0, 1, 1, 1]).bool().numpy()
    progress = Progress(masked, masked, masked.nonzero()[0], None)
    for rule, expected in [
        (SlidingBlock(3), [1, 2, 5]),
        (SlidingBlock(99), [1, 2, 5, 6, 7]),
        (SlidingBlock(4, max_block_length=5), [1, 2, 5]),
        (SlidingBlock(4, max_block_length=1), [1]),
    ]:
        assert rule.scope(progress).nonzero()[0].tolist() == expected


@pytest.mark.parametrize("skip", [1, 2, 3, 9])
@pytest.mark.parametrize("length", [*range(1, 40), 64])
def test_levels_share_out_a_block_from_far_to_near(length, skip):
    levels = dilated_levels(length, skip)
    assert sorted(offset for level in levels for offset in level) == list(range(length))
    assert 0 in levels[0] and all(levels)
    apart = [min((b - a for a, b in itertools.pairwise(level)), default=length) for level in levels]
    assert all(gap >= 2 for gap in apart[:-2])
    assert len(levels) < 2 or len(levels[-1]) >= len(levels[-2])


def test_levels_of_the_paper_s_block():
    assert [len(level) for level in dilated_levels(32, 1)] == [2, 2, 4, 8, 16]
    assert dilated_levels(5, 1) == [[0, 2, 4, 1, 3]]


def test_dus_keeps_what_is_exactly_at_its_threshold_and_fills_the_rest_in_its_last_pass():
    rule = DilatedSchedule(remask_below=0.5)
    first = rule.decide(seen([0.5, 0.9, 0.9, 0.9, 0.25, 0.9, 0.9, 0.9], None))
    assert filled(first) == [0]
    left = {"position": [1, 2, 3, 4, 5, 6, 7], "block_length": [8]}
    for step, expected in [(1, [1, 5]), (2, [0, 1, 2, 3, 4, 5, 6])]:
        rows = seen([0.5] * 7, first.memories[0], position=left["position"])
        rows = type(rows)(**{**vars(rows), "block_step": torch.tensor([step]), "block_length": torch.tensor([8])})
        assert filled(rule.decide(rows)) == expected


def test_remdm_takes_back_the_leftmost_of_equals():
    after = ReMask().decide(
        seen([0.0] * 4, 2, eligible=[False] * 4, revisable=[False, True, True, True], log_prob=[-9.0, -1.0, -2.0, -2.0])
    )
    assert after.remask.tolist() == [[False, False, True, False]] and after.memories == [3]
    assert not after.commit.any()


@pytest.mark.parametrize(
    ("policy", "columns", "expected"),
    [
        (FixedK(9, by_confidence), {"confidence": [[0.5, 0.9, 0.5, 0.9, 0.5]]}, [1, 3]),
        (FixedK(9, by_confidence), {"confidence": [[0.5, 0.5, 0.5, 0.5, 0.5]]}, [0, 2, 4]),
        (MultiTokenEntropy(9.0), {"entropy": [[2.0, 2.0, 1.0, 2.0, 2.0]]}, [0, 2, 4]),
        (MultiTokenEntropy(9.0), {"entropy": [[2.0, 1.0, 2.0, 2.0, 2.0]]}, [1, 3]),
    ],
    ids=["confidence", "equal", "entropy", "entropies"],
)
def test_distances_are_kept_best_first_in_the_rule_s_own_order(policy, columns, expected):
    given = {name: torch.tensor(values) for name, values in columns.items()}
    rows = candidates_of(eligible=torch.ones(1, 5, dtype=torch.bool), **given)
    assert filled(Spaced(policy, 0.0).decide(rows)) == expected
    # Three eligible masks of five, and g = 5: a gap of exactly three.
    rows = type(rows)(**{**vars(rows), "eligible": torch.tensor([[True, True, False, False, True]])})
    assert set(filled(Spaced(policy, 5.0).decide(rows))) in ({0, 4}, {1, 4})


def where(rule, masked, memory, masks_at_start=None) -> list[int]:
    """Scope of a region that `masked` says the length and the masks of."""
    now = torch.tensor(masked).bool().numpy()
    started = torch.ones(len(masked) if masks_at_start is None else masks_at_start).nonzero().flatten().numpy()
    return rule.scope(Progress(now, now, started, memory)).nonzero()[0].tolist()


def test_slow_fast_fills_its_stretch_to_the_last_position_before_it_explores_again():
    rule = SlowFast()
    assert where(rule, [0, 0, 1, 0, 1, 1], Stage(end=2)) == [2]
    assert where(rule, [0, 0, 0, 0, 1, 1], Stage(end=3)) == [4, 5]
    assert where(rule, [0, 1, 1, 1], Stage(horizons=(3,))) == [1, 2, 3]
    fast = rule.decide(seen([0.2], Stage(end=2), position=[2]))
    assert filled(fast) == [0] and fast.memories == [Stage(end=2)]
    slow = rule.decide(seen([0.2, 0.3], Stage(end=2), position=[3, 4]))
    assert filled(slow) == [1] and slow.memories == [Stage(end=2, horizons=(4,))]


def test_ada_block_opens_the_next_block_right_behind_the_last():
    rule = AdaBlock(block_length=2, delimiters=(7,))
    assert where(rule, [0, 0, 1, 1, 1, 1, 1], 4) == [2, 3]
    assert where(rule, [0, 0, 1, 1, 1, 1, 1], 2) == [2, 3]
    assert where(rule, [0, 0, 1, 1, 1, 1, 1], 2, masks_at_start=16) == [2, 3, 4, 5]
    assert rule.focus(seen([0.9, 0.9, 0.9], 4, position=[4, 5, 6])).memories == (6,)


@pytest.mark.parametrize(("share", "filled_before"), [(0.0, 1), (0.3, 1), (0.5, 2), (0.75, 3), (1.0, 4), (0.7499, 2)])
def test_remdm_takes_back_once_its_share_is_filled_and_no_more_than_its_loops(share, filled_before):
    rule = ReMask(remdm_share=share, remdm_loops=2)
    free = torch.tensor([0, 1, 1, 1, 1, 0]).bool().numpy()
    for number in range(5):
        masked = free.copy()
        masked[1 : 1 + number] = False
        progress = Progress(masked, free, free.nonzero()[0], 1)
        back = rule.revisable(progress)
        if number >= filled_before:
            assert back.nonzero()[0].tolist() == list(range(1, 1 + number)) and not rule.scope(progress).any()
        else:
            assert back is None and (rule.scope(progress) == masked).all()
        over = Progress(masked, free, free.nonzero()[0], 2)
        assert rule.revisable(over) is None and (rule.scope(over) == masked).all()
    assert [rule.is_final(n) for n in (0, 1, 2)] == [False, False, True]
    assert [rule.completes(0, n) for n in (1, 2)] == [False, True] and not rule.completes(1, 2)
    assert (rule.most_steps(4), ReMask(remdm_loops=0).revises) == (8, False)


def test_distances_count_the_masks_that_the_pass_itself_leaves_eligible():
    # The block that opens has four of the eight masks that the pass looks at: a gap of 2, not of 4.
    rows = seen([0.95] * 8, 0)
    rows = type(rows)(**{**vars(rows), "block_masks": torch.tensor([8])})
    rule = AdaBlock(block_length=4, delimiters=(7,))
    assert filled(Spaced(rule, 4.0).decide(rows)) == [0, 2]


class Replacing(UnmaskPolicy):
    """Commits whatever it may."""

    def select(self, candidates):
        return candidates.eligible | candidates.revisable


def test_tokens_that_are_replaced_are_no_masks_that_are_filled_and_keep_no_distance():
    rows = seen([0.9] * 4, None, eligible=[True, True, False, False], revisable=[False, False, True, True])
    assert filled(Spaced(Replacing(), 0.0).decide(rows)) == [0, 2, 3]

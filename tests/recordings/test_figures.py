"""Figures of a recording alone, against values worked out by hand and against brute force."""

import itertools
import math

import numpy as np
import pytest

from lm_eval_mdlm.recordings.certainty import SAFE_BOUND, certainty_of, safe_number
from lm_eval_mdlm.recordings.diagnosis import diagnosed, groups_of, told
from lm_eval_mdlm.recordings.order import order_of
from lm_eval_mdlm.recordings.passes import passes_of
from lm_eval_mdlm.recordings.states import drawn, masked_answer, open_answers, parallel_steps
from tests.recordings.made import MASK, steps


def one_by_one(order, **more):
    return steps([{"positions": [i]} for i in order], length=len(order), **more)


def test_left_to_right_and_its_reverse():
    forward, backward = order_of([one_by_one(range(6))]), order_of([one_by_one(range(5, -1, -1))])
    assert (forward.leftmost_share, forward.mean_distance) == (1, 0)
    assert (backward.leftmost_share, backward.mean_distance) == (1 / 6, 15 / 6)
    assert (forward.kendall_tau, backward.kendall_tau) == pytest.approx((1, -1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::3], ids=str)
def test_tau_and_distance_are_those_of_brute_force(order):
    found = order_of([one_by_one(order)])
    when = {position: step for step, position in enumerate(order)}
    pairs = [math.copysign(1, when[b] - when[a]) for a, b in itertools.combinations(range(4), 2)]
    assert found.kendall_tau == pytest.approx(sum(pairs) / len(pairs))
    left = [sum(when[j] > when[i] for j in range(i)) for i in range(4)]
    assert found.mean_distance == pytest.approx(np.mean(left)) and found.leftmost_share == np.mean(np.array(left) == 0)


def test_a_pass_that_takes_the_leftmost_masks_together_leaves_none_standing():
    found = order_of([steps([{"positions": [0, 1, 2]}, {"positions": [4, 3]}, {"positions": [5]}])])
    assert (found.leftmost_share, found.mean_distance, found.tokens_per_step) == (1, 0, 2)
    assert found.kendall_tau == pytest.approx(11 / math.sqrt(15 * 11))  # 4 of 15 pairs are ties in one of the two
    found = order_of([steps([{"positions": [0, 2, 3]}, {"positions": [5]}, {"positions": [1, 4]}])])
    assert found.mean_distance == pytest.approx((0 + 1 + 1 + 2 + 0 + 0) / 6) and found.leftmost_share == 3 / 6


def test_means_are_over_rows_and_the_pass_of_an_exit_is_left_out():
    long, short = one_by_one(range(6)), one_by_one((1, 0))
    found = order_of([long, short])
    assert found.mean_distance == pytest.approx((0 + 0.5) / 2) and found.num_rows == 2
    ended = steps([{"positions": [5]}, {"positions": [0, 1]}], stop="exit")
    assert order_of([ended]).mean_distance == 5 and order_of([ended]).kendall_tau is None
    assert order_of([steps([{"positions": [0, 1]}], stop="exit")]) is None


def test_tokens_that_are_taken_back_or_replaced_are_followed():
    row = steps(
        [
            {"positions": [2], "remasked": []},
            {"positions": [0], "remasked": [2]},
            {"positions": [0, 1]},
            {"positions": [2]},
        ],
        length=3,
    )
    # In the third pass position 0 gets another token, which is no commit; position 2 is committed twice.
    found = order_of([row])
    assert found.mean_distance == pytest.approx((2 + 0 + 0 + 0) / 4) and found.kendall_tau == pytest.approx(0.8164966)
    assert [step for _, step in parallel_steps([row])] == []
    assert certainty_of([row]).entropy.n == 4


def test_ends_of_text_come_first_only_with_more_than_half_of_the_masks_left():
    first = steps([{"positions": [5], "tokens": [0]}, *({"positions": [i]} for i in range(5))])
    third = steps(
        [*({"positions": [i]} for i in range(2)), {"positions": [5], "tokens": [0]}, {"positions": [2, 3, 4]}]
    )
    late = steps([*({"positions": [i]} for i in range(3)), {"positions": [5], "tokens": [0]}, {"positions": [3, 4]}])
    assert [order_of([row]).early_end_share for row in (first, third, late)] == [1, 1, 0]


def test_safe_number_is_the_longest_prefix_within_the_bound():
    rng = np.random.default_rng(1)
    for _ in range(200):
        entropy = (rng.random(rng.integers(1, 8)) * 0.2).astype(np.float32)
        ascending = np.sort(entropy).astype(float)
        sizes = [n for n in range(1, len(entropy) + 1) if ascending[:n].sum() - ascending[n - 1] <= SAFE_BOUND]
        assert safe_number(entropy) == max(sizes)


def test_certainty_counts_lone_commits_only_where_others_could_have_come():
    rows = [
        steps(
            [
                {"positions": [0], "entropy": [0.5]},
                {"positions": [1, 2, 3], "entropy": [0.08, 0.3, 0.06]},
                {"positions": [5], "entropy": [0.7]},
                {"positions": [4], "entropy": [0.9]},
            ]
        )
    ]
    found = certainty_of(rows)
    assert found.lone_share == pytest.approx(2 / 3) and found.lone_entropy.n == 2
    assert found.lone_entropy.median == pytest.approx(0.6) and found.entropy.n == 6
    assert found.bound.mean == pytest.approx(0.14) and found.safe_number.median == 2 and found.unsafe_share == 1


def test_passes_and_exits():
    exits = steps(
        [{"positions": [0, 1], "bound": 3.0}, {"positions": [4, 5], "bound": 0.05}],
        segments=(("reasoning", 0, 4), ("answer", 4, 6)),
        stop="exit",
        nfe=2,
    )
    whole = one_by_one(range(6), nfe=12)
    found = passes_of([exits, whole])
    assert found.stops == {"complete": 1, "exit": 1} and found.nfe.mean == 7 and found.nominal == 6
    assert found.speed_up == pytest.approx(12 / 8)
    assert found.exit_step.mean == 2 and found.unfilled_share.mean == 0.5 and found.answer_entropy.mean == 0.05
    assert passes_of([whole]).exit_step is None


def test_states_are_those_that_passes_saw():
    row = steps(
        [{"positions": [0, 5]}, {"positions": [1]}, {"positions": [2, 3]}, {"positions": [4]}],
        segments=(("reasoning", 0, 4), ("answer", 4, 6)),
    )
    ended = steps(
        [{"positions": [0]}, {"positions": [4, 5]}], segments=(("reasoning", 0, 4), ("answer", 4, 6)), stop="exit"
    )
    assert [step for _, step in parallel_steps([row])] == [0, 2] and parallel_steps([ended]) == []
    exits, others = open_answers([row, ended])
    assert [step for _, step in exits] == [1] and [step for _, step in others] == [0, 1, 2, 3, 0]
    assert [masked_answer(row, step).tolist() for step in range(4)] == [[4, 5], [4], [4], [4]]
    assert row.region_before(1).tolist() == [7, MASK, MASK, MASK, MASK, 7]


def test_as_many_states_are_drawn_as_asked_for_and_always_the_same():
    states = [(None, i) for i in range(50)]
    some = drawn(states, 20)
    assert some == drawn(states, 20) == sorted(some) and len(set(some)) == 20 and drawn(states, 60) == states
    assert drawn(states, 0) == drawn(states, -3) == []


def test_rows_of_other_tasks_or_options_are_diagnosed_apart_and_seeds_are_not():
    rows = [
        one_by_one(range(6), task=task, doc_id=i, options={"sampler": sampler, "entropy_threshold": 0.2, "seed": i})
        for i, (task, sampler) in enumerate([("pens", "med"), ("pens", "med"), ("ink", "med"), ("pens", "x")])
    ]
    groups = groups_of(rows)
    assert [[row.doc_id for row in group.rows] for group in groups] == [[0, 1], [2], [3]]
    lines = list(told(diagnosed(groups[0])))
    assert lines[0] == "pens, sampler=med: 2 rows (complete 2)" and all(len(line) < 250 for line in lines)

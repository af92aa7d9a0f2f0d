"""Two methods on the same problems, against counts by hand."""

import numpy as np
import pytest
from scipy import stats

from lm_eval_mdlm.report.boards import study_of
from lm_eval_mdlm.report.comparing import difference, mean_of, side
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.intervals import mcnemar, paired_interval
from tests.report.by_hand import write_run


def board(folder):
    (only,) = study_of(read_folders([folder]).runs).boards
    return only


def two(folder, first, second, **options):
    write_run(folder / "a", first, gen_kwargs={"k": 1}, **options)
    write_run(folder / "b", second, gen_kwargs={"k": 2}, **options)
    both = board(folder)
    return difference(side(both.of("a")), side(both.of("b")))


def test_right_and_wrong_answers_are_counted_exactly(tmp_path):
    found = two(tmp_path, [1, 1, 1, 0, 0, 1, 1, 0], [1, 0, 0, 0, 1, 0, 1, 0])
    assert (found.better, found.worse, found.num_problems, found.left_out) == (3, 1, 8, 0)
    assert found.value == pytest.approx(2 / 8)
    assert found.p == mcnemar(3, 1) == 0.625
    assert found.interval == paired_interval(3, 1, 8)
    assert found.test == "McNemar, exact" and found.over == "8 problems"


@pytest.mark.parametrize("score", [0, 1])
@pytest.mark.parametrize("n", [1, 20])
def test_equal_runs_differ_by_nothing_but_not_for_certain(tmp_path, n, score):
    found = two(tmp_path, [score] * n, [score] * n)
    assert (found.value, found.p, found.better, found.worse) == (0, 1.0, 0, 0)
    assert found.interval.low < 0 < found.interval.high


def test_all_right_against_none_right(tmp_path):
    found = two(tmp_path, [1] * 12, [0] * 12)
    assert found.value == 1 and found.interval.high == 1 and found.interval.low > 0.5
    assert found.p == pytest.approx(2 / 2**12)
    assert not found.is_worse


def test_only_a_difference_below_nothing_is_worse(tmp_path):
    assert two(tmp_path / "certain", [0] * 12, [1] * 12).is_worse
    assert not two(tmp_path / "slight", [0, 1, 1], [1, 1, 1]).is_worse


def test_scores_between_right_and_wrong_are_paired_by_students_t(tmp_path):
    first, second = [0.5, 0.25, 1.0, 0.0], [0.25, 0.5, 0.0, 0.0]
    found = two(tmp_path, first, second)
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.test == "t" and (found.better, found.worse) == (2, 1)


def test_a_metric_that_is_better_lower_turns_the_sign(tmp_path):
    found = two(tmp_path, [3.0, 5.0, 4.0], [4.0, 7.0, 4.5], higher=False)
    assert found.value == pytest.approx(3.5 / 3) and found.better == 3


def test_other_documents_are_left_out_and_counted(tmp_path):
    write_run(tmp_path / "a", [1, 0, 1], documents=["x", "y", "z"], gen_kwargs={"k": 1})
    write_run(tmp_path / "b", [0, 1], documents=["z", "w"], gen_kwargs={"k": 2})
    both = board(tmp_path)
    found = difference(side(both.of("a")), side(both.of("b")))
    assert (found.num_problems, found.left_out, found.better, found.worse) == (1, 3, 1, 0)


def test_runs_over_different_documents_are_not_compared(tmp_path):
    write_run(tmp_path / "a", [1, 0], documents=["x", "y"], gen_kwargs={"k": 1})
    write_run(tmp_path / "b", [1, 0], documents=["z", "w"], gen_kwargs={"k": 2})
    both = board(tmp_path)
    assert difference(side(both.of("a")), side(both.of("b"))) is None


def test_documents_are_joined_by_what_they_are_not_by_their_order(tmp_path):
    write_run(tmp_path / "a", [1, 0, 0], documents=["x", "y", "z"], gen_kwargs={"k": 1})
    write_run(tmp_path / "b", [0, 0, 1], documents=["z", "y", "x"], gen_kwargs={"k": 2})
    both = board(tmp_path)
    found = difference(side(both.of("a")), side(both.of("b")))
    assert (found.value, found.better, found.worse) == (0, 0, 0)


def test_single_other_prompts_are_paired_and_said(tmp_path):
    write_run(tmp_path / "a", [1, 0], prompt="one", gen_kwargs={"k": 1})
    write_run(tmp_path / "b", [0, 0], prompt="two", gen_kwargs={"k": 2})
    both = board(tmp_path)
    found = difference(side(both.of("a")), side(both.of("b")))
    assert found.other_prompts == 2 and found.better == 1


def test_prompts_are_paired_with_themselves(tmp_path):
    for prompt, first, second in (("one", [1, 1], [1, 0]), ("two", [0, 0], [0, 1])):
        write_run(tmp_path / f"a {prompt}", first, prompt=prompt, gen_kwargs={"k": 1})
        write_run(tmp_path / f"b {prompt}", second, prompt=prompt, gen_kwargs={"k": 2})
    both = board(tmp_path)
    first, second = both.methods
    found = difference(side(both.of(first)), side(both.of(second)))
    assert (found.value, found.better, found.worse, found.other_prompts) == (0, 1, 1, 0)
    assert found.over == "2 problems, 2 prompts"
    assert found.test == "t"  # the prompts change answers, so problems are not all that is drawn


def test_seeds_are_averaged_before_problems_are_compared(tmp_path):
    ours = {1: [1, 0, 1, 0], 2: [1, 1, 0, 0], 3: [1, 0, 0, 0]}
    theirs = {9: [0, 0, 0, 1]}
    for name, k, runs in (("a", 1, ours), ("b", 2, theirs)):
        for seed, scores in runs.items():
            write_run(tmp_path / f"{name} {seed}", scores, gen_kwargs={"k": k, "seed": seed})
    both = board(tmp_path)
    first, second = both.methods
    found = difference(side(both.of(first)), side(both.of(second)))
    means = np.mean(list(ours.values()), axis=0)
    assert found.p == pytest.approx(stats.ttest_rel(means, theirs[9]).pvalue)
    assert found.value == pytest.approx(np.mean(means) - 0.25)
    assert found.over == "4 problems, 3 seeds"
    assert mean_of(side(both.of(first))).value == pytest.approx(np.mean(means))


def test_a_mean_without_samples_is_the_harnesss_own_and_has_no_interval(tmp_path):
    write_run(tmp_path / "a", [1, 0, 0], keep_samples=False)
    found = mean_of(side(board(tmp_path).cells))
    assert found.value == pytest.approx(1 / 3) and found.interval is None and found.num_problems == 0


def test_a_mean_is_over_the_problems_of_all_its_cells(tmp_path):
    write_run(tmp_path / "a", [1, 0, 0], documents=["x", "y", "z"], gen_kwargs={"seed": 1})
    write_run(tmp_path / "b", [1, 1], documents=["x", "y"], gen_kwargs={"seed": 2})
    found = mean_of(side(board(tmp_path).cells))
    assert (found.value, found.num_problems, found.left_out) == (0.75, 2, 1)


def test_intervals_of_shares_end_where_shares_do(tmp_path):
    for seed, scores in ((1, [1, 1, 1]), (2, [1, 1, 0])):
        write_run(tmp_path / f"a{seed}", scores, gen_kwargs={"seed": seed, "way": "a"})
    write_run(tmp_path / "b", [0, 0, 1], gen_kwargs={"way": "b"})
    both = board(tmp_path)
    first, second = (side(both.of(method)) for method in both.methods)
    assert mean_of(first).interval.high == 1.0 and 0 < mean_of(first).interval.low < 5 / 6
    apart = difference(first, second)
    assert apart.interval.high == 1.0 and -1.0 <= apart.interval.low < apart.value


def test_intervals_of_other_scores_may_end_anywhere(tmp_path):
    write_run(tmp_path / "a", [0.9, 0.1, 0.2], higher=False, gen_kwargs={"way": "a"})
    assert mean_of(side(board(tmp_path).cells)).interval.low < 0

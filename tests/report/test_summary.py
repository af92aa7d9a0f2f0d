"""The figures of a board, on runs whose figures are known."""

import itertools

import pytest

from lm_eval_mdlm.report.boards import study_of
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.intervals import paired_interval
from lm_eval_mdlm.report.outcome_classes import OutcomeClass
from lm_eval_mdlm.report.summary import default_baseline, summarise
from tests.report.by_hand import write_run


def board(folder):
    return study_of(read_folders([folder]).runs).boards[0]


def write_ladder(folder):
    """40 problems: `slow` has 36 right, `middle` loses 1 of them, `fast` 16."""
    for name, right, nfe in (("slow", 36, 64.0), ("middle", 35, 16.0), ("fast", 20, 4.0), ("silly", 19, 32.0)):
        write_run(folder / name, [1] * right + [0] * (40 - right), nfe=nfe, gen_kwargs={"way": name})


def test_front_knee_best_and_differences_of_a_ladder(tmp_path):
    write_ladder(tmp_path)
    found = summarise(board(tmp_path), "slow")
    assert [row.method for row in found.rows if row.on_front] == ["fast", "middle", "slow"]
    assert found.best == "slow" and found.knee.method == "middle"
    assert found.row("slow").to_baseline is None and found.row("slow").p_adjusted is None
    fast = found.row("fast")
    assert (fast.to_baseline.better, fast.to_baseline.worse) == (0, 16)
    assert fast.to_baseline.value == pytest.approx(-0.4)
    assert fast.to_baseline.interval == paired_interval(0, 16, 40)
    assert fast.p_adjusted == pytest.approx(2 * 2 / 2**16)  # second of three tests
    assert fast.is_worse and not found.row("middle").is_worse
    assert found.row("silly").p_adjusted == pytest.approx(3 * 2 / 2**17)


def test_a_difference_whose_p_is_too_small_for_a_number_is_significant(tmp_path):
    write_run(tmp_path / "a", [1] * 1200, nfe=64.0, gen_kwargs={"way": 1})
    write_run(tmp_path / "b", [0] * 1200, gen_kwargs={"way": 2})
    found = summarise(board(tmp_path), "a")
    assert found.row("b").p_adjusted == 0.0
    assert found.row("b").is_worse and not found.row("b").is_better
    back = summarise(board(tmp_path), "b")
    assert back.row("a").is_better and not back.row("a").is_worse


def test_without_a_name_the_baseline_is_the_one_with_most_passes(tmp_path):
    write_ladder(tmp_path)
    write_run(tmp_path / "other", [1] * 40, nfe=None, model="hf")
    assert default_baseline(board(tmp_path)) == "slow"


def test_what_cannot_be_compared_with_the_best_is_no_knee(tmp_path):
    write_run(tmp_path / "best", [1] * 40, nfe=64.0, gen_kwargs={"way": 1})
    write_run(tmp_path / "apart", [1] * 39 + [0], documents=[f"x{i}" for i in range(40)], gen_kwargs={"way": 2})
    assert summarise(board(tmp_path), "best").knee.method == "best"


def test_models_that_count_no_passes_have_no_place_on_the_front(tmp_path):
    write_run(tmp_path / "ar", [1, 1, 1], nfe=None, model="hf")
    write_run(tmp_path / "med", [1, 0, 1], nfe=8.0)
    found = summarise(board(tmp_path), "ar")
    assert not found.row("ar").on_front and found.row("ar").nfe is None
    assert found.best == "med" and found.knee.method == "med"
    assert found.row("med").to_baseline.worse == 1


def test_no_run_with_passes_has_a_best_and_no_knee(tmp_path):
    write_run(tmp_path / "a", [1, 0], nfe=None, model="hf")
    found = summarise(board(tmp_path), "a")
    assert found.best == "a" and found.knee is None


def test_passes_are_the_mean_over_rows_with_its_error(tmp_path):
    write_run(tmp_path / "a", [1, 0, 1, 1], nfe=[2.0, 4.0, 6.0, 8.0])
    (row,) = summarise(board(tmp_path), "a").rows
    assert row.nfe == 5.0 and row.nfe_error == pytest.approx((20 / 3) ** 0.5 / 2)
    assert row.counts["nfe"] == [2.0, 4.0, 6.0, 8.0]


def test_exit_steps_are_those_of_rows_that_exited(tmp_path):
    write_run(tmp_path / "a", [1, 0, 1], numbers={"exit_step": [0.0, 5.0, 7.0], "truncated": [1.0, 0.0, 0.0]})
    (row,) = summarise(board(tmp_path), "a").rows
    assert row.counts["exit_step"] == [5.0, 7.0] and row.truncated == 1


def test_prompts_agree_as_their_orders_do(tmp_path):
    scores = {"one": {"a": 1, "b": 2, "c": 3}, "two": {"a": 1, "b": 3, "c": 2}, "three": {"a": 3, "b": 2, "c": 1}}
    for prompt, of_prompt in scores.items():
        for name, right in of_prompt.items():
            write_run(
                tmp_path / f"{name}{prompt}", [1] * right + [0] * (5 - right), prompt=prompt, gen_kwargs={"way": name}
            )
    found = summarise(board(tmp_path), "way=a")
    names = {prompt: words for prompt, words in zip(("one", "three", "two"), found.by_prompt, strict=True)}
    for one, other in itertools.combinations(scores, 2):
        pairs = list(itertools.combinations("abc", 2))
        same = sum((scores[one][x] - scores[one][y]) * (scores[other][x] - scores[other][y]) > 0 for x, y in pairs)
        key = (names[one], names[other])
        known = found.agreement[key] if key in found.agreement else found.agreement[key[::-1]]
        assert known == pytest.approx((2 * same - 3) / 3)
    assert found.ahead("way=c", "way=a") == (2, 3)
    assert found.ahead("way=a", "way=c") == (1, 3)


def test_where_lower_is_better_the_lower_score_is_best_ahead_and_on_the_front(tmp_path):
    for prompt in ("one", "two"):
        for name, score in (("a", 2.0), ("b", 3.0)):
            folder = tmp_path / f"{name}{prompt}"
            write_run(folder, [score, score + 1], prompt=prompt, gen_kwargs={"way": name}, metric="ppl", higher=False)
    found = summarise(board(tmp_path), "way=b")
    assert found.best == found.knee.method == "way=a" and found.ahead("way=a", "way=b") == (2, 2)
    assert [row.method for row in found.rows if row.on_front] == ["way=a"]
    assert found.row("way=a").to_baseline.value == 1.0


def test_every_pair_of_methods_has_its_flips(tmp_path):
    rows = {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0], "c": [0, 0, 0, 1]}
    for name, scores in rows.items():
        write_run(tmp_path / name, scores, gen_kwargs={"way": name})
    between = summarise(board(tmp_path), "a").between
    for one, other in itertools.combinations(rows, 2):
        found = between[one, other]
        assert found.better == sum(x > y for x, y in zip(rows[one], rows[other], strict=True))
        assert found.worse == sum(x < y for x, y in zip(rows[one], rows[other], strict=True))


def test_repeats_with_other_seeds_give_pass_at_k(tmp_path):
    rows = {1: [1, 0, 0], 2: [0, 0, 1], 3: [1, 0, 0], 4: [1, 0, 0]}
    for seed, scores in rows.items():
        write_run(tmp_path / str(seed), scores, gen_kwargs={"seed": seed, "way": "a"})
    write_run(tmp_path / "alone", [1, 1, 1], gen_kwargs={"way": "b"})
    found = summarise(board(tmp_path), "alone")
    attempts = found.row("way=a").attempts
    for k in (1, 2, 4):
        chosen = list(itertools.combinations(rows, k))
        by_problem = [sum(any(rows[s][i] for s in seeds) for seeds in chosen) / len(chosen) for i in range(3)]
        assert attempts[k] == pytest.approx(sum(by_problem) / 3)
    assert list(attempts) == [1, 2, 4]
    assert found.row("alone").attempts == {}


def test_attempts_with_other_prompts_are_other_problems(tmp_path):
    for prompt, score in (("one", 1), ("two", 0)):
        for seed in (1, 2):
            write_run(tmp_path / f"{prompt}{seed}", [score], prompt=prompt, gen_kwargs={"seed": seed})
    (row,) = summarise(board(tmp_path), board(tmp_path).methods[0]).rows
    assert row.attempts == {1: 0.5, 2: 0.5}


@pytest.mark.parametrize("metric", ["pass@1", "acc"])
def test_repeats_in_one_run_are_attempts_where_pass_at_1_is_their_share(tmp_path, metric):
    right = (0, 1, 3)
    shares = [c / 4 for c in right]
    write_run(tmp_path / "a", shares, metric=metric, readings=[list("abcd")] * 3, numbers={"pass@1": shares})
    (row,) = summarise(board(tmp_path), "a").rows
    for k in (1, 2, 4):
        chosen = list(itertools.combinations(range(4), k))
        by_problem = [sum(min(choice) < c for choice in chosen) / len(chosen) for c in right]
        assert row.attempts[k] == pytest.approx(sum(by_problem) / 3)


def test_repeats_of_other_metrics_may_be_the_best_or_the_most_frequent_and_are_no_attempts(tmp_path):
    write_run(tmp_path / "a", [1, 0, 1], readings=[list("abcd")] * 3)
    (row,) = summarise(board(tmp_path), "a").rows
    assert row.attempts == {}


@pytest.mark.parametrize(
    ("score", "text", "reading", "tokens", "options", "expected"),
    [
        (1, "42", "42", 3, {"gen_length": 8}, OutcomeClass.RIGHT),
        (0, "41", "41", 3, {"gen_length": 8}, OutcomeClass.WRONG),
        (0, " \n", " \n", 0, {"gen_length": 8}, OutcomeClass.EMPTY),
        (0, "hm", "[invalid]", 3, {"gen_length": 8}, OutcomeClass.UNREADABLE),
        (0, "hm", "[invalid]", 8, {"gen_length": 8}, OutcomeClass.EXHAUSTED),
        (0, "41", "41", 8, {"gen_length": 8}, OutcomeClass.EXHAUSTED),
        (0, "41", "41", 8, {"gen_length": 8, "template": [{"answer": 8}]}, OutcomeClass.WRONG),
        (1, "42", "42", 8, {"gen_length": 8}, OutcomeClass.RIGHT),
        (0, "41", "41", 8, None, OutcomeClass.WRONG),
    ],
)
def test_outcome_class_tells_missing_answers_from_wrong_ones(tmp_path, score, text, reading, tokens, options, expected):
    write_run(
        tmp_path, [score], texts=[text], readings=[reading], numbers={"tokens": [float(tokens)]}, effective=options
    )
    (row,) = summarise(board(tmp_path), tmp_path.name).rows
    assert row.classes == {expected: 1}


@pytest.mark.parametrize(("stop", "kind"), [("cap", "EXHAUSTED"), ("exit", "WRONG"), (["exit", "cap"], "EXHAUSTED")])
def test_a_row_that_took_all_its_passes_is_exhausted(tmp_path, stop, kind):
    write_run(tmp_path, [0], numbers={"stop": [stop]})
    (row,) = summarise(board(tmp_path), tmp_path.name).rows
    assert row.classes == {OutcomeClass[kind]: 1}
    assert sum(row.stops.values()) == (1 if isinstance(stop, str) else 2) and row.stops["exit"] == ("exit" in stop)


def test_scores_that_are_not_right_or_wrong_have_no_classes(tmp_path):
    write_run(tmp_path, [0.5, 1.0])
    (row,) = summarise(board(tmp_path), tmp_path.name).rows
    assert row.classes is None

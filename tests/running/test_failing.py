"""Requests for which the network returns no numbers: marked, told, kept out of journals; runs of nothing else end."""

import logging
import math

import pytest

from lm_eval_mdlm.engine.record import STOPS
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from lm_eval_mdlm.running.traces import score_traces
from tests.engine.test_not_finite import BAD, Poisoned
from tests.engine.test_scheduling import MASK


PROMPTS = [[2, 3], [4, BAD], [5], [6, 7]]
OPTIONS = {"gen_length": 6, "k": 2}


def test_a_failed_row_says_so_and_the_user_is_told_which_it_is(caplog):
    with caplog.at_level(logging.ERROR):
        rows = generate(Poisoned(), PROMPTS, **OPTIONS)
    assert [row.failed for row in rows] == [False, True, False, False]
    failed = rows[1]
    assert (failed.stop, failed.nfe, failed.tokens, failed.token_ids) == ("failed", 1, 0, [MASK] * 6)
    assert failed.stats["failed_rows"] == 1 and STOPS[int(failed.stats["stop"])] == "failed"
    assert all("failed_rows" not in rows[i].stats for i in (0, 2, 3))
    assert [rows[i] for i in (0, 2, 3)] == generate(Poisoned(), [PROMPTS[i] for i in (0, 2, 3)], **OPTIONS)
    assert [record.message for record in caplog.records] == [
        "request 1 of process 0: the network returned NaN in dtype=float32, or -inf for all that may be proposed; it "
        "has failed and has no result, the others go on."
    ]


def test_a_failed_pair_has_no_score():
    pairs = [(prompt, [3, 4]) for prompt in PROMPTS]
    scores = loglikelihood(Poisoned(), pairs, likelihood="l2r")
    assert [math.isnan(score.log_prob) for score in scores] == [score.failed for score in scores]
    assert [score.failed for score in scores] == [False, True, False, False]
    assert scores[1].standard_error is None and scores[1].stats["failed_rows"] == 1


def test_neither_journal_nor_recording_keeps_a_failed_row(tmp_path):
    kept = {"journal": str(tmp_path / "journal"), "record_steps": str(tmp_path / "steps"), **OPTIONS}
    first = generate(Poisoned(), PROMPTS, **kept)
    assert first[1].failed and len(list(read_steps(tmp_path / "steps"))) == 3
    healed = Poisoned(most=-1)
    again = generate(healed, PROMPTS, **kept)
    # The one that failed is all that is run.
    assert sum(map(len, healed.passes)) == again[1].nfe == 3 and not again[1].failed
    assert [again[i] for i in (0, 2, 3)] == [first[i] for i in (0, 2, 3)]
    assert len(list(read_steps(tmp_path / "steps"))) == 4


def test_scores_of_traces_have_no_place_for_a_failure_so_the_others_are_kept_first(tmp_path):
    asked = ([[2], [3, BAD], [4]], [[5, 6]] * 3, [[7]] * 3)
    options = {"template": [{"reasoning": 2}, {"answer": 2}], "journal": str(tmp_path)}
    with pytest.raises(UsageError, match="for 1 of 3 requests, first for request 1 of process 0; the others are fini"):
        score_traces(Poisoned(), *asked, **options)
    healed = Poisoned(most=-1)
    score_traces(healed, *asked, **options)
    assert sum(map(len, healed.passes)) == 1


@pytest.mark.parametrize("number", [1, 7])
def test_a_run_in_which_every_row_fails_ends_in_one_line(number):
    with pytest.raises(UsageError, match=r"returned NaN in dtype=float32.*, for all that was asked; use dtype"):
        generate(Poisoned(), [[2 + i, BAD] for i in range(number)], **OPTIONS)


def test_a_run_whose_first_rows_all_fail_ends_before_the_others_are_tried():
    backbone = Poisoned()
    with pytest.raises(UsageError, match="for the first 8 requests of process 0"):
        generate(backbone, [*[[2 + i, BAD] for i in range(9)], *[[2 + i] for i in range(20)]], batch_size=1, **OPTIONS)
    assert len(backbone.passes) == 8


def test_rows_that_a_journal_has_count_as_answered(tmp_path):
    prompts = [[30], *[[2 + i, BAD] for i in range(9)]]
    for _ in range(2):
        rows = generate(Poisoned(), prompts, batch_size=1, journal=str(tmp_path), **OPTIONS)
        assert [row.failed for row in rows] == [False, *[True] * 9]

"""Sampling ends at the end of a round, once every text of a request is known well enough, and not otherwise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from lm_eval_mdlm.decoding.likelihood.elbo import Elbo
from lm_eval_mdlm.decoding.likelihood.estimator import Estimate, Estimator, Masking
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.record import Score
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.engine.scoring import BySampling, scoring
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.running.scoring import ScoreRequest, Text
from tests.engine.test_scoring import CONTEXT, network, oracle


TEXTS = [[(3 * i + j) % 5 for i in range(length)] for j, length in enumerate((9, 14, 3))]
"""Two that are sampled, and one that is exact."""


def request(texts=TEXTS, cfg_scale=0.0, greedy=False, **likelihood) -> ScoreRequest:
    return ScoreRequest(
        texts=tuple(Text(context_ids=CONTEXT, text_ids=text, wants_greedy=greedy) for text in texts),
        config=DecodingConfig.from_options({"cfg_scale": cfg_scale}),
        likelihood=LikelihoodConfig.from_options(likelihood),
    )


def scores_of(asked: ScoreRequest, budget=Budget(max_rows=32)) -> tuple[Score, ...]:  # noqa: B008  immutable
    ((_, found),) = answer(Readout(backbone := network()), [(0, asked.work(backbone))], budget)
    return found.scores


@dataclass
class Sampled:
    """A text's passes, from the network asked one canvas at a time."""

    estimator: Elbo
    text: Sequence[int]

    def __post_init__(self) -> None:
        reader = oracle(network())
        self.maskings = self.estimator.maskings(len(self.text), RowKey.of(0, CONTEXT, self.text, 0))
        self.log_probs = []
        for one in self.maskings:
            values = reader.given_the_rest(CONTEXT, self.text, one.masked.tolist())
            self.log_probs.append(np.array([values[i] for i in one.scored.tolist()], np.float32))

    def after(self, round_number: int) -> tuple[Estimate, int, int]:
        """The estimate after so many rounds, the passes it took and those it left."""
        rounds = self.estimator.rounds(len(self.text))
        end = rounds[min(round_number, len(rounds)) - 1]
        run = [len(one.scored) > 0 for one in self.maskings]
        estimate = self.estimator.estimate(len(self.text), self.maskings[:end], self.log_probs[:end])
        return estimate, sum(run[:end]), sum(run[end:])


@pytest.fixture(scope="module")
def sampled() -> list[Sampled]:
    return [Sampled(Elbo(64), text) for text in TEXTS]


@pytest.mark.parametrize("last_round", [1, 2, 3, 4])
def test_it_stops_after_the_first_round_that_is_good_enough_for_all(sampled, last_round):
    worst = [max(one.after(n)[0].standard_error for one in sampled) for n in (1, 2, 3, 4)]
    enough = 1.0001 * worst[last_round - 1]
    stops = next(n for n, error in enumerate(worst, 1) if error <= enough)
    found = scores_of(request(mc_num=64, mc_se=enough))
    for one, score in zip(sampled, found, strict=True):
        estimate, run, left = one.after(stops)
        assert score.log_prob == pytest.approx(estimate.value, abs=1e-4)
        assert score.standard_error == pytest.approx(estimate.standard_error, rel=1e-3)
        assert (score.nfe, score.nfe_saved) == (run, left)
    assert (found[2].nfe, found[2].standard_error, found[2].nfe_saved) == (7, 0.0, 0)


def test_one_text_that_is_not_good_enough_keeps_all_going(sampled):
    easy, hard = sorted(sampled[:2], key=lambda one: one.after(1)[0].standard_error)
    enough = 1.0001 * easy.after(1)[0].standard_error
    assert hard.after(1)[0].standard_error > enough
    (alone,) = scores_of(request([easy.text], mc_num=64, mc_se=enough))
    together = scores_of(request([easy.text, hard.text], mc_num=64, mc_se=enough))
    assert alone.nfe == easy.after(1)[1] < together[0].nfe
    assert alone.nfe_saved > together[0].nfe_saved


def test_an_error_just_too_large_takes_all_samples_and_the_same_estimate_as_without():
    whole = scores_of(request(mc_num=64))
    found = scores_of(request(mc_num=64, mc_se=1e-9))
    assert [score.nfe_saved for score in whole] == [None] * 3 and [score.nfe_saved for score in found] == [0] * 3
    for one, other in zip(whole, found, strict=True):
        assert (one.log_prob, one.standard_error, one.nfe) == (other.log_prob, other.standard_error, other.nfe)


def test_exact_estimates_are_not_cut():
    whole = scores_of(request([TEXTS[2]], mc_num=64))[0]
    found = scores_of(request([TEXTS[2]], mc_num=64, mc_se=100.0))[0]
    assert (found.log_prob, found.standard_error, found.nfe, found.nfe_saved) == (whole.log_prob, 0.0, 7, 0)


@pytest.mark.parametrize("enough", [0.3, 0.8, 2.0])
def test_where_it_stops_does_not_depend_on_the_batch(enough):
    asked = request(mc_num=64, mc_se=enough, cfg_scale=0.5, greedy=True)
    expected = scores_of(asked, Budget(max_rows=1))
    for budget in (Budget(max_rows=7), Budget(max_rows=500), Budget(max_tokens=100), Budget(max_rows=8, refill=False)):
        assert scores_of(asked, budget) == expected


def test_saved_passes_count_both_sides_of_guidance():
    guided = scores_of(request(mc_num=64, mc_se=50.0, cfg_scale=0.5))
    plain = scores_of(request(mc_num=64, mc_se=50.0))
    for one, other in zip(guided, plain, strict=True):
        assert (one.nfe, one.nfe_saved) == (2 * other.nfe, 2 * other.nfe_saved)
    assert plain[0].nfe <= 16 and plain[0].nfe_saved > 30  # a set that comes again is not run again


@pytest.mark.parametrize(("options", "num_rounds"), [({}, 1), ({"mc_se": 1e-9}, 4)], ids=str)
def test_samples_are_taken_in_rounds_only_where_they_may_end_early(options, num_rounds):
    backbone = network()
    list(answer(Readout(backbone), [(0, request(mc_num=64, **options).work(backbone))], Budget()))
    assert len(backbone.passes) == num_rounds


@dataclass(frozen=True)
class Sparse(Estimator):
    """Passes of which only some need to be run."""

    scored: tuple[bool, ...]
    per_round: int = 2

    def num_passes(self, length: int) -> int:
        return len(self.scored)

    def rounds(self, length: int) -> list[int]:
        return [*range(self.per_round, len(self.scored), self.per_round), len(self.scored)]

    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        where = np.arange(length)
        return [Masking(where, where if scored else where[:0], 1.0) for scored in self.scored]

    def estimate(self, length, maskings, log_probs) -> Estimate:
        assert [len(one.scored) for one in maskings] == [len(own) for own in log_probs]
        return Estimate(super().estimate(length, maskings, log_probs).value, 1.0 / len(maskings))


@pytest.mark.parametrize("enough", [None, 1e-3, 0.26])
@pytest.mark.parametrize("runs", ["0011", "001100", "110011", "000000", "00001", "1"])
def test_a_round_in_which_nothing_needs_to_be_run_does_not_end_the_sampling(runs, enough):
    estimator = Sparse(tuple(run == "1" for run in runs))
    plan = request([[1, 2]]).plan(network())[1][0]
    backbone = network()
    work = scoring(BySampling(estimator, enough), [plan])
    ((_, found),) = answer(Readout(backbone), [(0, work)], Budget())
    each = math.fsum(oracle(network()).given_the_rest(CONTEXT, [1, 2], [0, 1]).values())
    done = runs[:4] if enough == 0.26 else runs
    assert found.scores[0].log_prob == pytest.approx(done.count("1") * each, abs=1e-5)
    assert found.scores[0].standard_error == 1 / len(done)
    assert found.scores[0].nfe == sum(map(len, backbone.passes)) == done.count("1")
    assert found.scores[0].nfe_saved == (None if enough is None else runs.count("1") - done.count("1"))

"""Recorded steps against a slow decoder's own log, and against the network at the states that they pass through."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lm_eval_mdlm.decoding.policy import Decision, DecodingPolicy, Progress
from lm_eval_mdlm.decoding.scores import Candidates
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.recorded import decoding_on_record
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.generation import RowRequest, generate
from lm_eval_mdlm.running.planning import plan_row
from lm_eval_mdlm.running.transcript import steps_of
from tests.toy import RandomBackbone


VOCAB = 7
MASK = VOCAB - 1
PROMPTS = [[i, (2 * i) % 5, 3] for i in range(6)]
TEMPLATE = [{"reasoning": 7}, {"answer": 3}]


def network(**options) -> RandomBackbone:
    return RandomBackbone(vocab_size=VOCAB, scale=2.5, **options)


def log_probs(backbone, canvas) -> torch.Tensor:
    """(L, V) nats, float64, without the mask token."""
    logits = backbone.logits_of(canvas).double()
    logits[:, MASK] = -math.inf
    return logits.log_softmax(-1)


def slow_log(backbone, prompt, length, block, most_certain, answer=(), exit_below=None) -> tuple[list[dict], str]:
    """Step by step in plain loops: what `most_certain` names is written down as it is committed."""
    region, log = [MASK] * length, []
    while MASK in region:
        said = log_probs(backbone, [*prompt, *region])[len(prompt) :]
        entropy = [-sum(float(p.exp() * p) for p in row[:MASK]) for row in said]
        masked = [i for i in range(length) if region[i] == MASK]
        start = masked[0] // block * block
        bound = sum(entropy[i] for i in masked if i in answer) if answer else None
        exits = exit_below is not None and bound < exit_below
        now = (
            [i for i in masked if i in answer]
            if exits
            else most_certain(entropy, [i for i in masked if i < start + block])
        )
        for i in now:
            region[i] = int(said[i].argmax())
        log.append(
            {
                "positions": now,
                "tokens": [region[i] for i in now],
                "entropy": [entropy[i] for i in now],
                "confidence": [float(said[i].max().exp()) for i in now],
                "log_prob": [float(said[i, region[i]]) for i in now],
                "bound": bound,
            }
        )
        if exits:
            return log, "exit"
    return log, "complete"


def two_best(entropy, eligible):
    return sorted(sorted(eligible, key=lambda i: (entropy[i], i))[:2])


def med(entropy, eligible):
    best = min(eligible, key=lambda i: (entropy[i], i))
    return sorted({i for i in eligible if entropy[i] < 1.0} | {best})


@pytest.mark.parametrize("block", [4, 10])
@pytest.mark.parametrize("gamma", [None, 0.9])
@pytest.mark.parametrize(
    ("rule", "way"),
    [(two_best, {"k": 2}), (med, {"sampler": "med", "entropy_threshold": 1.0})],
    ids=["fixed_k", "med"],
)
def test_steps_are_those_of_a_slow_decoder(tmp_path, rule, way, gamma, block):
    backbone = network()
    template = {"template": TEMPLATE, "exit_threshold": gamma} if gamma else {"gen_length": 10}
    options = {**way, **template, "block_length": block, "batch_size": 4}
    plain = generate(backbone, PROMPTS, **options)
    assert generate(backbone, PROMPTS, record_steps=str(tmp_path), **options) == plain
    rows = {tuple(row.prompt_ids): row for row in read_steps(tmp_path)}
    stops = set()
    for prompt, generation in zip(PROMPTS, plain, strict=True):
        row = rows[tuple(prompt)]
        log, stop = slow_log(backbone, prompt, 10, block, rule, range(7, 10) if gamma else (), gamma)
        stops.add(stop)
        assert (row.num_steps, row.stop, row.nfe) == (len(log), stop, generation.nfe)
        assert row.exit_step == generation.exit_step
        for step, wanted in enumerate(log):
            own = row.of_step(step)
            assert row.positions[own].tolist() == wanted["positions"]
            assert row.tokens[own].tolist() == wanted["tokens"]
            for name in ("entropy", "confidence", "log_prob"):
                assert getattr(row, name)[own] == pytest.approx(wanted[name], rel=1e-5, abs=1e-6), name
            if wanted["bound"] is None:
                assert math.isnan(row.answer_entropy[step])
            else:
                assert row.answer_entropy[step] == pytest.approx(wanted["bound"], rel=1e-5)
        assert row.region_before(0).tolist() == [MASK] * 10
        assert row.region_before(row.num_steps).tolist() == generation.token_ids
    assert stops == ({"exit", "complete"} if gamma else {"complete"})


@pytest.mark.parametrize(
    "extra", [{}, {"cfg_scale": 0.8}, {"top_k": 2}, {"temperature": 3.0}, {"suppress_tokens": [0]}], ids=str
)
def test_a_sampled_token_has_its_log_probability_before_temperature_and_restriction(tmp_path, extra):
    backbone = network()
    options = {"gen_length": 8, "block_length": 4, "k": 3, "temperature": 1.0, "batch_size": 3, **extra}
    plain = generate(backbone, PROMPTS, repeat=2, **options)
    assert generate(backbone, PROMPTS, repeat=2, record_steps=str(tmp_path), **options) == plain
    scale, unlikely = extra.get("cfg_scale", 0.0), 0
    for row in read_steps(tmp_path):
        for step in range(row.num_steps):
            prompt, region = row.prompt_ids.tolist(), row.region_before(step).tolist()
            logits = backbone.logits_of([*prompt, *region]).double()
            if scale:
                unconditional = backbone.logits_of([*[MASK] * len(prompt), *region]).double()
                logits = unconditional + (scale + 1) * (logits - unconditional)
            logits[:, [MASK, *extra.get("suppress_tokens", [])]] = -math.inf
            said = logits.log_softmax(-1)[len(prompt) :]
            own = row.of_step(step)
            wanted = [float(said[i, t]) for i, t in zip(row.positions[own], row.tokens[own], strict=True)]
            assert row.log_prob[own] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
            unlikely += sum(row.log_prob[own] < np.log(row.confidence[own]) - 1e-3)
    assert unlikely > 5  # not all of them were the most likely ones


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_sampler_decodes_the_same_on_record_and_its_commits_have_the_network_s_own_numbers(
    tmp_path, sampler, temperature
):
    backbone = network()
    options = {"sampler": sampler, "temperature": temperature, "gen_length": 8, "batch_size": 4}
    if DecodingConfig.from_options({"sampler": sampler}).policy().has_fixed_blocks:
        options["block_length"] = 4
    if sampler == "ada_block":  # whose own are texts, and this network has no tokenizer
        options["delimiters"] = [5]
    plain = generate(backbone, PROMPTS, **options)
    assert generate(backbone, PROMPTS, record_steps=str(tmp_path), **options) == plain
    rows = {tuple(row.prompt_ids): row for row in read_steps(tmp_path)}
    for prompt, generation in zip(PROMPTS, plain, strict=True):
        row = rows[tuple(prompt)]
        *regions, last = [region.tolist() for region in row.regions()]
        assert last == generation.token_ids and (row.nfe, row.stop) == (generation.nfe, generation.stop)
        for step, region in enumerate(regions):
            said, own = log_probs(backbone, [*prompt, *region])[len(prompt) :], row.of_step(step)
            for name, wanted in {
                "log_prob": [float(said[i, t]) for i, t in zip(row.positions[own], row.tokens[own], strict=True)],
                "confidence": [float(said[i].max().exp()) for i in row.positions[own]],
            }.items():
                assert getattr(row, name)[own] == pytest.approx(wanted, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("cap", [1, 2])
def test_a_cap_is_told(tmp_path, cap):
    found = generate(network(), PROMPTS, gen_length=8, max_nfe=cap, record_steps=str(tmp_path))
    assert [(row.stop, row.nfe, row.num_steps) for row in read_steps(tmp_path)] == [("cap", cap, cap)] * len(PROMPTS)
    assert {row.stop for row in found} == {"cap"}


@dataclass(frozen=True)
class TakesBack(DecodingPolicy):
    """Commits the leftmost mask, takes it back in the next pass, then fills two at a time; replaces one on the way."""

    @property
    def revises(self) -> bool:
        return True

    def begin(self) -> int:
        return 0

    def revisable(self, progress: Progress) -> np.ndarray:
        return ~progress.masked

    def decide(self, candidates: Candidates) -> Decision:
        commit, remask = torch.zeros_like(candidates.eligible), torch.zeros_like(candidates.eligible)
        for row, memory in enumerate(candidates.memories):
            masks = candidates.eligible[row].nonzero()[:, 0].tolist()
            commit[row, masks[: 1 if memory < 2 else 2]] = True
            first = candidates.revisable[row].nonzero()[:, 0].tolist()[:1]
            remask[row, first if memory == 1 else []] = True
            commit[row, first if memory == 3 else []] = True
        return Decision(commit, [memory + 1 for memory in candidates.memories], remask=remask)

    def most_steps(self, num_masks: int) -> int:
        return num_masks + 2


def test_tokens_that_are_taken_back_or_replaced_stand_in_the_record(tmp_path):
    backbone, config = network(), DecodingConfig.from_options({"gen_length": 6})
    plan = dataclasses.replace(plan_row(backbone, PROMPTS[1], config), policy=TakesBack())
    ((_, row),) = answer(Readout(backbone), [(0, decoding_on_record(plan))], Budget())
    found = steps_of(RowRequest(prompt_ids=PROMPTS[1], config=config), row, "key")
    assert [found.positions[found.of_step(t)].tolist() for t in range(found.num_steps)] == [
        [0],
        [1],
        [0, 2],
        [0, 3, 4],
        [5],
    ]
    assert [found.remasked_in(t).tolist() for t in range(found.num_steps)] == [[], [0], [], [], []]
    regions = [region.tolist() for region in found.regions()]
    assert [region.count(MASK) for region in regions] == [6, 5, 5, 3, 1, 0] and regions[-1] == row.region_ids
    for t, region in enumerate(regions[:-1]):
        said = log_probs(backbone, [*PROMPTS[1], *region])[len(PROMPTS[1]) :]
        own = found.of_step(t)
        wanted = [float(said[i, token]) for i, token in zip(found.positions[own], found.tokens[own], strict=True)]
        assert found.log_prob[own] == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_bits_do_not_depend_on_the_batch(tmp_path):
    options = {"gen_length": 8, "k": 3, "temperature": 1.0}
    for name, size in (("one", 1), ("many", 5)):
        generate(network(), PROMPTS, record_steps=str(tmp_path / name), batch_size=size, **options)
    one, many = (
        [{**row.to_plain(), "options": None} for row in read_steps(tmp_path / name)] for name in ("one", "many")
    )
    assert one == many


def test_partial_passes_and_settled_rows_are_told(tmp_path):
    backbone = network(end_token_ids=(0,))
    found = generate(
        backbone, PROMPTS, gen_length=8, stop_when_settled=True, record_steps=str(tmp_path), score="left_to_right"
    )
    rows = {tuple(row.prompt_ids): row for row in read_steps(tmp_path)}
    assert {row.stop for row in rows.values()} == {"settled", "complete"}
    for prompt, generation in zip(PROMPTS, found, strict=True):
        row = rows[tuple(prompt)]
        assert (row.stop == "settled") == (generation.nfe < 8) or generation.token_ids[-1] == 0
        assert not row.partial.any() and row.nfe_partial == 0

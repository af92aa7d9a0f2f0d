"""Recorded steps against a slow decoder's own log, and against the network at the states that they pass through."""

import math

import numpy as np
import pytest
import torch

from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.generation import generate
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

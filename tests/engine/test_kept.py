"""Logits that are kept for a second look change no result, whichever passes keep theirs."""

import dataclasses

import pytest

from lm_eval_mdlm import generate
from lm_eval_mdlm.engine import readout
from lm_eval_mdlm.engine.statistics_reader import PlainStatistics
from tests.engine.test_scheduling import PROMPTS, VOCAB, HashBackbone


class AnyRows(PlainStatistics):
    """A reader as on a GPU, that is called with any number of rows."""

    fixed_rows = False


class CountingHead(HashBackbone):
    calls = 0

    def head(self, states):
        self.calls += 1
        return super().head(states)


KLASS = {"sampler": "klass", "confidence_threshold": 0.3, "kl_threshold": 20.0, "history": 1}
CREDIT = {"sampler": "credit", "confidence_threshold": 0.6, "credit_strength": 2.0}
LAID_OUT = [
    {"gen_length": 16, "block_length": 8},
    {"gen_length": 12, "block_length": 6, "cfg_scale": 0.5},
    {"gen_length": 12, "block_length": 12, "temperature": 0.8},
    {"template": [{"reasoning": 9}, {"answer": 4}], "block_length": 5, "exit_threshold": 4.0},
]


def decoded(network, options, batch_size):
    rows = generate(network, PROMPTS[:7], batch_size=batch_size, record_steps=True, **options)
    found = [dataclasses.replace(row, answer_entropy=None) for row in rows]
    return found, [row.answer_entropy for row in rows]


def keep_up_to(monkeypatch, rows: int) -> None:
    monkeypatch.setattr(readout, "reader_for", lambda backbone: AnyRows())
    monkeypatch.setattr(readout, "SHARE_KEPT", rows * VOCAB * 4 / readout.Readout.max_bytes)


@pytest.mark.parametrize("laid_out", LAID_OUT, ids=str)
@pytest.mark.parametrize("sampler", [KLASS, CREDIT], ids=lambda options: options["sampler"])
def test_rows_are_the_same_whatever_is_kept(monkeypatch, sampler, laid_out):
    options, rows_of_a_pass = {**sampler, **laid_out}, 7 * 12
    expected, entropies = decoded(HashBackbone(), options, 7)
    assert len({row.nfe for row in expected}) > 1
    # None is kept, those of small passes, of which the last ones of a run are some, and all.
    for most in (0, 20, rows_of_a_pass * 2):
        keep_up_to(monkeypatch, most)
        for batch_size in (1, 7):
            found, own = decoded(HashBackbone(), options, batch_size)
            assert found == expected
            assert own == [None if entropy is None else pytest.approx(entropy, abs=1e-5) for entropy in entropies]


@pytest.mark.parametrize("sampler", [KLASS, CREDIT], ids=lambda options: options["sampler"])
def test_the_head_is_run_once_a_pass_where_logits_are_kept(monkeypatch, sampler):
    options = {**sampler, "gen_length": 16, "block_length": 8, "batch_size": 1}
    calls = {}
    for most in (0, 16):
        keep_up_to(monkeypatch, most)
        network = CountingHead()
        (row,) = generate(network, PROMPTS[:1], **options)
        calls[most] = network.calls
    first_of_blocks = 2 if sampler is KLASS else 0
    assert calls == {0: 2 * row.nfe - first_of_blocks, 16: row.nfe}

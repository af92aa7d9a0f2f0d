import math

import pytest
import torch

from lm_eval_mdlm.decoding.blocks import Blocks
from lm_eval_mdlm.decoding.proposal import RowKey, gumbel_argmax


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature):
    logits = torch.tensor([0.0, 1.0, -1.0, -math.inf, 2.0])
    expected = (logits / temperature).softmax(-1)
    n = 4000
    drawn = gumbel_argmax(logits.expand(n, -1), [temperature] * n, range(n))
    found = torch.bincount(drawn, minlength=5) / n
    sigma = (expected * (1 - expected) / n).sqrt()
    assert ((found - expected).abs() <= 4 * sigma + 1e-12).all()
    assert found[3] == 0


def test_draw_depends_on_nothing_but_the_seed():
    logits = torch.randn(6, 100)
    temperatures = [1.0, 0.5, 1.0, 2.0, 0.5, 0.1]
    together = gumbel_argmax(logits, temperatures, [5, 6, 7, 8, 9, 10])
    alone = [gumbel_argmax(logits[i : i + 1], temperatures[i : i + 1], [5 + i]).item() for i in range(6)]
    assert together.tolist() == alone


def test_every_bit_of_a_seed_counts(monkeypatch):
    seeds = [7, *(7 + 2**bit for bit in (3, 31, 32, 63, 64, 100, 127))]
    flat = torch.zeros(len(seeds), 100_000)
    assert len(set(gumbel_argmax(flat, [1.0] * len(seeds), seeds).tolist())) == len(seeds)
    given = iter(seeds)
    monkeypatch.setattr(RowKey, "seed", lambda *_: next(given))
    orders = [tuple(RowKey(b"").order_noise(0, 8).tolist()) for _ in seeds]
    assert len(set(orders)) == len(seeds)


def test_each_row_has_the_temperature_of_its_own():
    logits = torch.tensor([0.0, 1.0]).expand(4000, -1)
    temperatures = [0.05 if i % 2 else 50.0 for i in range(4000)]
    drawn = gumbel_argmax(logits, temperatures, range(4000))
    assert drawn[1::2].float().mean() == 1 and 0.44 < drawn[::2].float().mean() < 0.57


def test_key_changes_with_seed_content_and_repeat_and_with_nothing_else():
    key = RowKey.of(0, [1, 2], [9, 9], 0)
    assert RowKey.of(0, (1, 2), (9, 9), 0) == key
    others = [
        (1, [1, 2], [9, 9], 0),
        (0, [1, 3], [9, 9], 0),
        (0, [1, 2], [9], 0),
        (0, [1], [2, 9, 9], 0),
        (0, [1, 2], [9, 9], 1),
    ]
    assert len({key, *(RowKey.of(*other) for other in others)}) == 6


def test_seeds_differ_by_purpose_step_and_position():
    key = RowKey.of(0, [1], [2], 0)
    seeds = {key.seed(p, s, i) for p in ("token", "order") for s in range(10) for i in range(10)}
    assert len(seeds) == 200 and all(0 <= s < 2**128 for s in seeds)


def test_order_noise_is_new_at_every_step_and_repeatable():
    key = RowKey.of(0, [1], [2], 0)
    assert not torch.equal(key.order_noise(0, 16), key.order_noise(1, 16))
    assert torch.equal(key.order_noise(3, 16), key.order_noise(3, 16))


@pytest.mark.parametrize(
    ("masked", "length", "blocks"),
    [
        (range(5), 2, [[0, 1], [2, 3], [4]]),
        (range(5), 5, [[0, 1, 2, 3, 4]]),
        (range(5), 99, [[0, 1, 2, 3, 4]]),
        (range(3), 1, [[0], [1], [2]]),
        ([0, 1, 6, 7], 3, [[0, 1], [6, 7]]),  # the block 3..5 holds fixed text only
        ([2, 3], 3, [[2], [3]]),
    ],
)
def test_blocks_are_laid_by_position_and_skip_fixed_text(masked, length, blocks):
    assert Blocks(length).split(masked) == blocks

"""Masks against a description of what they are, from many draws."""

from collections import Counter

import numpy as np
import pytest
import torch

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training.batches import NoisyRows, collate
from lm_eval_mdlm.training.config import TrainingConfig, from_arguments
from lm_eval_mdlm.training.evaluation import validation_rows
from lm_eval_mdlm.training.layout import CleanCanvas
from lm_eval_mdlm.training.masking import Anywhere, InOneBlock, Mixed, masking_of
from lm_eval_mdlm.training.objective import MaskedDenoising
from lm_eval_mdlm.training.run import train
from tests.tiny import make_checkpoint
from tests.training.running import assert_equal_weights, options, weights
from tests.training.test_batches import END, MASK, Uniform, example, layout


# A prompt of 3, then blocks of 4: [. . . .] [. x x .] [. .], x fixed text.
CANVAS = CleanCanvas(np.arange(100, 113), np.array([False] * 3 + [True] * 5 + [False] * 2 + [True] * 3), 3)
BLOCKS = [{3, 4, 5, 6}, {7, 10}, {11, 12}]
"""Maskable positions of each block, by hand."""
DRAWS = 6000


def draws(rule, ratio=0.5, number=DRAWS):
    rng = np.random.default_rng(0)
    return [rule.draw(CANVAS, ratio, rng) for _ in range(number)]


def positions(flags):
    return set(np.flatnonzero(flags).tolist())


def test_block_rows_show_what_is_before_and_hide_what_is_behind_one_block():
    for masked in draws(InOneBlock(4)):
        learnt = positions(masked.learnt)
        if learnt:
            (one,) = [i for i, block in enumerate(BLOCKS) if learnt <= block]
            assert positions(masked.hidden) == learnt.union(*BLOCKS[one + 1 :])
            assert masked.num_learnable == len(BLOCKS[one])


def test_blocks_are_drawn_by_their_maskable_tokens_and_masked_at_the_ratio():
    found = [m for m in draws(InOneBlock(4), ratio=0.3) if m.learnt.any()]
    learnt = Counter(p for masked in found for p in positions(masked.learnt))
    # A position is learnt if its block is drawn, by its share of the 8 maskable tokens, and then at 0.3.
    for block in BLOCKS:
        for position in block:
            assert learnt[position] / DRAWS == pytest.approx(0.3 * len(block) / 8, rel=0.15)
    both = sum(BLOCKS[1] <= positions(masked.learnt) for masked in found)
    assert both / DRAWS == pytest.approx(0.3**2 * 2 / 8, rel=0.3)  # independent of each other


def test_ratio_of_one_masks_the_whole_block_and_a_long_block_is_the_whole_response():
    everything = set().union(*BLOCKS)
    assert {frozenset(positions(m.learnt)) for m in draws(InOneBlock(4), 1.0, 200)} == set(map(frozenset, BLOCKS))
    for masked in draws(InOneBlock(10), 1.0, 20):
        assert positions(masked.learnt) == positions(masked.hidden) == everything


def test_share_of_the_rows_in_blocks():
    mixed = draws(Mixed(0.3, InOneBlock(4), Anywhere()), ratio=1.0)
    in_blocks = sum(masked.num_learnable < 8 for masked in mixed)
    assert in_blocks / DRAWS == pytest.approx(0.3, abs=0.02)


def test_without_a_share_rows_are_what_they_always_were():
    assert masking_of(0.0, 4) == Anywhere()
    rng, own = np.random.default_rng(7), np.random.default_rng(7)
    masked = Anywhere().draw(CANVAS, 0.4, rng)
    expected = {i for i, u in enumerate(own.random(13)) if u < 0.4 and CANVAS.maskable[i]}
    assert positions(masked.hidden) == positions(masked.learnt) == expected
    assert masked.num_learnable == 8


def rows(masking, number=3000):
    return NoisyRows(
        [example()], layout(), num_rows=number, rows_per_step=number, mask_token_id=MASK, seed=0, masking=masking
    )


def test_row_hides_more_than_it_learns_and_its_targets_are_what_was_there():
    dataset = rows(InOneBlock(4), 300)
    assert any((dataset[place].noisy_ids == MASK).sum() > len(dataset[place].masked) for place in range(300))
    for place in range(300):
        row = dataset[place]
        assert (row.noisy_ids[row.masked] == MASK).all()
        assert set(row.targets.tolist()) <= {20, 21, 22, 30, END}


def test_expected_loss_of_a_uniform_network_is_the_log_of_the_vocabulary_in_blocks_too():
    # Every row counts by the mean over its block, whatever its length and ratio.
    dataset = rows(masking_of(1.0, 4))
    batch = collate([dataset[place] for place in range(3000)], pad_to=None, pad_token_id=END)
    assert MaskedDenoising(Uniform(60))(**batch)["loss"].item() == pytest.approx(np.log(60), rel=0.05)


def test_validation_masks_anywhere_so_that_losses_of_all_runs_compare():
    kept = validation_rows([example()] * 8, layout(), draws=2, mask_token_id=MASK)
    assert kept.masking == Anywhere()


def test_options_choose_the_rule():
    given = ["--data", "d", "--out", "o", "--pretrained", "p"]
    assert from_arguments(given).masking == Anywhere()
    chosen = from_arguments([*given, "--block-share", "0.3", "--block-length", "13"])
    assert chosen.masking == Mixed(0.3, InOneBlock(13), Anywhere())
    assert chosen.record()["block_share"] == 0.3
    with pytest.raises(UsageError, match="--block-share must be at most 1, got 2"):
        from_arguments([*given, "--block-share", "2"])
    with pytest.raises(UsageError, match="--block-length must be at least 1, got 0"):
        TrainingConfig(data="d", out="o", pretrained="p", block_length=0)


def test_run_learns_by_its_own_rule_whatever_the_number_of_loader_processes(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    for name, more in {
        "none": {},
        "blocks": {"block_share": 0.5},
        "loaders": {"block_share": 0.5, "workers": 2},
    }.items():
        train(options(data, tmp_path / name, start, block_length=4, **more))
    assert_equal_weights(tmp_path / "blocks", tmp_path / "loaders")
    ours, others = weights(tmp_path / "none"), weights(tmp_path / "blocks")
    assert not all(torch.equal(ours[name], others[name]) for name in ours)

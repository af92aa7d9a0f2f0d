"""The validation loss depends on what is in its file, and on nothing else."""

import math
import random

import numpy as np
import pytest
import torch

from lm_eval_mdlm.training.batches import MIN_MASK_RATIO, collate
from lm_eval_mdlm.training.evaluation import row_losses, summarise, validation_rows
from lm_eval_mdlm.training.run import train
from tests.tiny import make_checkpoint
from tests.training.running import LINES, options, write_lines
from tests.training.test_batches import END, MASK, example, layout


def rows_of(num_examples=6, draws=4):
    examples = [example(prompt=(100 + i,)) for i in range(num_examples)]
    return validation_rows(examples, layout(free_share=0.3), draws=draws, mask_token_id=MASK)


def test_loss_of_a_file_is_that_of_the_file_in_any_order(tmp_path, data):
    # The lines come by kind, short ones last: a loss that ties mask ratios to places differs between these orders.
    lines = [LINES[0] | {"prompt": f"Q: {i}"} for i in range(5)] + [LINES[2] | {"prompt": f"Say {i}"} for i in range(5)]
    start = make_checkpoint(tmp_path / "start")
    found = []
    for name, order in {"as": lines, "reversed": lines[::-1], "shuffled": random.Random(0).sample(lines, 10)}.items():
        held_out = write_lines(tmp_path / f"{name}.jsonl", order)
        found.append(train(options(data, tmp_path / name, start, steps=1, learning_rate=0.0, validation=str(held_out))))
    assert found[0]["eval_loss"] == found[1]["eval_loss"] == found[2]["eval_loss"]
    assert 0 < found[0]["eval_loss_error"] < found[0]["eval_loss"]


def test_mask_ratios_of_each_example_and_of_all_rows_are_even(draws=4, num_examples=6):
    rows = rows_of(num_examples, draws)
    ratios = np.array([rows.mask_ratio(place) for place in range(len(rows))])
    units = np.sort((ratios - MIN_MASK_RATIO) / (1 - MIN_MASK_RATIO))
    assert np.diff(units) == pytest.approx(1 / (draws * num_examples))
    for of_one in ratios.reshape(draws, num_examples).T:
        assert np.diff(np.sort(of_one)) == pytest.approx((1 - MIN_MASK_RATIO) / draws)


def test_every_row_is_masked_in_its_own_way_and_every_example_comes_in_every_draw():
    rows = rows_of()
    prompts = [int(rows[place].noisy_ids[0]) for place in range(len(rows))]
    assert all(sorted(prompts[start : start + 6]) == list(range(100, 106)) for start in range(0, 24, 6))
    assert len({rows[place].noisy_ids.tobytes() for place in range(len(rows))}) > 12


def test_mean_and_error_are_those_of_examples():
    # Two draws of three examples, draw by draw: example means 2, 4, 9.
    found = summarise(torch.tensor([1.0, 4.0, 8.0, 3.0, 4.0, 10.0]), num_examples=3)
    assert found.mean == pytest.approx(5)
    assert found.standard_error == pytest.approx(math.sqrt(((2 - 5) ** 2 + (4 - 5) ** 2 + (9 - 5) ** 2) / 2 / 3))
    assert summarise(torch.tensor([1.0, 3.0]), num_examples=1).metrics("eval") == {"eval_loss": 2.0}


@pytest.mark.parametrize("num_processes", [1, 2, 5, 24, 30])
def test_processes_share_all_rows_and_make_equally_many_passes(num_processes):
    rows = rows_of()
    expected = torch.tensor([float(len(rows[place].masked) + 1) for place in range(len(rows))])
    passes = []

    def shares(process):
        calls = []

        def compute(batch):
            calls.append(1)
            length = batch["token_ids"].shape[1]
            counts = torch.bincount(batch["masked"] // length, minlength=len(batch["token_ids"]))
            return counts + 1.0

        part = row_losses(
            rows,
            compute,
            batch_size=2,
            collate=lambda found: collate(found, pad_to=None, pad_token_id=END),
            process=process,
            num_processes=num_processes,
            workers=0,
        )
        passes.append(len(calls))
        return part

    assert torch.equal(sum(shares(process) for process in range(num_processes)), expected)
    assert len(set(passes)) == 1


def test_more_draws_change_the_loss_and_not_what_is_learnt(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    few, many = (
        train(options(data, tmp_path / str(n), start, validation=str(data), evaluation_draws=n)) for n in (1, 8)
    )
    assert few["eval_loss"] != many["eval_loss"]
    assert few["train_loss"] == many["train_loss"]

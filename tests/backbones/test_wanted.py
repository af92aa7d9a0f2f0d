"""Rows of the last layer lie canvas after canvas, and are found again from the order in which they were asked for."""

import random

import pytest
import torch

from lm_eval_mdlm.backbones.layout import Layout
from lm_eval_mdlm.backbones.wanted import WantedRows, distinct


@pytest.mark.parametrize("seed", range(20))
def test_every_wanted_token_has_a_row_in_its_own_canvas(seed):
    rng = random.Random(seed)
    lengths = [rng.randint(1, 9) for _ in range(rng.randint(1, 6))]
    layout = Layout.of(lengths, sum(lengths) + rng.choice([0, 5]))
    total = sum(layout.lengths)
    wanted = torch.tensor(rng.choices(range(total), k=rng.randint(0, 2 * total)), dtype=torch.long)
    tokens, places = distinct(wanted)
    rows = WantedRows.of(tokens, layout, len(tokens) + rng.randint(0, 7))
    assert torch.equal(rows.tokens[places], wanted)
    owner = [canvas for canvas, length in enumerate(layout.lengths) for _ in range(length)]
    canvas_of_row = [owner[token] for token in rows.tokens]
    starts = rows.starts.tolist()
    assert starts[0] == 0 and starts[-1] == len(rows.tokens) and rows.starts.dtype == torch.int32
    assert canvas_of_row == [i for i in range(len(layout.lengths)) for _ in range(starts[i + 1] - starts[i])]
    assert rows.longest == max((canvas_of_row.count(i) for i in range(len(layout.lengths))), default=0)
    assert set(rows.tokens.tolist()) <= {*wanted.tolist(), total - 1}

"""Packed passes: every canvas for itself, the same bits in any company, nothing of the padding."""

from types import SimpleNamespace

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones import invariance
from lm_eval_mdlm.backbones.layout import Layout
from lm_eval_mdlm.backbones.stable_experts import experts_row_by_row
from tests.tiny import make_checkpoint, random_ids


COMPANIES = ([1], [300], [3, 50], [129, 1, 17], [2, 2, 2, 2], [64, 131], [500], [33, 1, 1])


def assert_same_bits_in_any_company(backbone, lengths):
    for length in lengths:
        ids = random_ids(length, seed=7)
        alone = backbone.logits([ids])[0]
        for company in COMPANIES:
            mates = [random_ids(mate) for mate in company]
            for place in {0, len(mates) // 2, len(mates)}:
                packed = backbone.logits([*mates[:place], ids, *mates[place:]])[place]
                assert torch.equal(packed, alone), f"{length} tokens at place {place} among {company}"


def test_logits_have_the_same_bits_alone_and_in_any_company(backbone):
    assert_same_bits_in_any_company(backbone, (1, 2, 31, 64, 100, 201))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bits_stay_the_same_for_sizes_that_fill_no_vector(tmp_path, family, dtype, num_threads):
    sizes = {"hidden": 48, "ffn": 100, "vocab": 421, "heads": 4}
    backbone = load_backbone(str(make_checkpoint(tmp_path, family, **sizes)), dtype=dtype, device="cpu")
    assert_same_bits_in_any_company(backbone, (1, 100))


def test_the_head_gives_a_row_the_same_bits_whichever_rows_are_asked_for(backbone):
    ids = random_ids(90)
    states = backbone.states(ids, [90], torch.arange(90))
    logits = backbone.head(states)
    for rows in ([0], [89], [5, 70], [88, 3, 41], list(range(10, 80))):
        assert torch.equal(backbone.head(states[rows]), logits[rows])
    assert backbone.head(states[:0]).shape == (0, backbone.vocab_size)


def test_states_come_in_the_order_in_which_positions_are_wanted(backbone):
    ids, lengths = torch.cat([random_ids(20), random_ids(30)]), [20, 30]
    everywhere = backbone.states(ids, lengths, torch.arange(50))
    for wanted in ([49, 0, 20, 20, 19], [25], []):
        rows = torch.tensor(wanted, dtype=torch.long)
        assert torch.equal(backbone.states(ids, lengths, rows), everywhere[rows])


def test_a_token_changes_its_own_canvas_and_no_other(backbone):
    first, second = random_ids(40), random_ids(25)
    before = backbone.logits([first, second])
    changed = first.clone()
    changed[-1] += 1
    after = backbone.logits([changed, second])
    assert torch.equal(before[1], after[1])
    assert (before[0] != after[0]).any(dim=1).all()


def test_a_token_is_read_one_row_earlier_in_dream_and_in_its_own_row_in_llada(backbones):
    ids = torch.cat([random_ids(45), random_ids(32)])
    for family, shift in (("llada", 0), ("dream", 1)):
        backbone = backbones[family]
        raw = backbone._body(ids, Layout.of([45, 32], 77), torch.arange(77))
        rows = [start + max(i - shift, 0) for start, length in ((0, 45), (45, 32)) for i in range(length)]
        assert torch.equal(backbone.states(ids, [45, 32], torch.arange(77)), raw[rows])


def test_a_canvas_longer_than_the_rotary_chunk_keeps_its_logits(backbone, monkeypatch):
    from lm_eval_mdlm.backbones import rotary

    ids = random_ids(150)
    expected = backbone.logits([ids])[0]
    monkeypatch.setattr(rotary, "CHUNK", 32)
    whole = backbone._body._table
    small = rotary.RotaryTable(whole._rotary, dtype=backbone.dtype, device=backbone.device)
    monkeypatch.setattr(backbone._body, "_table", small)
    short = backbone.logits([ids[:20]])[0]
    torch.testing.assert_close(backbone.logits([ids])[0], expected)
    assert torch.equal(backbone.logits([ids[:20]])[0], short)


@pytest.mark.parametrize("total", [1, 63, 64, 65, 200])
def test_small_passes_are_filled_up_and_large_ones_are_not(backbone, monkeypatch, total):
    seen = []
    run = type(backbone._body).__call__
    monkeypatch.setattr(
        type(backbone._body),
        "__call__",
        lambda body, ids, *rest: seen.append(len(ids)) or run(body, ids, *rest),
    )
    backbone.logits([random_ids(total)])
    assert seen == [max(total, 64)]


@pytest.mark.parametrize("lengths", [[1], [63], [64], [65], [7, 9], [40, 40]])
def test_padding_fills_a_pass_up_and_counts_as_a_canvas_of_its_own(lengths):
    num_tokens = max(sum(lengths), 64)
    layout = Layout.of(lengths, num_tokens)
    assert layout.lengths[: len(lengths)] == tuple(lengths)
    assert sum(layout.lengths) == num_tokens == len(layout.position_ids)
    assert len(layout.lengths) - len(lengths) == (num_tokens > sum(lengths))
    assert layout.longest == max(layout.lengths)
    assert layout.starts.tolist() == [sum(layout.lengths[:i]) for i in range(len(layout.lengths) + 1)]
    assert layout.position_ids.tolist() == [position for length in layout.lengths for position in range(length)]


def test_the_stable_activation_is_silu_and_depends_on_the_value_alone(num_threads):
    x = torch.randn(777, 101, generator=torch.Generator().manual_seed(0)) * 4
    stable = invariance.StableSiLU()
    torch.testing.assert_close(stable(x), torch.nn.functional.silu(x))
    assert torch.equal(stable(x), torch.stack([stable(row.clone()) for row in x]))
    assert stable(torch.tensor([-200.0, 200.0])).tolist() == [0.0, 200.0]


@pytest.mark.parametrize(("width", "out"), [(3072, 256), (1024, 700), (520, 64)])
def test_wide_products_have_the_same_rows_in_any_number(num_threads, width, out):
    product = torch.nn.Linear(width, out)
    network = torch.nn.Sequential(product)
    invariance.stabilise(network)
    rows = torch.randn(2, 450, width)
    with torch.inference_mode():
        whole = network(rows)
        assert torch.allclose(whole, rows @ product.weight.T + product.bias, atol=1e-4)
        flat, expected = rows.reshape(-1, width), whole.reshape(-1, out)
        for first, count in ((0, 64), (7, 65), (100, 384), (449, 300), (0, 899)):  # fewer are filled up to 64
            assert torch.equal(network(flat[first : first + count]), expected[first : first + count])


def test_wide_experts_give_a_token_the_same_bits_in_any_company(num_threads):
    gate_up, down = torch.randn(2, 600, 1024), torch.randn(2, 1024, 300)
    experts = SimpleNamespace(gate_up_proj=gate_up, down_proj=down, act_fn=invariance.StableSiLU())
    states, weights = torch.randn(600, 1024), torch.rand(600, 1)
    chosen = torch.zeros(600, 1, dtype=torch.long)  # all to one, where its rows are most
    chosen[::5] = 1
    whole = experts_row_by_row(experts, states, chosen, weights)
    assert torch.allclose(whole[0], _expert(experts, states[0], 1) * weights[0], rtol=1e-3, atol=1e-2)
    for first, count in ((0, 1), (3, 90), (100, 400)):
        own = slice(first, first + count)
        assert torch.equal(experts_row_by_row(experts, states[own], chosen[own], weights[own]), whole[own])


def _expert(experts, state, number):
    gate, up = (experts.gate_up_proj[number] @ state).chunk(2)
    return experts.down_proj[number] @ (gate * torch.sigmoid(gate) * up)

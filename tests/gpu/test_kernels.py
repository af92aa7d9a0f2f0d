"""Every Triton kernel against the operation of torch or transformers that it replaces.

On a GPU: `python -m pytest tests/gpu -o addopts= -m gpu`. Without one, in Triton's interpreter and float32 only:
`TRITON_INTERPRET=1 python -m pytest tests/gpu/test_kernels.py -o addopts= -m gpu`.
"""

import gc
import os
import weakref

import pytest
import torch


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (INTERPRETED or torch.cuda.is_available()), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore"),
]
DEVICE = "cpu" if INTERPRETED else "cuda"
# The interpreter cuts float32 off where a GPU rounds it to bfloat16.
DTYPES = [torch.float32] if INTERPRETED else [torch.float32, torch.bfloat16, torch.float16]
MOST_DIFFERENT = {torch.float32: 1.0, torch.bfloat16: 0.02, torch.float16: 0.02}
"""Share of values that may be rounded the other way."""


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def assert_rounds_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=2 * torch.finfo(theirs.dtype).eps, atol=1e-6)
    assert (ours != theirs).float().mean() <= MOST_DIFFERENT[theirs.dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 96, 4096])
def test_add_and_norm_is_the_residual_sum_and_the_root_mean_square_norm(dtype, width):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    from lm_eval_mdlm.backbones.kernels import add_and_norm

    norm = LlamaRMSNorm(width, eps=1e-5).to(DEVICE, dtype)
    norm.weight.data = draw(width, dtype=dtype, seed=1)
    hidden, delta = draw(7, width, dtype=dtype), draw(7, width, dtype=dtype, seed=2)
    assert_rounds_alike(add_and_norm(hidden.clone(), None, norm.weight, 1e-5), norm(hidden))
    updated = hidden.clone()
    assert_rounds_alike(add_and_norm(updated, delta, norm.weight, 1e-5), norm(hidden + delta))
    assert torch.equal(updated, hidden + delta)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wide_table", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_rotation_turns_queries_and_keys_and_leaves_values(dtype, wide_table, share):
    from transformers.models.glm4_moe.modeling_glm4_moe import apply_rotary_pos_emb

    from lm_eval_mdlm.backbones.kernels import rotate

    num_tokens, heads, turned, width = 9, 8, 6, 32
    cos, sin = rotations(int(width * share), torch.float32 if wide_table else dtype)
    positions = torch.arange(num_tokens, device=DEVICE) * 7 % 20
    qkv = draw(num_tokens, heads * width, dtype=dtype)
    split = qkv.view(num_tokens, heads, width)
    theirs, _ = apply_rotary_pos_emb(split[:, :turned], split[:, :turned], cos[positions], sin[positions])
    ours = qkv.clone()
    rotate(ours, positions, (cos, sin), turned, width)
    assert_rounds_alike(ours.view_as(split)[:, :turned], theirs.to(dtype))
    assert torch.equal(ours.view_as(split)[:, turned:], split[:, turned:])


def rotations(width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    angles = draw(20, width // 2).repeat(1, 2) * 3
    return angles.cos().to(dtype), angles.sin().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wide_table", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("heads", [(6, 2), (6, 0), (0, 2)])
def test_heads_are_normed_with_their_own_weights_and_then_rotated(dtype, wide_table, share, heads):
    from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeRMSNorm, apply_rotary_pos_emb

    from lm_eval_mdlm.backbones.kernels import norm_and_rotate

    num_tokens, width, (queries, keys) = 9, 64, heads
    cos, sin = rotations(int(width * share), torch.float32 if wide_table else dtype)
    positions = torch.arange(num_tokens, device=DEVICE) * 7 % 20
    norms = [Glm4MoeRMSNorm(width, eps=1e-3).to(DEVICE, dtype) for _ in range(2)]
    for seed, norm in enumerate(norms):
        norm.weight.data = draw(width, dtype=dtype, seed=5 + seed)
    qkv = draw(num_tokens, (queries + keys + 2) * width, dtype=dtype)
    before = qkv.clone()
    split = qkv.view(num_tokens, -1, width)
    normed = torch.cat([norms[0](split[:, :queries]), norms[1](split[:, queries : queries + keys])], dim=1)
    theirs, _ = apply_rotary_pos_emb(normed, normed, cos[positions], sin[positions])
    ours = norm_and_rotate(qkv, positions, (cos, sin), tuple(norm.weight for norm in norms), heads, 1e-3)
    assert ours.shape == theirs.shape and torch.equal(qkv, before)
    assert_rounds_nearly_alike(ours, theirs.to(dtype))
    alone = norm_and_rotate(qkv[4:5], positions[4:5], (cos, sin), tuple(norm.weight for norm in norms), heads, 1e-3)
    assert torch.equal(alone, ours[4:5])


def assert_rounds_nearly_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Roundings on the way, of which one that goes the other way is seen in a sum of opposite signs."""
    eps = torch.finfo(theirs.dtype).eps
    torch.testing.assert_close(ours, theirs, rtol=2 * eps, atol=4 * eps * float(theirs.abs().max()))
    assert (ours != theirs).float().mean() <= MOST_DIFFERENT[theirs.dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [48, 2048, 3000])
def test_gated_silu_is_silu_times_up(dtype, width):
    from lm_eval_mdlm.backbones.kernels import gated_silu

    gate_up = draw(5, 2 * width, dtype=dtype) * 3
    gate, up = gate_up.chunk(2, dim=-1)
    assert_rounds_alike(gated_silu(gate_up), torch.nn.functional.silu(gate) * up)


@pytest.mark.parametrize("vocab_size", [50, 4096, 9001])
@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
def test_fused_statistics_are_those_of_torch(vocab_size, cfg_scale):
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule
    from lm_eval_mdlm.decoding.statistics import Statistics, statistics

    conditional, other = draw(6, vocab_size) * 4, draw(6, vocab_size, seed=1)
    conditional[0, 3] = 60.0  # certain
    conditional[1, 7] = conditional[1, vocab_size - 2] = 50.0  # a tie
    conditional[2, vocab_size - 1] = 99.0  # forbidden below
    conditional[3] = other[3] = 0.25  # uniform
    unconditional = other if cfg_scale else None
    rule = LogitRule((2, vocab_size - 1), cfg_scale)
    read = FusedStatistics(vocab_size, conditional.dtype, conditional.device)
    targets = torch.tensor([3, 7, 5, vocab_size - 2, 1, vocab_size - 1], device=DEVICE)  # the last one is forbidden
    without = read(rule, conditional, unconditional)
    packed = read(rule, conditional, unconditional, targets)
    assert torch.equal(packed[:5], without)  # asking for more changes no bit
    ours = Statistics.unpacked(packed)
    theirs = statistics(rule.apply(conditional, unconditional), targets)
    assert ours.log_prob[5] == theirs.log_prob[5] == -torch.inf
    torch.testing.assert_close(ours.log_prob[:5], theirs.log_prob[:5], atol=5e-5 if cfg_scale else 5e-6, rtol=1e-5)
    # Logits up to 150 under guidance have steps of 1.5e-5 in float32.
    torch.testing.assert_close(ours.entropy, theirs.entropy, atol=5e-5 if cfg_scale else 5e-6, rtol=1e-5)
    for name in ("confidence", "margin"):
        torch.testing.assert_close(
            getattr(ours, name), getattr(theirs, name), atol=1e-5 if cfg_scale else 1e-6, rtol=1e-5
        )
    assert ours.argmax.tolist() == theirs.argmax.tolist()


def test_a_reader_goes_with_its_tensors_when_it_is_let_go():
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule

    read = FusedStatistics(50, torch.float32, torch.device(DEVICE))
    read(LogitRule((2,), 0.0), draw(3, 50))
    held = [weakref.ref(read), weakref.ref(read._done)]
    gc.disable()
    try:
        del read
        assert [part() for part in held] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
@pytest.mark.parametrize("vocab_size", [500, 9001, 16384, 16390, 40000])
def test_fused_divergence_is_that_of_torch_and_has_the_same_bits_in_any_company(vocab_size, cfg_scale):
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule
    from lm_eval_mdlm.decoding.statistics import divergence

    sides = [draw(6, vocab_size, seed=seed) * 3 for seed in range(2 if cfg_scale else 1)]
    before = [side + 0.05 * draw(6, vocab_size, seed=9) for side in sides]
    before[0][1] = draw(vocab_size, seed=7) * 4  # far away
    for own, other in zip(sides, before, strict=True):
        other[2] = own[2]  # the same
        own[3, 5] = 60.0  # certain
        own[4, vocab_size - 1] = 99.0  # forbidden below
    # A program compares 16,384 logits: of 16,390 the second one finds forbidden tokens only.
    rule = LogitRule((2, vocab_size - 1, *range(16384, vocab_size)[:6]), cfg_scale)
    read = FusedStatistics(vocab_size, torch.float32, sides[0].device)
    ours, theirs = read.divergence(rule, sides, before), divergence(rule.apply(*sides), rule.apply(*before))
    torch.testing.assert_close(ours, theirs, atol=5e-5 if cfg_scale else 5e-6, rtol=1e-5)
    assert ours[2] == 0 and ours[1] > 1
    for row in range(6):
        alone = [[side[row : row + 1] for side in both] for both in (sides, before)]
        assert torch.equal(read.divergence(rule, *alone)[0], ours[row])


@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocab_size", [50, 9001, 16390, 40000])
def test_fused_statistics_with_gains_are_those_of_logits_that_hold_them(vocab_size, dtype, cfg_scale):
    from lm_eval_mdlm.decoding.bias import biased
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule
    from lm_eval_mdlm.decoding.statistics import Statistics, statistics

    sides = [draw(7, vocab_size, dtype=dtype, seed=seed) * 4 for seed in range(2 if cfg_scale else 1)]
    last = vocab_size - 1
    for side in sides:
        side[4, [11, vocab_size - 9]] = 150.0  # the likeliest two, in different parts if there are some
        side[5] = 0.25  # uniform, so that a small gain decides
    before = [side.clone() for side in sides]
    # A program reads 16,384 logits: of 16,390 the second one finds forbidden tokens only.
    rule = LogitRule((2, last, *range(16384, vocab_size)[:6]), cfg_scale)
    read = FusedStatistics(vocab_size, dtype, sides[0].device)
    gains = [
        {7: 3.25, vocab_size - 8: 40.0},
        {},
        {token: 0.01 * token for token in range(40)},
        {2: 9.0, last: 50.0},
        {11: 0.1, vocab_size - 9: 0.1},
        {vocab_size - 10: 1e-5},
    ]
    packed = read.biased(rule, sides, gains)
    ours, theirs = Statistics.unpacked(packed), statistics(biased(rule.apply(*sides), gains))
    # A gain has to change a logit as torch changes it, to the bit; sums may be rounded in another order.
    assert ours.argmax.tolist() == theirs.argmax.tolist()
    assert torch.equal(ours.logit_gap, theirs.logit_gap)
    wide = 10 if cfg_scale else 1  # logits up to 150 under guidance have steps of 1.5e-5 in float32
    torch.testing.assert_close(ours.entropy, theirs.entropy, atol=5e-6 * wide, rtol=1e-5)
    torch.testing.assert_close(ours.confidence, theirs.confidence, atol=1e-6 * wide, rtol=1e-5)
    torch.testing.assert_close(ours.margin, theirs.margin, atol=1e-6 * wide, rtol=1e-5)
    assert ours.argmax[4] == 11 and ours.logit_gap[4] == 0  # of equals the smallest
    assert ours.argmax[5] == vocab_size - 10 and ours.argmax[3] not in (2, last)
    assert all(torch.equal(own, other) for own, other in zip(sides, before, strict=True))
    for row in range(7):
        alone = read.biased(rule, [side[row : row + 1] for side in sides], gains[row : row + 1])
        assert torch.equal(alone[:, 0], packed[:, row])


def test_a_single_possible_token_leads_by_infinity_whatever_gains():
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule
    from lm_eval_mdlm.decoding.statistics import Statistics

    logits = draw(2, 20000)
    read = FusedStatistics(20000, logits.dtype, logits.device)
    rule = LogitRule((*range(17000), *range(17001, 20000)))
    packed = read.biased(rule, [logits], [{17000: 2.0, 5: 90.0}])
    found = Statistics.unpacked(packed)
    assert found.argmax.tolist() == [17000, 17000]
    assert found.entropy.tolist() == [0, 0] and found.confidence.tolist() == found.margin.tolist() == [1, 1]
    assert found.logit_gap.tolist() == [torch.inf, torch.inf]


def test_more_rows_with_gains_than_a_reader_expects_keep_their_bits(monkeypatch):
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule

    logits, gains = draw(5, 50), [{3: 2.0}, {7: 1.0}]
    expected = FusedStatistics(50, logits.dtype, logits.device).biased(LogitRule(()), [logits], gains)
    monkeypatch.setattr(FusedStatistics, "most_rows", 2)
    read = FusedStatistics(50, logits.dtype, logits.device)
    for _ in range(2):
        assert torch.equal(read.biased(LogitRule(()), [logits], gains), expected)
    assert torch.equal(read.biased(LogitRule(()), [logits[:1]], gains[:1])[:, 0], expected[:, 0])


def test_fused_statistics_have_the_same_bits_in_any_company_and_show_a_nan():
    from lm_eval_mdlm.decoding.fused_statistics import FusedStatistics
    from lm_eval_mdlm.decoding.logits import LogitRule

    logits = draw(40, 5000) * 4
    read = FusedStatistics(5000, logits.dtype, logits.device)
    rule = LogitRule((4999,))
    targets = torch.arange(40, device=DEVICE)
    together = read(rule, logits, targets=targets)
    for row in (0, 17, 39):
        alone = read(rule, logits[row : row + 1], targets=targets[row : row + 1])
        assert torch.equal(alone[:, 0], together[:, row])
    logits[5, 100] = torch.nan
    assert read(rule, logits)[0].isnan().nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "kv_heads"), [(16, 4), (64, 1), (128, 2)])
def test_attention_stays_inside_each_canvas_over_any_layout_of_keys(dtype, width, kv_heads):
    """Queries and keys of canvases of all lengths around the tiles', some without queries, some with more keys."""
    from lm_eval_mdlm.backbones.attention_kernel import attend

    heads, num_queries, num_keys = 4, [1, 64, 0, 65, 130, 7], [1, 64, 5, 65, 130, 200]
    starts, key_starts = (
        torch.tensor([0, *torch.tensor(own).cumsum(0).tolist()], dtype=torch.int32, device=DEVICE)
        for own in (num_queries, num_keys)
    )
    query = draw(sum(num_queries), heads, width, dtype=dtype)
    side_by_side = draw(sum(num_keys), 2 * kv_heads, width, dtype=dtype, seed=1)
    key, value = side_by_side.split(kv_heads, dim=1)  # views, as the fused product gives them
    ours = attend(query, key, value, starts, key_starts, 200, scale=width**-0.5)
    expected = []
    for canvas in range(len(num_queries)):
        q = query[starts[canvas] : starts[canvas + 1]].double()
        own = slice(int(key_starts[canvas]), int(key_starts[canvas + 1]))
        k, v = (part[own].double().repeat_interleave(heads // kv_heads, 1) for part in (key, value))
        weights = (torch.einsum("thd,phd->htp", q, k) * width**-0.5).softmax(-1)
        expected.append(torch.einsum("htp,phd->thd", weights, v))
    error = (ours.double() - torch.cat(expected)).norm() / torch.cat(expected).norm()
    assert error <= {torch.float32: 1e-3, torch.float16: 1e-3, torch.bfloat16: 6e-3}[dtype]


def test_attention_has_the_same_bits_in_any_company_and_whatever_bounds_the_grid():
    from lm_eval_mdlm.backbones.attention_kernel import attend

    lengths = [70, 3, 129]
    parts = [draw(sum(lengths), 2, 32, dtype=DTYPES[-1], seed=i) for i in range(3)]
    starts = torch.tensor([0, 70, 73, 202], dtype=torch.int32, device=DEVICE)
    together = attend(*parts, starts, starts, 129, scale=0.2)
    assert torch.equal(attend(*parts, starts, starts, 512, scale=0.2), together)
    for first, end in ((0, 70), (70, 73), (73, 202)):
        own = torch.tensor([0, end - first, end - first], dtype=torch.int32, device=DEVICE)
        alone = attend(*(part[first:end].contiguous() for part in parts), own, own, 256, scale=0.2)
        assert torch.equal(alone, together[first:end])
    few = torch.tensor([0, 5], dtype=torch.int32, device=DEVICE)
    last = torch.tensor([73, 202], dtype=torch.int32, device=DEVICE)
    some = attend(parts[0][100:105], *parts[1:], few, last, 5, scale=0.2)
    assert torch.equal(some, together[100:105])

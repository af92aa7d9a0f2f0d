"""The attention kernel with a number of keys for each query; run as test_kernels.py says."""

import pytest
import torch

from tests.gpu.test_kernels import DEVICE, DTYPES, INTERPRETED, draw, pytestmark  # noqa: F401


ERROR = {torch.float32: 1e-3, torch.float16: 1e-3, torch.bfloat16: 6e-3}


def starts_of(lengths) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=DEVICE)


def blocks(position: torch.Tensor, size: int, length: int) -> torch.Tensor:
    return ((position // size + 1) * size).clamp(max=length).int().to(DEVICE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "kv_heads"), [(16, 4), (128, 2)])
@pytest.mark.parametrize("size", [1, 32, 40])
def test_a_query_sees_so_many_keys_and_no_more(dtype, width, kv_heads, size):
    from lm_eval_mdlm.backbones.attention_kernel import attend

    heads, lengths = 4, [1, 64, 5, 65, 130, 200]
    positions = [torch.arange(n) for n in lengths]
    positions[2], positions[5] = positions[2][:0], torch.tensor([3, 60, 61, 150, 199])
    visible = [blocks(own, size, n) for own, n in zip(positions, lengths, strict=True)]
    query = draw(sum(map(len, positions)), heads, width, dtype=dtype)
    key, value = draw(sum(lengths), 2 * kv_heads, width, dtype=dtype, seed=1).split(kv_heads, dim=1)
    starts, key_starts = starts_of([len(own) for own in positions]), starts_of(lengths)
    ours = attend(query, key, value, starts, key_starts, 200, scale=width**-0.5, visible=torch.cat(visible))
    expected = []
    for canvas, sees in enumerate(visible):
        for row, keys in enumerate(sees.tolist()):
            q = query[int(starts[canvas]) + row].double()
            own = slice(int(key_starts[canvas]), int(key_starts[canvas]) + keys)
            k, v = (part[own].double().repeat_interleave(heads // kv_heads, 1) for part in (key, value))
            expected.append(torch.einsum("hp,phd->hd", (torch.einsum("hd,phd->hp", q, k) * width**-0.5).softmax(-1), v))
    assert (ours.double() - torch.stack(expected)).norm() / torch.stack(expected).norm() <= ERROR[dtype]


def test_bits_depend_neither_on_other_queries_nor_on_hidden_keys():
    from lm_eval_mdlm.backbones.attention_kernel import attend

    length, size = 150, 24
    query, key, value = (draw(length, 2, 32, dtype=DTYPES[-1], seed=i) for i in range(3))
    visible, whole = blocks(torch.arange(length), size, length), starts_of([length])
    together = attend(query, key, value, whole, whole, length, scale=0.2, visible=visible)
    hostile = torch.full_like(key[:1], 1e4)
    for first in range(0, length, size):
        end = min(first + size, length)
        some, own = starts_of([end - first]), query[first:end].contiguous()
        # As a cached pass does it: the block's queries alone, over all keys so far and over one that is not there yet.
        known = [part[:end].contiguous() for part in (key, value)]
        more = [torch.cat([part, hostile]) for part in known]
        sees = visible[first:end]
        for (k, v), keys in ((known, end), (more, end + 1)):
            alone = attend(own, k, v, some, starts_of([keys]), size, scale=0.2, visible=sees)
            assert torch.equal(alone, together[first:end])
        unlimited = attend(own, *known, some, starts_of([end]), size, scale=0.2)
        assert torch.equal(unlimited, together[first:end])
    scattered = torch.tensor([0, 23, 24, 100, 149], device=DEVICE)
    some = attend(query[scattered], key, value, starts_of([5]), whole, 5, scale=0.2, visible=visible[scattered])
    assert torch.equal(some, together[scattered])


def test_layers_that_are_not_fused_use_the_kernel_or_stretches(monkeypatch):
    from lm_eval_mdlm.backbones import attention
    from lm_eval_mdlm.backbones.layout import Layout

    lengths = [70, 9]
    layout = Layout.of(lengths, 79, grid_block=32)
    query, key, value = (draw(1, 79, heads, 32, seed=i).transpose(1, 2) for i, heads in enumerate((4, 2, 2)))
    arguments = {"canvas_lengths": layout.lengths, "sights": layout.sights, "scaling": None}
    arguments |= {"canvas_starts": layout.starts.to(DEVICE), "longest_canvas": layout.longest}
    arguments["visible"] = layout.visible.to(DEVICE)
    by_stretches, _ = attention.packed_sdpa(torch.nn.Module(), query, key, value, **arguments)
    ours, _ = attention.packed_varlen(torch.nn.Module(), query, key, value, **arguments)
    torch.testing.assert_close(ours, by_stretches, atol=2e-3, rtol=1e-3)
    assert not torch.equal(ours, by_stretches)  # so that another kernel has run
    monkeypatch.setattr(attention, "own_attention", lambda *_: None)
    without, _ = attention.packed_varlen(torch.nn.Module(), query, key, value, **arguments)
    assert torch.equal(without, by_stretches)

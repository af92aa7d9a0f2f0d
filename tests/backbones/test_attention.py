"""The attention functions against attention computed canvas by canvas and pair by pair."""

import math

import pytest
import torch

from lm_eval_mdlm.backbones import attention


LENGTHS = (5, 1, 9)


def draw(heads: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, sum(LENGTHS), 8, generator=generator).to(dtype)


def pair_by_pair(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """(1, H, T, D) to (1, T, H, D), in float64, one query and head at a time."""
    query, key, value = query.double(), key.double(), value.double()
    mixed = torch.zeros_like(query).transpose(1, 2)
    start = 0
    for length in LENGTHS:
        canvas = slice(start, start + length)
        for head in range(query.shape[1]):
            shared = head * key.shape[1] // query.shape[1]
            for token in range(start, start + length):
                weights = (key[0, shared, canvas] @ query[0, head, token] * scale).softmax(dim=0)
                mixed[0, token, head] = weights @ value[0, shared, canvas]
        start += length
    return mixed


def varlen_stand_in(query, key, value, starts_q, starts_k, longest_q, longest_k, *, scale=None, enable_gqa=False):
    """What torch documents of its variable-length kernel, by its plain one: tokens first, canvases by their starts."""
    assert starts_q.dtype == starts_k.dtype == torch.int32
    assert longest_q == longest_k == max(LENGTHS) == int(starts_q.diff().max())
    assert enable_gqa == (query.shape[1] != key.shape[1])
    mixed = [
        torch.nn.functional.scaled_dot_product_attention(
            *(part[start:end].transpose(0, 1)[None] for part in (query, key, value)), scale=scale, enable_gqa=enable_gqa
        )[0].transpose(0, 1)
        for start, end in zip(starts_q[:-1].tolist(), starts_q[1:].tolist(), strict=True)
    ]
    return torch.cat(mixed)


@pytest.fixture(params=["packed_sdpa", "packed_varlen"])
def mix(request, monkeypatch):
    monkeypatch.setattr(attention, "varlen_attn", varlen_stand_in)
    monkeypatch.setattr(attention, "_TOLD_OF_GROUPS", True)
    starts = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    function = getattr(attention, request.param)

    def run(query, key, value, scaling):
        layout = {"canvas_lengths": LENGTHS, "canvas_starts": starts, "longest_canvas": max(LENGTHS)}
        mixed, weights = function(torch.nn.Module(), query, key, value, None, scaling=scaling, dropout=0.0, **layout)
        assert weights is None
        return mixed

    return run


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("scaling", [None, 0.7])
def test_tokens_attend_to_all_of_their_own_canvas_and_to_nothing_else(mix, kv_heads, scaling):
    query, key, value = draw(4, 0), draw(kv_heads, 1), draw(kv_heads, 2)
    expected = pair_by_pair(query, key, value, scaling or 1 / math.sqrt(8))
    torch.testing.assert_close(mix(query, key, value, scaling).double(), expected, atol=1e-5, rtol=0)


def test_wide_queries_and_keys_are_narrowed_to_the_values(mix):
    query, key, value = draw(4, 0), draw(4, 1), draw(4, 2, torch.bfloat16)
    mixed = mix(query, key, value, None)
    assert mixed.dtype == torch.bfloat16
    narrow = mix(query.bfloat16(), key.bfloat16(), value, None)
    assert torch.equal(mixed, narrow)


def test_the_variable_length_kernel_is_for_half_precision_on_recent_gpus(monkeypatch):
    for capability, name in (((8, 0), attention.VARLEN), ((7, 5), attention.SDPA)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert attention.best_attention(torch.device("cuda", 0), torch.bfloat16) == name
        assert attention.best_attention(torch.device("cuda", 0), torch.float32) == attention.SDPA
        assert attention.best_attention(torch.device("cpu"), torch.bfloat16) == attention.SDPA

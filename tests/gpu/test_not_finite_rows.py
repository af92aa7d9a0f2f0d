"""NaN that a real network gives for one canvas stays with it, packed with others, on the GPU too where there is one."""

import pytest
import torch

from lm_eval_mdlm import generate, load_backbone, loglikelihood
from tests.tiny import FAMILIES, make_checkpoint


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=[CUDA, pytest.mark.gpu])]
BAD = 77
PROMPTS = [[3 + (7 * i + 11 * j) % 60 for j in range(4 + 9 * i % 40)] for i in range(9)]
OPTIONS = {"gen_length": 24, "block_length": 8, "suppress_tokens": [BAD]}


@pytest.fixture(params=FAMILIES)
def checkpoint(request, tmp_path) -> str:
    return str(make_checkpoint(tmp_path, request.param))


def embedding_of(backbone) -> torch.Tensor:
    """The weights that passes read, wherever this device's kind of layers keeps them."""
    layers = getattr(backbone._body, "_layers", backbone._body)
    return layers._embedding if hasattr(layers, "_embedding") else layers._body.embed_tokens.weight


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cache", ["none", "prefix"])
def test_a_row_whose_embedding_is_nan_fails_and_its_mates_keep_their_bits(checkpoint, device, cache):
    backbone = load_backbone(checkpoint, device=device)
    options = {**OPTIONS, "cache": cache}
    sound = generate(backbone, PROMPTS, **options)
    embedding_of(backbone).data[BAD] = float("nan")
    bad = [*PROMPTS[:4], [*PROMPTS[4], BAD], *PROMPTS[5:]]
    found = generate(backbone, bad, **options)
    assert [row.failed for row in found] == [i == 4 for i in range(len(PROMPTS))]
    assert [row for i, row in enumerate(found) if i != 4] == [row for i, row in enumerate(sound) if i != 4]
    pairs = [(prompt, [5, 6, 7]) for prompt in bad]
    scores = loglikelihood(backbone, pairs, likelihood="l2r")
    alone = loglikelihood(backbone, pairs[:4], likelihood="l2r")
    assert scores[4].failed and scores[:4] == alone

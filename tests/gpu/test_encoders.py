"""Encoders on a GPU, in BERT-base's shape: transformers' own logits, and the bits that the check at load says.

python -m pytest tests/gpu/test_encoders.py -o addopts= -m gpu
"""

import random

import pytest
import torch
from transformers import AutoModelForMaskedLM

from lm_eval_mdlm import generate, load_backbone
from tests.encoders import CLS, MASK, SEP, make_encoder


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SHAPE = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "num_hidden_layers": 6,
    "vocab_size": 30528,
    "max_position_embeddings": 520,
}
MODEL_TYPES = ("bert", "deberta-v2", "eurobert", "modernbert", "roberta")
DTYPES = ("float32", "bfloat16")
MOST_LOGIT_CHANGE = 1e-4
"""In float32, relative to the largest logit."""
MOST_TIMES_THEIRS = 1.5
"""In bfloat16, over the change that transformers' own network has in bfloat16 on the same GPU."""


@pytest.fixture(scope="module", params=MODEL_TYPES)
def folder(request, tmp_path_factory):
    more = {"num_key_value_heads": 4} if request.param == "eurobert" else {}
    return make_encoder(tmp_path_factory.mktemp(request.param), request.param, **SHAPE, **more)


def canvas(length, seed=0):
    draw = random.Random(1000 * seed + length)
    return torch.tensor([MASK if draw.random() < 0.3 else draw.randrange(5, 400) for _ in range(length)])


def largest_change(found, expected):
    """Of any canvas, relative to its largest logit."""
    changes = [(a.cpu().float() - b).abs().max() / b.abs().max() for a, b in zip(found, expected, strict=True)]
    return float(max(changes))


@torch.inference_mode()
def own_logits(folder, canvases, device, dtype):
    network = AutoModelForMaskedLM.from_pretrained(folder, dtype=dtype).eval().to(device)
    framed = [torch.tensor([[CLS, *ids.tolist(), SEP]], device=device) for ids in canvases]
    return [network(input_ids=ids).logits[0, 1:-1] for ids in framed]


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_are_those_of_transformers_in_float32_on_a_cpu(folder, dtype):
    backbone = load_backbone(str(folder), dtype=dtype, device="cuda")
    assert not backbone.grouping.alone and backbone.grouping.multiple == 16
    canvases = [canvas(length) for length in (1, 30, 7, 33, 300, backbone.max_length)]
    exact = own_logits(folder, canvases, "cpu", torch.float32)
    change = largest_change(backbone.logits(canvases), exact)
    most = MOST_LOGIT_CHANGE
    if dtype == "bfloat16":
        most = MOST_TIMES_THEIRS * largest_change(own_logits(folder, canvases, "cuda", torch.bfloat16), exact)
    print(f"\n{folder.name} {dtype}: {change:.2e} of the largest logit, at most {most:.2e}", end="")
    assert change <= most


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_keep_their_bits_in_company_where_the_check_at_load_says_so(folder, dtype):
    backbone = load_backbone(str(folder), dtype=dtype, device="cuda")
    promised = backbone.description["rows_are_bitwise_independent"]
    same, draw = [], random.Random(0)
    for length in (1, 14, 29, 100, 333, backbone.max_length):
        ids = canvas(length, seed=7)
        alone = backbone.logits([ids])[0]
        for number in (1, 3, 10, 60):
            mates = [canvas(draw.choice((length, draw.randint(1, backbone.max_length))), i) for i in range(number)]
            for place in (0, number):
                together = backbone.logits([*mates[:place], ids, *mates[place:]])[place]
                same.append(torch.equal(together, alone))
    print(f"\n{folder.name} {dtype}: promised {promised}, same in {sum(same)} of {len(same)} companies", end="")
    assert all(same) or not promised


def test_texts_do_not_depend_on_the_batch(folder):
    backbone = load_backbone(str(folder), dtype="bfloat16", device="cuda")
    prompts = [canvas(3 + 7 * i % 40, i).clamp(min=5).tolist() for i in range(24)]
    rows = generate(backbone, prompts, batch_size="auto", gen_length=16, sampler="med", entropy_threshold=0.5)
    small = [generate(backbone, [prompt], gen_length=16, sampler="med", entropy_threshold=0.5)[0] for prompt in prompts]
    same = sum(a.token_ids == b.token_ids and a.nfe == b.nfe for a, b in zip(rows, small, strict=True))
    print(f"\n{folder.name}: {same} of {len(prompts)} rows the same", end="")
    assert same == len(prompts) or not backbone.description["rows_are_bitwise_independent"]

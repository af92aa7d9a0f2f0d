"""Encoders of transformers: their own logits, the same bits in any company, saved and loaded again."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

from lm_eval_mdlm import load_backbone
from tests.encoders import CLS, MASK, OPTIONS, SEP, make_encoder


ATOL = 1e-5
COMPANIES = ((1,), (6, 6), (6, 30, 6, 1), (30,) * 5, (1, 1, 1, 1, 1, 100), (100, 30, 6))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    made = {}

    def encoder(model_type):
        if model_type not in made:
            folder = make_encoder(tmp_path_factory.mktemp(model_type), model_type)
            made[model_type] = folder, load_backbone(str(folder), device="cpu")
        return made[model_type]

    return encoder


def canvas(length, seed=0):
    draw = torch.Generator().manual_seed(100 * seed + length)
    ids = torch.randint(5, 400, (length,), generator=draw)
    ids[seed % 3 :: 3] = MASK
    return ids


@torch.inference_mode()
def own_logits(folder, ids):
    """Of transformers' own forward on one input without padding."""
    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    return network(input_ids=torch.tensor([[CLS, *ids.tolist(), SEP]])).logits[0, 1:-1]


@pytest.mark.parametrize("model_type", OPTIONS)
def test_logits_are_those_of_transformers_for_every_length(encoders, model_type):
    folder, backbone = encoders(model_type)
    canvases = [canvas(length) for length in (1, 30, 7, backbone.max_length)]
    for ids, logits in zip(canvases, backbone.logits(canvases), strict=True):
        torch.testing.assert_close(logits, own_logits(folder, ids), atol=ATOL, rtol=0)


@pytest.mark.parametrize("model_type", OPTIONS)
def test_logits_have_the_same_bits_alone_and_in_any_company(encoders, model_type):
    _, backbone = encoders(model_type)
    assert not backbone.grouping.alone and backbone.description["rows_are_bitwise_independent"]
    for length in (1, 6, 30, 100):
        ids = canvas(length, seed=7)
        alone = backbone.logits([ids])[0]
        for company in COMPANIES:
            mates = [canvas(mate, seed) for seed, mate in enumerate(company)]
            for place in {0, len(mates) // 2, len(mates)}:
                together = backbone.logits([*mates[:place], ids, *mates[place:]])[place]
                assert torch.equal(together, alone), f"{length} tokens at place {place} among {company}"

"""Encoders under the one loop: every sampler, every estimate, caches, and an empty prompt."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from tests.encoders import CLS, MASK, SEP, make_encoder


PROMPTS = [[7 + 5 * i + 3 * j for j in range(1 + 4 * i % 9)] for i in range(3)]
NEEDED = {"ada_block": {"delimiters": [30]}, "remdm": {"remdm_loops": 2}, "dus": {"block_length": 4}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("roberta"), "roberta", num_hidden_layers=1)


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone(str(folder), device="cpu")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_the_same_rows_alone_and_together(backbone, sampler):
    options = {"sampler": sampler, "gen_length": 5, **NEEDED.get(sampler, {})}
    rows = generate(backbone, PROMPTS, batch_size=8, **options)
    assert rows == [generate(backbone, [prompt], batch_size=1, **options)[0] for prompt in PROMPTS]
    assert all(MASK not in row.token_ids and len(row.token_ids) == 5 for row in rows)


def test_one_token_at_a_time_is_the_loop_over_transformers_own_forward(folder, backbone):
    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    for prompt, row in zip(PROMPTS, generate(backbone, PROMPTS, gen_length=6, block_length=3), strict=True):
        region = [MASK] * 6
        for block in (range(3), range(3, 6)):
            while any(region[i] == MASK for i in block):
                with torch.no_grad():
                    logits = network(input_ids=torch.tensor([[CLS, *prompt, *region, SEP]])).logits[0]
                logits[:, MASK] = -torch.inf
                chances = logits[1 + len(prompt) : -1].softmax(dim=-1)
                entropy = torch.special.entr(chances).sum(dim=-1).tolist()
                best = min((i for i in block if region[i] == MASK), key=lambda i: entropy[i])
                region[best] = int(chances[best].argmax())
        assert row.token_ids == region


def test_a_region_may_begin_right_behind_what_stands_before_every_canvas(backbone):
    (row,) = generate(backbone, [[]], gen_length=4, cfg_scale=0.5)
    (score,) = loglikelihood(backbone, [([], row.token_ids)], likelihood="path", greedy=True, cfg_scale=0.5)
    assert (row.nfe, score.is_greedy, row.truncated) == (8, True, 0)


def test_prompts_are_cut_to_what_the_network_has_positions_for(backbone):
    assert backbone.max_length == 140 - 1 - 2  # a padding row in the table, and what stands around a canvas
    long = [7 + i % 300 for i in range(200)]
    cut, whole = generate(backbone, [long, long[-(137 - 5) :]], gen_length=5)
    assert (cut.token_ids, cut.truncated, whole.truncated) == (whole.token_ids, 1, 0)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_is_refused_in_one_line(backbone, cache):
    with pytest.raises(UsageError, match=f"cache={cache} needs keys and values of earlier passes, and an encoder"):
        generate(backbone, PROMPTS, cache=cache, gen_length=8, block_length=4)

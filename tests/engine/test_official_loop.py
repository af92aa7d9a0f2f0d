"""The official sampling loops of LLaDA and Dream, token for token, by the options that correspond to them."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lm_eval_mdlm import generate, load_backbone
from lm_eval_mdlm.decoding.logits import LogitRule
from lm_eval_mdlm.decoding.samplers import dream
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row
from tests.golden import GOLDEN, needs_golden


def official(checkpoint, case):
    """Settings of a case, the prompts of its rows without padding, and what the official code made of their regions."""
    folder = GOLDEN / checkpoint
    settings = json.loads((folder / "golden_meta.json").read_text())["generate"][case]
    data = {
        name.removeprefix(f"gen.{case}."): t for name, t in load_file(folder / "golden_generate.safetensors").items()
    }
    padding = (data["attention_mask"] == 0).sum(-1).tolist() if "attention_mask" in data else [0]
    prompts = [row[n:].tolist() for row, n in zip(data["prompt"], padding, strict=True)]
    return settings, prompts, data["output"][:, data["prompt"].shape[1] :].tolist()


@needs_golden
@pytest.mark.parametrize("checkpoint", ["llada_tiny", "llada_gqa_tiny", "llada_sharded_tiny"])
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("case", ["full16", "semi", "few", "uneven", "cfg", "padded"])
def test_official_loop_is_reproduced_token_for_token(checkpoint, case, batch_size):
    settings, prompts, outputs = official(checkpoint, case)
    found = generate(
        load_backbone(str(GOLDEN / checkpoint), dtype="float32", device="cpu"),
        prompts,
        batch_size=batch_size,
        score="confidence",
        steps=settings["steps"],
        gen_length=settings["gen_length"],
        block_length=settings["block_length"],
        cfg_scale=settings["cfg_scale"],
    )
    assert [g.token_ids for g in found] == outputs
    passes = settings["steps"] * (2 if settings["cfg_scale"] else 1)
    assert [g.nfe for g in found] == [passes] * len(prompts)


def as_topk_breaks_ties(prompt_length, region_length):
    """The best positions by `torch.topk` over whole rows, as the published loop takes them.

    Which of several equal ones it takes follows from the library's algorithm and from the row's length.
    """

    def best(candidates, order, quota):
        commit = torch.zeros_like(candidates.eligible)
        for row, own in enumerate(candidates.eligible):
            whole = torch.full((prompt_length + region_length,), -torch.inf)
            places = prompt_length + candidates.position[row]
            whole[places[own]] = -order[row][own]
            commit[row] = torch.isin(places, whole.topk(int(quota[row])).indices) & own
        return commit

    return best


@needs_golden
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("kind", ["notopk", "topp", "16", "6", "padded"])
@pytest.mark.parametrize("alg", ["entropy", "maskgit_plus", "topk_margin"])
def test_dreams_official_loop_is_reproduced_token_for_token(alg, kind, batch_size, monkeypatch):
    settings, prompts, outputs = official("dream_tiny", f"{alg}_{kind}")
    names = ("alg", "steps", "temperature", "alg_temp", "top_k", "top_p")
    options = {name: settings.get(name) for name in names}
    backbone = load_backbone(str(GOLDEN / "dream_tiny"), dtype="float32", device="cpu")
    config = DecodingConfig.from_options({"sampler": "dream", "gen_length": settings["max_new_tokens"], **options})
    # The published loop leaves the mask token in its distributions.
    plans = [replace(plan_row(backbone, prompt, config), logit_rule=LogitRule(())) for prompt in prompts]
    if kind == "topp":
        # Most confidences are exactly 1, and the published loop leaves it to its library which of them come first.
        monkeypatch.setattr(dream, "best", as_topk_breaks_ties(max(map(len, prompts)), settings["max_new_tokens"]))
    found = dict(decode(Readout(backbone), enumerate(plans), Budget(max_rows=batch_size)))
    rows = [found[i].generation(record_steps=True) for i in range(len(plans))]
    assert [row.token_ids for row in rows] == outputs
    assert [row.nfe for row in rows] == [settings["steps"]] * len(prompts)
    used = [set(row.commit_steps) for row in rows]
    assert all(steps == set(range(2 if settings["steps"] == 16 else 1, settings["steps"] + 1)) for steps in used)

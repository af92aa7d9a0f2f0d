"""The passes that options promise are those that rows take, whatever the network says; where it decides, none are."""

import pytest

from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_published_loops import network
from tests.engine.test_rules_over_all import NEEDED


TEXTS = [{"reasoning": 9}, {"text": "lmnlmn"}, {"answer": 4}, {"text": "o"}, {"reasoning": 3}]
LAYOUTS = {"free": {"gen_length": 14}, "texts": {"template": TEXTS}, "short": {"gen_length": 1}}
PROMISED = [
    {"k": 1},
    {"k": 3, "block_length": 4},  # free: 2 + 2 + 2 + 1, and not 14 / 3
    {"k": 4, "block_length": 5, "score": "random"},
    {"k": 99, "block_length": 6},
    {"steps": 1},
    {"steps": 5},
    {"steps": 40},
    {"sampler": "dream"},
    {"sampler": "dream", "steps": 4, "temperature": 0.7},
    {"sampler": "dream", "steps": 30, "alg": "maskgit_plus", "alg_temp": 0.4},
    {"sampler": "remdm", "remdm_loops": 0},
    {"sampler": "remdm", "remdm_loops": 5, "remdm_share": 0.3},
]


def nominal(options):
    return plan_row(network(), [3, 4, 5], DecodingConfig.from_options(options)).nominal_nfe


@pytest.mark.parametrize("cfg_scale", [0.0, 0.6])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("own", PROMISED, ids=str)
def test_rows_take_the_passes_that_their_options_promise(own, layout, cfg_scale):
    options = {**LAYOUTS[layout], **own, "cfg_scale": cfg_scale}
    rows = generate(network(), [[3, 4, 5], [7], [2, 11]], **options)
    assert {row.nfe for row in rows} == {nominal(options)}


def test_blocks_are_filled_one_after_the_other():
    assert nominal({"gen_length": 14, "k": 3, "block_length": 4}) == 7
    assert nominal({"gen_length": 14, "k": 3}) == 5
    assert nominal({"gen_length": 6, "steps": 40}) == 6


def test_what_the_network_decides_is_not_promised():
    promising = {"fixed_k", "dream", "remdm"}
    for sampler in SAMPLERS:
        options = {"sampler": sampler, "gen_length": 8, **NEEDED.get(sampler, {})}
        assert (nominal(options) is not None) == (sampler in promising)
        assert nominal({**options, "min_distance": 2.0}) is None
        assert nominal({**options, "defer_end_of_text": True}) is None
    assert nominal({"sampler": "dream", "alg": "origin", "gen_length": 8}) is None

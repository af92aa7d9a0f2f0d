"""Encoders of transformers: their own logits, the same bits in any company, saved and loaded again."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones.grouping import Grouping
from lm_eval_mdlm.backbones.masked_lm import masked_lm_of
from tests.encoders import CLS, MASK, OPTIONS, ROWS, SEP, make_encoder, make_tokenizer


ATOL = 1e-5
USUAL = ("bert", "deberta-v2", "modernbert", "roberta")
COMPANIES = ((6, 6), (30, 6, 100, 1), (30,) * 5)


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


@pytest.mark.parametrize(
    "model_type", [pytest.param(name, marks=() if name in USUAL else pytest.mark.slow) for name in OPTIONS]
)
def test_logits_have_the_same_bits_alone_and_in_any_company(encoders, model_type):
    _, backbone = encoders(model_type)
    assert not backbone.grouping.alone and backbone.description["rows_are_bitwise_independent"]
    for length in (6, 30):
        ids = canvas(length, seed=7)
        alone = backbone.logits([ids])[0]
        for company in COMPANIES:
            mates = [canvas(mate, seed) for seed, mate in enumerate(company)]
            for place in (0, len(mates)):
                together = backbone.logits([*mates[:place], ids, *mates[place:]])[place]
                assert torch.equal(together, alone), f"{length} tokens at place {place} among {company}"


@pytest.mark.parametrize(("model_type", "body"), [("fnet", "body and head"), ("luke", "network")])
def test_a_model_type_that_is_not_known_to_keep_bits_in_company_runs_canvas_by_canvas(encoders, model_type, body):
    """FNet mixes positions by a Fourier transform and knows no padding; LUKE's forward looks at more than states."""
    folder, backbone = encoders(model_type)
    assert backbone.grouping.alone and backbone.description["body"] == body
    canvases = [canvas(length, seed) for seed, length in enumerate((30, 7, 30))]
    for ids, logits in zip(canvases, backbone.logits(canvases), strict=True):
        assert torch.equal(logits, backbone.logits([ids])[0])
        torch.testing.assert_close(logits, own_logits(folder, ids), atol=ATOL, rtol=0)


@pytest.mark.parametrize(
    ("model_type", "longest"), [("bert", 138), ("roberta", 137), ("mpnet", 136), ("esm", 138), ("modernbert", 138)]
)
def test_the_longest_canvas_fills_all_positions_but_the_padding_s_and_what_stands_around_it(
    encoders, model_type, longest
):
    """Of 140; the tables of RoBERTa and MPNet begin behind a padding row, which is row 0 and row 1 here."""
    _, backbone = encoders(model_type)
    assert (backbone.max_length, backbone.canvas_prefix, backbone.canvas_suffix) == (longest, (CLS,), (SEP,))
    assert (backbone.mask_token_id, backbone.end_token_ids, backbone.vocab_size) == (MASK, (SEP,), ROWS)


def test_states_come_in_the_order_in_which_positions_are_wanted(encoders):
    _, backbone = encoders("bert")
    ids, lengths = torch.cat([canvas(20), canvas(30), canvas(20, 1)]), [20, 30, 20]
    everywhere = backbone.states(ids, lengths, torch.arange(70))
    for wanted in ([69, 0, 20, 20, 19], [25], [49, 50], []):
        rows = torch.tensor(wanted, dtype=torch.long)
        assert torch.equal(backbone.states(ids, lengths, rows), everywhere[rows])


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "roberta"])
def test_a_network_that_is_saved_and_loaded_again_gives_the_same_logits(encoders, tmp_path, model_type):
    folder, backbone = encoders(model_type)
    network = AutoModelForMaskedLM.from_pretrained(folder)
    network.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    make_tokenizer().save_pretrained(tmp_path)
    again = load_backbone(str(tmp_path), device="cpu")
    canvases = [canvas(length) for length in (9, 30)]
    for before, after in zip(backbone.logits(canvases), again.logits(canvases), strict=True):
        assert torch.equal(before, after)


class Lonely(torch.nn.Module):
    """A head that a body's states are not enough for."""

    def __init__(self, network):
        super().__init__()
        self.network, self.config, self.dtype = network, network.config, network.dtype
        self.base_model = network.base_model

    def forward(self, input_ids, attention_mask=None):
        found = self.network(input_ids=input_ids, attention_mask=attention_mask)
        found.logits = found.logits + input_ids[..., None] / 100
        return found


def test_a_head_that_looks_at_more_than_states_is_run_with_its_body(encoders):
    folder, _ = encoders("bert")
    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = torch.arange(7, 30)[None]
    assert masked_lm_of(network, ids).name == "body and head"
    whole = masked_lm_of(Lonely(network), ids)
    assert whole.name == "network"
    states = whole.states(ids, None)
    assert torch.equal(whole.logits(states[0]), Lonely(network)(ids).logits[0])


@pytest.mark.parametrize("grouping", [Grouping(alone=True), Grouping(multiple=16), Grouping(multiple=64)], ids=str)
@pytest.mark.parametrize("model_type", ["bert", "deberta-v2", "esm", "modernbert", "roberta"])
def test_padding_on_the_right_and_company_change_no_more_than_rounding(encoders, model_type, grouping):
    folder, backbone = encoders(model_type)
    before, backbone.grouping = backbone.grouping, grouping
    try:
        canvases = [canvas(length, seed) for seed, length in enumerate((1, 30, 7, 33, backbone.max_length))]
        for ids, logits in zip(canvases, backbone.logits(canvases), strict=True):
            torch.testing.assert_close(logits, own_logits(folder, ids), atol=ATOL, rtol=0)
            assert torch.equal(logits, backbone.logits([ids])[0])
    finally:
        backbone.grouping = before


WIDE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 520}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model_type", USUAL)
def test_bits_hold_at_the_width_of_published_encoders_whatever_the_number_of_threads(
    tmp_path, model_type, dtype, num_threads
):
    backbone = load_backbone(str(make_encoder(tmp_path, model_type, **WIDE)), device="cpu", dtype=dtype)
    for length in (1, 28, 62):
        ids = canvas(length, seed=7)
        alone = backbone.logits([ids])[0]
        for number in (1, 4, 15):
            mates = [canvas(length, mate) for mate in range(number)]
            together = backbone.logits([*mates, ids])[-1]
            assert torch.equal(together, alone), (length, number, backbone.grouping)

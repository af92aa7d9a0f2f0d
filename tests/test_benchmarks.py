"""The benchmarks: what they count is counted right, and the checks among them can fail."""

import json

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import engine, identity, kernel
from benchmarks.flops import layer_parameters, pass_bytes, pass_flops, spared_flops
from benchmarks.networks import SHAPES, random_backbone
from benchmarks.official import official_generate
from benchmarks.replay import random_prompts, recorded, replay
from benchmarks.schedule import wanted_by_k, wanted_by_steps
from lm_eval_mdlm import UsageError, generate, load_backbone
from lm_eval_mdlm.backbones.packed import PackedBackbone
from lm_eval_mdlm.options.samplers import SAMPLERS
from tests.toy import ScriptedBackbone


TINY = SHAPES["tiny"]


@pytest.fixture(scope="module")
def backbone() -> PackedBackbone:
    return random_backbone(TINY, "cpu", torch.float32)


def counted_by_torch(backbone: PackedBackbone, lengths: list[int], num_wanted: int) -> int:
    """Operations of one pass, by torch's own counter, which does not know the CPU's fused attention."""
    # The first pass makes the table of rotations, by a product in older releases of transformers.
    backbone.states(torch.zeros(1, dtype=torch.long), [1], torch.arange(1))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        backbone.head(backbone.states(torch.zeros(sum(lengths), dtype=torch.long), lengths, torch.arange(num_wanted)))
    return counter.get_total_flops()


@pytest.mark.parametrize(("lengths", "num_wanted"), [([96], 70), ([64, 130, 70], 200)])
def test_flops_are_those_that_torch_counts_in_the_network(backbone, lengths, num_wanted):
    # More rows and tokens than are ever filled up: padding is no part of what a pass needs.
    assert pass_flops(TINY, lengths, num_wanted) == counted_by_torch(backbone, lengths, num_wanted)


def test_spared_flops_are_those_that_torch_counts_in_the_last_layer_of_unread_tokens(backbone):
    """Counted token by token in the layer's own modules; keys and values are not among them."""
    last, lengths, wanted = backbone._body._body.layers[-1], [9, 30, 4], [2, 30, 0]
    spared = 0
    for length, own in zip(lengths, wanted, strict=True):
        for _ in range(length - own):
            x, heads = torch.zeros(1, TINY.hidden), (1, TINY.heads)
            query, keys = (torch.zeros(*heads, n, TINY.hidden // TINY.heads) for n in (1, length))
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                last.self_attn.o_proj(last.self_attn.q_proj(x))
                torch.nn.functional.scaled_dot_product_attention(query, keys, keys)
                last.mlp(x)
            spared += counter.get_total_flops()
    assert spared_flops(TINY, lengths, wanted) == spared


def test_bytes_begin_with_every_weight_of_layers_and_head(backbone):
    network = backbone._lm_head.weight.numel()
    network += sum(p.numel() for layer in backbone._body._body.layers for p in layer.parameters() if p.ndim == 2)
    assert layer_parameters(TINY) * TINY.layers + TINY.hidden * TINY.vocab == network
    few, more = (pass_bytes(TINY, [length], 1, width=4) for length in (1, 2))
    # A token more only adds activations, which a network of one token hardly has.
    assert few > 4 * network > more - few


def test_the_demo_shape_is_that_of_the_packaged_checkpoint():
    demo = load_backbone("demo", device="cpu")
    assert pass_flops(SHAPES["demo"], [64, 70], 64) == counted_by_torch(demo, [64, 70], 64)


@pytest.mark.parametrize(("num_masks", "block_length", "k"), [(10, 10, 3), (10, 4, 1), (9, 4, 3), (5, 32, 8)])
def test_wanted_rows_of_fixed_k_are_those_the_engine_asks_for(backbone, num_masks, block_length, k):
    with recorded(backbone) as passes:
        generate(backbone, [[1, 2]], k=k, gen_length=num_masks, block_length=block_length)
    assert wanted_by_k(num_masks, block_length, k) == [len(one.wanted) for one in passes]


@pytest.mark.parametrize(("num_masks", "steps"), [(10, 3), (10, 10), (10, 1), (11, 4)])
def test_wanted_rows_of_a_schedule_are_those_the_engine_asks_for(backbone, num_masks, steps):
    with recorded(backbone) as passes:
        generate(backbone, [[1, 2]], steps=steps, gen_length=num_masks, block_length=num_masks)
    assert wanted_by_steps(num_masks, steps) == [len(one.wanted) for one in passes]


def test_recording_changes_no_result_and_ends_with_its_context(backbone):
    options = {"k": 2, "gen_length": 8, "block_length": 8}
    plain = generate(backbone, [[3, 4, 5]], **options)
    with recorded(backbone) as passes:
        assert generate(backbone, [[3, 4, 5]], **options) == plain
    assert [one.lengths for one in passes] == [(11,)] * 4
    assert passes[0].token_ids[-8:].tolist() == [backbone.mask_token_id] * 8
    assert passes[-1].token_ids[-8:].tolist().count(backbone.mask_token_id) == 2  # a copy, not the live canvas
    generate(backbone, [[3, 4, 5]], **options)
    assert len(passes) == 4


def test_a_replay_runs_every_pass_and_reads_every_wanted_row():
    rows_read = []

    class Counting(ScriptedBackbone):
        def head(self, states: Tensor) -> Tensor:
            rows_read.append(len(states))
            return states

    toy = Counting(lambda canvas: [0] * len(canvas), vocab_size=4, mask_token_id=3)
    with recorded(toy) as passes:
        generate(toy, [[1], [1, 2]], k=2, gen_length=4, block_length=4)
    toy.passes.clear()
    rows_read.clear()
    replay(toy, passes)
    assert toy.passes == [[5, 6]] * 2
    assert rows_read == [8, 4]


def test_a_case_that_takes_other_passes_than_it_must_is_an_error(backbone):
    case = engine.even_case(backbone, "case", [[1, 2, 3]], batch=1, num_masks=4, block_length=4, k=1)
    case.run()
    wrong = engine.Case(name="case", decode=lambda: [5], canvases=case.canvases, wanted=case.wanted)
    with pytest.raises(RuntimeError, match=r"must need \[4\] passes and took \[5\]"):
        wrong.run()


def test_a_network_passed_by_unseen_is_an_error(backbone):
    case = engine.Case(name="case", decode=lambda: [1], canvases=[3], wanted=[[1]])
    with pytest.raises(RuntimeError, match="1 canvases went through the network and 0 were seen"):
        engine.measure(backbone, TINY, case, peak=1.0, repeats=1)


def test_time_outside_the_passes_is_what_a_run_takes_beyond_them(backbone, monkeypatch):
    case = engine.even_case(backbone, "case", [[1, 2, 3]], batch=1, num_masks=4, block_length=4, k=1)
    monkeypatch.setattr(engine, "seconds", lambda device, action: 4.0 if action == case.run else 3.0)
    line = engine.measure(backbone, TINY, case, peak=1e12, repeats=2)
    assert line["outside, s"].values == (1.0, 1.0)
    assert line["outside, %"].median == pytest.approx(25)
    assert line["over bare"].median == pytest.approx(4 / 3)
    assert (line["ms per NFE"].median, line["bare, ms per NFE"].median) == (1000, 750)


def test_a_case_twice_as_fast_per_pass_has_twice_the_throughput(backbone, monkeypatch):
    slow = engine.even_case(backbone, "slow", [[1]], batch=1, num_masks=4, block_length=4, k=1)
    fast = engine.even_case(backbone, "fast", [[1]], batch=1, num_masks=4, block_length=4, k=2)
    times = {slow.run: 8.0, fast.run: 2.0}  # for 4 passes and for 2
    monkeypatch.setattr(engine, "seconds", lambda device, action: times[action])
    lines = engine.side_by_side(backbone.device, TINY, [slow, fast], repeats=1)
    assert [line["times throughput of the first"].median for line in lines] == [1.0, 2.0]


def test_a_pass_is_held_against_its_arithmetic_and_bytes_stand_beside_it(backbone):
    one = kernel.random_pass(backbone, [70, 70], wanted=0.5)
    flops, moved = pass_flops(TINY, [70, 70], 70), pass_bytes(TINY, [70, 70], 70, width=4)
    line = kernel.measure(backbone, TINY, one, peak=flops / 5.0, bandwidth=moved / 7.0, repeats=1)
    assert line["FLOP limit, ms"] == pytest.approx(5e3) and line["bytes at a copy's rate, ms"] == pytest.approx(7e3)
    assert line["of it needed for logits, %"] == pytest.approx(
        100 * (1 - spared_flops(TINY, [70, 70], [35, 35]) / flops)
    )
    assert line["time over FLOP limit"] == pytest.approx(line["ms"].median / 5e3)


def test_the_official_loop_is_timed_beside_a_backbone_of_its_own_precision():
    own = random_backbone(TINY, "cpu", torch.bfloat16, float32_rope=False)
    assert own._body._table.up_to(8)[0].dtype == torch.bfloat16
    assert random_backbone(TINY, "cpu", torch.bfloat16)._body._table.up_to(8)[0].dtype == torch.float32


def test_identical_runs_have_no_differences_and_rows_end_at_different_passes(backbone):
    prompts = random_prompts([5, 20, 9, 33, 14, 27, 8, 30], TINY.vocab)
    plans = identity.make_plans(backbone, prompts, reasoning=6, answer=3)
    runs = list(identity.compare(backbone, plans, [1, 3]))
    assert len({str(company) for company, _, _ in runs}) == 6
    assert not any(differences.any for _, _, differences in runs)
    records = runs[0][1]
    assert len({record.nfe for record in records}) > 2
    assert {record.early_exit for record in records} == {True, False}


def test_every_company_decodes_other_rows_together(backbone):
    prompts = random_prompts([5, 20, 9, 33, 14, 27, 8, 30], TINY.vocab)
    plans = identity.make_plans(backbone, prompts, reasoning=6, answer=3)
    seen = []
    for company in identity.companies([1, 3]):
        with recorded(backbone) as passes:
            identity.decoded(backbone, plans, company)
        seen.append(tuple(one.lengths for one in passes))
        assert max(map(len, seen[-1])) == company.batch_size
    assert len(set(seen)) == len(seen) == 6


def test_every_sampler_is_a_kind():
    assert set(identity.SAMPLERS) | {"med"} == set(SAMPLERS)


@pytest.mark.slow
def test_no_sampler_changes_in_any_company(backbone):
    prompts = random_prompts([5, 20, 9, 33], TINY.vocab)
    for kind in identity.SAMPLERS:
        plans = identity.make_plans(backbone, prompts, reasoning=6, answer=3, kind=identity.KINDS[kind])
        runs = list(identity.compare(backbone, plans, [1, 3]))
        assert len(runs) == 6 and not any(differences.any for *_, differences in runs), kind


def test_passes_by_tokens_come_in_as_many_orders_as_asked_for(backbone):
    prompts = random_prompts([5, 20, 9, 33, 14, 27, 8, 30], TINY.vocab)

    def sampled_with_cache(of_network):
        return {**identity.KINDS["dual"](of_network), "temperature": 0.7}

    plans = identity.make_plans(backbone, prompts, reasoning=6, answer=3, kind=sampled_with_cache)
    assert all(plan.temperature == 0.7 and plan.cache is not None for plan in plans)
    companies = list(identity.companies([1], max_tokens=100, orders=3))
    assert [str(company) for company in companies[-3:]] == [
        "100 tokens, as given, refill on",
        "100 tokens, shuffled 1, refill on",
        "100 tokens, shuffled 2, refill on",
    ]
    runs = list(identity.compare(backbone, plans, [1], max_tokens=100, orders=3))
    assert len(runs) == 5 and not any(differences.any for *_, differences in runs)
    batches = [str(company) for company in identity.companies([3], max_tokens=100, orders=3)][:-3]
    assert batches == [
        *(f"batch 3, {order}, refill {on}" for order in ("as given", "shuffled 1") for on in ("on", "off")),
        "batch 3, shuffled 2, refill on",
    ]


class Sociable(PackedBackbone):
    """Its states depend, by a hair, on how many canvases are in the pass."""

    def states(self, token_ids, lengths, wanted):
        own = super().states(token_ids, lengths, wanted)
        return own + 1e-4 * (len(lengths) - 1)


def test_a_row_that_depends_on_its_company_is_reported(backbone, monkeypatch):
    monkeypatch.setattr(backbone, "__class__", Sociable)
    prompts = random_prompts([5, 20, 9, 33, 14, 27, 8, 30], TINY.vocab)
    plans = identity.make_plans(backbone, prompts, reasoning=6, answer=3)
    runs = list(identity.compare(backbone, plans, [1, 3]))
    found = {company: differences for company, _, differences in runs if differences.any}
    assert found and all(company.batch_size == 3 for company in found)
    assert all(differences.answer_entropies for differences in found.values())


def test_every_kind_of_difference_is_counted(backbone):
    (record,) = generate(backbone, [[1, 2, 3]], k=4, gen_length=8, block_length=8)
    changed = {
        "token_ids": [*record.token_ids[:-2], -1, -1],
        "nfe": record.nfe + 1,
        "exit_step": 2,
        "answer_entropy": 1e-9,
    }
    other = type(record)(**{**vars(record), **changed})
    found = identity.Differences.between([record, record], [record, other])
    assert found == identity.Differences(tokens=2, nfe=1, exits=1, answer_entropies=1)
    assert not identity.Differences.between([record], [record]).any


def test_the_identity_script_fails_on_a_difference(monkeypatch, tmp_path):
    sociable = random_backbone(TINY, "cpu", torch.float32)
    monkeypatch.setattr(sociable, "__class__", Sociable)
    monkeypatch.setattr(identity, "random_backbone", lambda *_: sociable)
    command = ["--device", "cpu", "--shape", "tiny", "--rows", "6", "--batch-sizes", "1", "3", "--prompts", "4", "20"]
    with pytest.raises(SystemExit) as stopped:
        identity.main([*command, "--out", str(tmp_path)])
    assert stopped.value.code == 1
    assert json.loads((tmp_path / "identity.json").read_text())["facts"]["identical"] is False


OFFICIAL = """
import torch

def generate(model, prompt, attention_mask=None, steps=128, gen_length=128, block_length=128, temperature=0.0,
             cfg_scale=0.0, remasking="low_confidence", mask_id=126336):
    assert steps == gen_length and remasking == "low_confidence" and temperature == cfg_scale == 0
    x = torch.full((1, prompt.shape[1] + gen_length), mask_id, dtype=torch.long, device=model.device)
    x[:, : prompt.shape[1]] = prompt
    for _ in range(steps):
        best = model(x).logits.softmax(-1).max(-1)
        first = (x == mask_id).nonzero()[0, 1]
        stop = first - (first - prompt.shape[1]) % block_length + block_length
        open_ = (x == mask_id) & (torch.arange(x.shape[1]) < stop)
        at = best.values.masked_fill(~open_, -1).argmax()
        x[0, at] = best.indices[0, at]
    return x
"""


def test_the_official_loop_runs_beside_ours_and_agrees(tmp_path):
    (tmp_path / "generate.py").write_text(OFFICIAL)
    command = ["--device", "cpu", "--shape", "tiny", "--cases", "--region", "12", "--prompt", "9"]
    sizes = ["--block-length", "4", "--prompts", "5", "9", "--repeats", "1"]
    engine.main([*command, *sizes, "--official", str(tmp_path), "--out", str(tmp_path)])
    short, long = json.loads((tmp_path / "engine.json").read_text())["rows"]
    assert (short["NFE"], long["NFE"]) == (3, 12)
    assert short["differing tokens"] == long["differing tokens"] == 0


def test_a_folder_without_the_official_loop_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--official must be a folder with generate.py"):
        official_generate(tmp_path)
    (tmp_path / "generate.py").write_text("def generate(model, prompt):\n    return prompt\n")
    with pytest.raises(UsageError, match="must take block_length, cfg_scale, gen_length, mask_id"):
        official_generate(tmp_path)

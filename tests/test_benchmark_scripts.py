"""The benchmark scripts as they are called, their times and their reports."""

import gzip
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import (
    answers,
    cpu,
    engine,
    identity,
    kernel,
    memory,
    price,
    sandbox,
    scaling,
    shortage,
    timing,
    training,
    variance,
)
from benchmarks.flops import pass_flops
from benchmarks.networks import SHAPES
from benchmarks.replay import random_prompts
from benchmarks.report import Measurement, Report
from lm_eval_mdlm import UsageError


CPU = torch.device("cpu")
TINY = SHAPES["tiny"]


def run_script(script, tmp_path: Path, *more: str) -> dict:
    name = script.__name__.removeprefix("benchmarks.")
    script.main(["--device", "cpu", "--shape", "tiny", "--out", str(tmp_path), *more])
    (written,) = tmp_path.glob(f"{name}*.json")
    assert (tmp_path / f"{written.stem}.md").read_text().startswith(f"`python -m benchmarks.{name} --device cpu")
    return json.loads(written.read_text())


def test_the_engine_script_takes_the_passes_that_its_cases_must_need(tmp_path):
    sizes = ["--region", "16", "--prompt", "8", "--prompts", "5", "20", "--masks", "16", "--block-length", "8"]
    report = run_script(engine, tmp_path, *sizes, "--batch", "4", "--passes", "5", "--repeats", "1")
    by_name = {row["case"].split(":")[0]: row for row in report["rows"]}
    assert {name: row["NFE"] for name, row in by_name.items()} == {
        "alone": 16,
        "short": 4,
        "batch": 4 * 4,  # 16 masks at 4 a pass
        "equal NFE": 8 * 5,
        "NFE spread 4x": 2 * (2 + 4 + 6 + 8),
    }
    assert by_name["alone"]["tokens per pass"] == 24
    # One token a pass in two blocks of 8: rows of logits 8, 7, ..., 1 twice.
    operations = 16 * pass_flops(TINY, [24], 0) + 2 * sum(pass_flops(TINY, [0], n) for n in range(1, 9))
    took = by_name["alone"]["ms per NFE"]["median"] * 16 / 1e3
    assert by_name["alone"]["TFLOP/s"]["median"] * took * 1e12 == pytest.approx(operations)


def test_the_engine_script_times_sampling_beside_the_surest_tokens(tmp_path):
    sizes = ["--region", "8", "--prompts", "5", "20", "--masks", "8", "--batch", "2", "--passes", "2"]
    report = run_script(engine, tmp_path, "--cases", "sampled", "--repeats", "1", *sizes)
    assert [(row["case"], row["NFE"]) for row in report["rows"]] == [
        ("temperature 0.0: B = 2", 4),
        ("temperature 0.7: B = 2", 4),
    ]


def test_the_engine_script_gives_every_sampler_the_same_passes(tmp_path):
    sizes = ["--region", "6", "--prompts", "5", "20", "--masks", "6", "--batch", "2"]
    report = run_script(engine, tmp_path, "--cases", "samplers", "--repeats", "1", *sizes)
    assert [(row["case"], row["NFE"]) for row in report["rows"]] == [
        (f"{sampler}: B = {batch}", batch * 6) for batch in (1, 2) for sampler in engine.ONE_A_PASS
    ]


def test_the_kernel_script_lays_out_all_tokens(tmp_path):
    report = run_script(kernel, tmp_path, "--tokens", "64", "150", "--canvas", "40", "--repeats", "1")
    assert [(row["tokens T"], row["canvases B"]) for row in report["rows"]] == [(64, 2), (150, 4)]
    assert kernel.canvases(150, 40) == [38, 38, 37, 37]
    assert report["machine"]["torch"] == torch.__version__


def test_the_price_script_times_both_and_counts_what_differs(tmp_path, monkeypatch):
    sizes = ["--prompts", "5", "20", "--masks", "8", "--passes", "4"]
    report = run_script(price, tmp_path, "--rows", "1", "3", "--in-flight", "6", "--repeats", "2", *sizes)
    timed, compared = report["rows"][:4], report["rows"][4:]
    assert [(row["rows at a time"], row["case"], row["NFE"]) for row in timed] == [
        *((1, name, 4) for name in ("kept", "given up")),
        *((3, name, 12) for name in ("kept", "given up")),
    ]
    assert [(row["case"], row["of"]) for row in compared] == [("kept", 6), ("given up", 6)]
    assert compared[0]["rows with other tokens"] == compared[0]["rows with other entropies"] == 0


def test_the_price_scripts_two_backbones_share_weights_and_differ_in_their_products(monkeypatch):
    made = price.both(TINY, CPU, torch.float32)
    kept, free = made["kept"], made["given up"]
    assert kept._lm_head is free._lm_head and kept._products.minimum_rows == 64
    assert free._products == price.FREE and free._products.padded(1) == 1
    counts = price.bought("free", free, [[1, 2, 3]], 1, 3)
    assert counts["of"] == 2 and len(counts["s per run"].values) == 3


def test_the_shortage_script_reads_off_what_a_run_gave_up_and_whether_it_changed_anything(monkeypatch):
    backbone = price.both(TINY, CPU, torch.float32)["kept"]
    plans = identity.make_plans(backbone, random_prompts([5, 9, 30], TINY.vocab), reasoning=6, answer=3)
    reference = identity.decoded(backbone, plans, identity.Company(batch_size=3, shuffled=False))
    states, failures = backbone.states, []

    def limited(token_ids, lengths, wanted):
        if len(token_ids) > limit:
            failures.append(len(token_ids))
            raise torch.OutOfMemoryError("no room")
        return states(token_ids, lengths, wanted)

    monkeypatch.setattr(backbone, "states", limited)
    limit = 50
    line = shortage.squeezed(backbone, plans, 3, reference)
    assert failures and line["budget halved"] == len(failures) and not line["refused"] and line["differing"] is False
    assert shortage.squeezed(backbone, plans, 3, reference[::-1])["differing"] is True
    limit = 20
    line = shortage.squeezed(backbone, plans, 3, reference)
    assert line["refused"] and line["differing"] is None and "even alone" in line["last message"]
    with pytest.raises(UsageError, match="must be a GPU"):
        shortage.main(["--device", "cpu", "--shape", "tiny"])


@pytest.mark.skipif(not os.access(memory.CLEAR_REFS, os.W_OK), reason="the high-water mark cannot be reset here")
def test_the_memory_script_measures_every_number_of_rows(tmp_path):
    report = run_script(memory, tmp_path, "--batch", "1", "2", "--length", "60", "--gen-length", "20")
    assert [row["wanted rows"] for row in report["rows"]] == [20, 40]


def test_memory_that_is_freed_again_is_still_seen_at_the_peak():
    held = memory.resident_peak(lambda: torch.ones(2**24, dtype=torch.float32))
    assert 60 * 2**20 < held < 100 * 2**20


def test_the_scaling_script_ends_with_all_records_and_reads_its_own_baseline(tmp_path):
    sizes = ["--batch", "2", "--lengths", "40", "--rows", "6", "--masks", "8", "--k-max", "3", "--repeats", "1"]
    first = run_script(scaling, tmp_path, *sizes)
    (row,) = first["rows"]
    assert row["NFE by process"] == str(row["NFE"])
    assert 6 * 3 <= row["NFE"] <= 6 * 8
    took = row["seconds"]["median"]
    assert scaling.baselines(tmp_path / "scaling_1.json") == {(2, 40, row["NFE"]): took}
    again = run_script(scaling, tmp_path, *sizes, "--baseline", str(tmp_path / "scaling_1.json"))["rows"][0]
    assert again["times one process"]["median"] == pytest.approx(took / again["seconds"]["median"])
    with pytest.raises(UsageError, match="--baseline must hold B=2, L=40"):
        other = [*sizes[:-3], "8", *sizes[-2:]]
        run_script(scaling, tmp_path, *other, "--baseline", str(tmp_path / "scaling_1.json"))


def test_the_cpu_script_holds_every_batch_against_the_first(tmp_path):
    sizes = ["--rows", "1", "2", "--prompts", "8", "12", "--masks", "6", "--k", "3", "--repeats", "1"]
    cpu.main([*sizes, "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "cpu.json").read_text())["rows"]
    assert [row["times the first"]["median"] for row in rows[::2]] == [1.0, 1.0]
    for first, other in (rows[:2], rows[2:]):
        times = zip(first["ms per NFE"]["values"], other["ms per NFE"]["values"], strict=True)
        assert other["times the first"]["values"] == pytest.approx([a / b for a, b in times])
    assert [row.get("NFE") for row in rows] == [4, 4, None, None]


def test_the_variance_script_compares_at_equal_passes_and_tells_bias_apart(tmp_path):
    sizes = ["--lengths", "4", "--passes", "8", "15", "--repeats", "4"]
    variance.main(["--made", "--demo", "--documents", "1", *sizes, "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "variance.json").read_text())["rows"]
    assert len(rows) == 7 and all(row["passes"] == 8 for row in rows)  # 15 passes are all sets of four
    for row in rows:
        assert row["elbo / b=8"] == pytest.approx(row["elbo variance"] / row["llada b=8 variance"])
    # Sizes 1, 3 come half as often and 2, 4 half again as often as they should.
    mean_of_size = [-1.0, -2.0, -4.0, -8.0]
    known = {np.arange(n).tobytes(): np.full(4, mean_of_size[n - 1], np.float32) for n in (1, 2, 3, 4)}
    assert variance.bias(variance.PublishedLLaDA(8, 8), known, 4) == pytest.approx(0.5 - 1.0 + 2.0 - 4.0)


def test_a_baseline_of_several_processes_is_refused(tmp_path):
    (tmp_path / "two.json").write_text(json.dumps({"rows": [{"processes": 2}]}))
    with pytest.raises(UsageError, match="--baseline must be a report of one process"):
        scaling.baselines(tmp_path / "two.json")


def test_a_time_covers_the_whole_call_and_nothing_else():
    time.sleep(0.05)
    took = timing.repeated(CPU, lambda: time.sleep(0.02), repeats=3)
    assert len(took.values) == 3
    assert 0.02 <= min(took.values) < 0.05


def test_rates_count_every_operation_and_both_directions_of_a_copy(monkeypatch):
    monkeypatch.setattr(timing, "seconds", lambda device, action: action() is None or 0.5)
    assert timing.matmul_peak(CPU, torch.float32, repeats=1).median == 2 * 1024**3 / 0.5
    assert timing.copy_bandwidth(CPU, repeats=1).median == 2 * 2**27 / 0.5


def test_spread_is_quartiles_of_many_and_extremes_of_few():
    assert Measurement((4.0, 1.0, 2.0)).spread == (1.0, 4.0)
    many = Measurement((5.0, 1.0, 3.0, 2.0, 4.0))
    assert (many.median, many.spread) == (3.0, (2.0, 4.0))
    assert many.per(60.0).values == (12.0, 60.0, 20.0, 30.0, 15.0)
    assert many.over(Measurement((10.0, 2.0, 3.0, 1.0, 4.0))).values == (0.5, 0.5, 1.0, 2.0, 1.0)


def test_a_report_keeps_every_repeat_and_a_table_with_all_columns(tmp_path, capsys):
    rows = [{"case": "a", "ms": Measurement((1.0, 3.0))}, {"case": "b", "more": 0.25}]
    Report(name="trial", command="python -m benchmarks.trial", rows=rows, device=CPU).write(tmp_path / "new")
    written = json.loads((tmp_path / "new" / "trial.json").read_text())
    assert written["rows"][0]["ms"] == {"median": 2.0, "spread": [1.0, 3.0], "values": [1.0, 3.0]}
    table = (tmp_path / "new" / "trial.md").read_text()
    assert "| case | ms | more |\n| --- | --- | --- |\n| a | 2 (1 to 3) | - |\n| b | - | 0.25 |" in table
    assert capsys.readouterr().out.strip() == table.strip()


@pytest.mark.parametrize("rows", [1, 2])
def test_the_training_script_trains_adapters_and_loads_them_back(tmp_path, capsys, rows):
    sizes = ["--device", "cpu", "--shape", "tiny", "--steps", "2", "--rows", str(rows), "--length", "200"]
    training.main(["lora", *sizes, "--scratch", str(tmp_path)])
    *_, report, loaded = capsys.readouterr().out.splitlines()
    found = json.loads(report)
    assert found["saved, MB"]["adapter"] < found["saved, MB"]["checkpoints/checkpoint-2"] < 1
    assert loaded.startswith("loaded back: 28 adapters, equal to those of the last checkpoint")


def test_the_sandbox_script_tells_right_solutions_from_mutations(tmp_path, capsys):
    def run(solution: str) -> int:
        doc = {
            "task_id": "Own/0",
            "prompt": 'def f(x):\n    """One more."""\n',
            "canonical_solution": f"    return {solution}\n",
            "entry_point": "f",
            "test": "def check(candidate):\n    assert candidate(1) == 2\n",
        }
        (tmp_path / "own.jsonl.gz").write_bytes(gzip.compress(json.dumps(doc).encode()))
        return sandbox.main([str(tmp_path / "own.jsonl.gz"), "--repeats", "1"])

    assert run("x + 1") == 0
    assert capsys.readouterr().out.count("{'failed': 1}") == len(sandbox.MUTATIONS) == 7
    assert run("x") == 1
    assert "'reference'" in capsys.readouterr().out
    assert run("type('Two', (int,), {'__eq__': lambda *_: True})(x + 1)") == 0


def test_answers_script_counts_right_verdicts_of_every_rule(tmp_path, capsys):
    rows = [{"question": "?", "answer": "#### 18"}, {"question": "?", "answer": "#### 1,450"}]
    (tmp_path / "gsm8k_test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    answers.main(["gsm8k", "--data", str(tmp_path), "--every", "2"])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["texts", "number", "ours", "strict-match", "flexible-extract", "OpenCompass"]
    shares = {line[0]: [float(cell) for cell in line[2:]] for line in lines[2:]}
    assert all(ours == 100.0 for ours, *_ in shares.values())
    assert shares["right: box"][1] == 0.0  # strict-match wants hashes
    assert 0.0 < shares["right: hashes"][1] < 100.0


@pytest.mark.parametrize(
    ("text", "number", "formula"),
    [
        ("so 17. It is 18", True, False),
        (r"\boxed{18} of 20", False, True),
        (r"\boxed{{18}}", True, True),
        ("The answer is 18.0", True, False),
        (r"\boxed{18.}", True, False),
        (r"Question: 5", False, False),
        (r"\boxed{\text{none}}", False, False),
    ],
)
def test_other_scorers_rules_are_as_described(text, number, formula):
    assert answers.last_number_rule(text, {"answer": "#### 18"}) is number
    assert answers.boxed_string_rule(text, {"answer": "18"}) is formula
    assert answers.boxed_string_rule(r"\boxed{\dfrac12}", {"answer": r"\frac{1}{2}"})

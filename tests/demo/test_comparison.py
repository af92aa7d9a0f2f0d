"""The demo's comparison: what is chosen on validation problems, what is recorded, what is shown."""

from pathlib import Path

import pytest

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.demo import read_problems
from lm_eval_mdlm.demo.compare import compare, main
from lm_eval_mdlm.demo.recorded import KINDS, plot, read_record, results, sweep_table
from lm_eval_mdlm.demo.sweep import BLOCK_LENGTHS, MORE_FIXED, best_block_lengths, sweep, validation_problems
from lm_eval_mdlm.demo.ways import SINGLE, Outcome, decode_all, fixed, fixed_at, fixed_nfe


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("demo", device="cpu")


def outcome(kind, block_length, accuracy, nfe=20.0):
    return Outcome(
        kind=kind, label=kind, block_length=block_length, accuracy=accuracy, nfe=nfe, nfe_partial=0.0, num_problems=9
    )


def test_every_way_gets_the_block_length_of_its_highest_accuracy():
    found = [outcome("med", 13, 0.5), outcome("med", 26, 0.9), outcome("fixed", 13, 0.7), outcome("fixed", 26, 0.6)]
    assert best_block_lengths(found) == {"med": 26, "fixed": 13}
    tied = [outcome("med", 13, 0.9, nfe=20), outcome("med", 26, 0.9, nfe=19), outcome("med", 52, 0.9, nfe=21)]
    assert best_block_lengths(tied) == {"med": 26}


def test_recorded_block_lengths_are_those_of_the_recorded_validation_problems():
    record = read_record()
    assert record.block_lengths == best_block_lengths(record.validation)
    for found in (record.validation, record.test):
        assert {(o.kind, o.block_length) for o in found} == {(k, n) for k in KINDS for n in BLOCK_LENGTHS}
        assert {o.num_problems for o in found} == {600}
    assert {o.label for o in record.more_fixed} == {f"fixed k = {k}" for k in MORE_FIXED}


def test_recorded_passes_of_fixed_k_are_those_that_its_blocks_need(backbone):
    record = read_record()
    for found in (record.validation, record.test):
        by_place = {(o.kind, o.block_length): o for o in found}
        for length in BLOCK_LENGTHS:
            med, even = by_place["med", length], by_place["fixed", length]
            possible = [fixed_nfe(k, length) for k in range(1, 100)]
            assert even.nfe in possible
            assert abs(even.nfe - med.nfe) == min(abs(nfe - med.nfe) for nfe in possible)
            assert by_place["single", length].nfe == fixed_nfe(1, length) == 108


@pytest.mark.parametrize(("k", "block_length"), [(4, 13), (5, 52), (30, 108), (60, 128)])
def test_passes_of_fixed_k_are_counted_as_the_engine_makes_them(backbone, k, block_length):
    made = decode_all(backbone, read_problems(1), fixed(k), block_length=block_length)
    assert made.nfe == fixed_nfe(k, block_length)
    assert (
        fixed_at(made.nfe, block_length).label
        == f"fixed k = {min(j for j in range(1, k + 1) if fixed_nfe(j, block_length) == made.nfe)}"
    )


def test_validation_problems_are_neither_trained_on_nor_tested():
    drawn = validation_problems(50)
    assert drawn[:20] == validation_problems(20)
    assert not {problem["prompt"] for problem in drawn} & {problem["prompt"] for problem in read_problems(600)}


def test_sweep_repeats_a_recorded_way(backbone, capsys):
    found = sweep(backbone, validation_problems(1), [52])
    assert [o.kind for o in found] == ["med", "exit", "fixed", "single"]
    assert {o.block_length for o in found} == {52} and len(capsys.readouterr().out.splitlines()) == 4
    recorded = {o.kind: o for o in read_record().validation if o.block_length == 52}
    for o in found[:2]:
        assert o.nfe == pytest.approx(recorded[o.kind].nfe, rel=0.5)


def test_comparison_shows_what_is_live_beside_what_is_recorded(backbone, capsys):
    found = compare(backbone, read_problems(2), read_record(), num_single=1)
    lines = capsys.readouterr().out.splitlines()
    assert [o.kind for o in found] == ["exit", "med", "fixed", "single"]
    assert [o.num_problems for o in found] == [2, 2, 2, 1]
    assert [o.block_length for o in found] == [read_record().block_lengths[o.kind] for o in found]
    for line, o in zip(lines[1:], found, strict=True):
        assert o.figures in line and read_record().chosen(o.kind).figures in line
    assert lines[-1].endswith("(first 1)")
    assert found[2].label == read_record().chosen("fixed").label
    assert found[0].nfe < found[1].nfe < found[3].nfe == 108 and SINGLE.label in lines[-1]


def test_demo_ends_with_what_to_type_next(capsys, monkeypatch):
    monkeypatch.setattr("lm_eval_mdlm.demo.compare.compare", lambda *args, **kwargs: [])
    main([])
    printed = capsys.readouterr().out
    assert plot(read_record()) in printed
    assert printed.splitlines()[-2].lstrip().startswith("lm_eval --model mdlm --model_args pretrained=")


def test_plot_puts_every_way_at_its_figures():
    lines = plot(read_record()).splitlines()

    def place(text, mark):
        ((row, line),) = [(row, line) for row, line in enumerate(lines) if text in line]
        return row, line.index(text) + text.index(mark)

    single, four, eight = place("k = 1 ●", "●"), place("○ k = 4", "○"), place("○ k = 8", "○")
    assert single[0] < four[0] < eight[0]  # more accurate is higher
    # Passes are on a logarithmic axis: 108 / 27 is 2 * (27 / 13.5), so the distances are about as 2 to 1.
    assert (single[1] - four[1]) / (four[1] - eight[1]) == pytest.approx(2.1, abs=0.2)
    axis = {int(line[:3]): row for row, line in enumerate(lines) if line[:3].strip().isdigit()}
    assert sorted(axis, reverse=True) == list(axis) == [90, 85, 80, 75, 70]
    assert axis[90] == single[0] + 1 and axis[85] == four[0]  # 92.7 and 85.5


@pytest.mark.parametrize("name", ["README.md", "tasks/mdlm_demo/README.md"])
def test_documents_show_the_recorded_figures(name):
    record, text = read_record(), (ROOT / name).read_text()
    shown = [results(record), plot(record)] if name == "README.md" else [sweep_table(record.test)]
    shown += [] if name == "README.md" else [sweep_table(record.validation)]
    for piece in shown:
        assert piece in text

"""The command: files, words and exit codes."""

import csv
import re
import sys
from xml.etree import ElementTree

import pytest

from lm_eval_mdlm.commands.report import main
from lm_eval_mdlm.errors import UsageError
from tests.report.by_hand import DATE, write_run


pytest.importorskip("matplotlib")


@pytest.fixture
def runs(tmp_path):
    for name, right, nfe in (("slow", 36, 64.0), ("middle", 35, 16.0), ("fast", 20, 4.0)):
        write_run(tmp_path / "runs" / name, [1] * right + [0] * (40 - right), nfe=nfe, gen_kwargs={"way": name})
    return tmp_path / "runs"


def code(*arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_page_and_tables_are_written_and_the_verdict_is_printed(runs, tmp_path, capsys):
    out = tmp_path / "out"
    files = {kind: out / f"tables.{kind}" for kind in ("markdown", "latex", "csv")}
    others = [part for kind, path in files.items() for part in (f"--{kind}", path)]
    assert code(runs, "--output", out / "page.html", *others) == 0
    told = capsys.readouterr().out
    assert "Best of 3 methods: slow, acc 90.0 %" in told and str(out / "page.html") in told
    assert (out / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert "| fast |" in files["markdown"].read_text() and "- Best of 3 methods: slow" in files["markdown"].read_text()
    assert r"\toprule" in files["latex"].read_text()
    rows = {row["method"]: row for row in csv.DictReader(files["csv"].read_text().splitlines())}
    assert float(rows["fast"]["difference"]) == pytest.approx(-0.4)
    assert (rows["fast"]["better"], rows["fast"]["worse"], rows["fast"]["right"]) == ("0", "16", "20")
    assert rows["slow"]["difference"] == "" and rows["middle"]["knee"] == "True"
    assert rows["middle"]["nfe"] == "16.0" and rows["middle"]["baseline"] == "slow"


def test_plots_are_written_as_svg_and_png(runs, tmp_path):
    write_run(runs / "other", {"strict/a": [1, 0]}, task="words", gen_kwargs={"way": "other"})
    assert code(runs, "--output", tmp_path / "p.html", "--plots", tmp_path / "plots") == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert files.keys() == {f"{name}.{kind}" for name in ("sums_none", "words_strict_a") for kind in ("svg", "png")}
    assert all(data.startswith(b"<?xml" if name.endswith("svg") else b"\x89PNG") for name, data in files.items())
    ElementTree.fromstring(files["sums_none.svg"])
    assert b"forward passes per row" in files["sums_none.svg"]


def test_a_run_significantly_worse_than_the_named_baseline_fails(runs, tmp_path, capsys):
    assert code(runs, "--output", tmp_path / "p.html", "--baseline", "slow") == 4
    assert "fast is significantly worse than slow on sums." in capsys.readouterr().err


def test_no_run_worse_than_the_named_baseline_passes(runs, tmp_path):
    assert code(runs, "--output", tmp_path / "p.html", "--baseline", "fast") == 0
    assert code(runs / "slow", runs / "middle", "--output", tmp_path / "p.html", "--baseline", "slow") == 0


def test_without_a_named_baseline_no_difference_fails(runs, tmp_path):
    assert code(runs, "--output", tmp_path / "p.html") == 0


def test_files_that_cannot_be_read_have_a_line_each_and_an_exit_code(runs, tmp_path, capsys):
    for name in ("results_2026-01-01T00-00-00.json", "results_2026-01-02T00-00-00.json"):
        (runs / name).write_text("{")
    assert code(runs, "--output", tmp_path / "p.html") == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(re.search(r"results_2026-01-0\dT", line) for line in lines)
    assert code(runs, "--output", tmp_path / "p.html", "--baseline", "slow") == 4


def test_an_unknown_baseline_is_refused_with_the_known_ones(runs, tmp_path):
    with pytest.raises(UsageError, match=r"--baseline fastest is none of the runs; they are: fast, middle, slow\."):
        code(runs, "--output", tmp_path / "p.html", "--baseline", "fastest")


def test_without_matplotlib_the_next_step_is_said(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'lm-eval-mdlm\[report\]'"):
        code(runs, "--output", tmp_path / "p.html")


def test_names_with_control_codes_reach_neither_terminal_nor_page(tmp_path, capsys):
    for name in ("plain", "\x1b[31mred\ud800\u202e"):
        write_run(tmp_path / "runs" / name[:2].strip("\x1b"), [1, 0, 1], gen_kwargs={"way": name, "k": [1]}, date=DATE)
    others = [part for kind in ("markdown", "latex", "csv") for part in (f"--{kind}", tmp_path / f"t.{kind}")]
    assert code(tmp_path, "--output", tmp_path / "p.html", *others) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\u202e" not in printed
    for path in tmp_path.glob("*.*"):
        assert "\x1b" not in path.read_text(encoding="utf-8"), path


def test_nonsense_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="max_mb must be above 0"):
        code(runs, "--output", tmp_path / "p.html", "--max_mb", "0")
    with pytest.raises(UsageError, match="cannot be written"):
        code(runs, "--output", runs)

"""`python -m benchmarks.comparison`: the document says what the runs say, whoever is ahead."""

import json

import pytest

from tests.report.by_hand import write_run


pytest.importorskip("matplotlib")
from benchmarks.comparison import main


WAYS = {
    "plain": {"sampler": "fixed_k", "k": 8, "score": "entropy"},
    "other": {"sampler": "med", "entropy_threshold": 1.1},
}


def write_cells(folder, right):
    """Cells of 120 problems; `right` by way and wording."""
    for (way, prompt), number in right.items():
        wording = "{{prompt}}" if prompt == "own" else f"{prompt} {{{{prompt}}}}"
        scores = [1] * number + [0] * (120 - number)
        path = write_run(folder / "cells" / f"{way} {prompt}", scores, nfe=14.0, prompt=wording, gen_kwargs=WAYS[way])
        plain = json.loads(path.read_text())
        plain["mdlm_cell"] = {"options": WAYS[way], "prompt": {"name": prompt}, "seed": 0}
        plain["config"]["mdlm"] = {"device": "cuda:0", "device_name": "a card", "decoding_by_task": {}}
        plain["n-samples"] = {"sums": {"original": 600, "effective": 120}}
        path.write_text(json.dumps(plain))


@pytest.mark.parametrize(("plain", "other", "best"), [(60, 90, "med"), (90, 60, "fixed_k")])
def test_the_document_names_whoever_is_ahead_with_tables_plots_and_what_was_run(tmp_path, capsys, plain, other, best):
    docs = tmp_path / "docs"
    docs.mkdir()
    right = {("plain", "own"): plain, ("other", "own"): other, ("plain", "short"): plain - 9, ("other", "short"): other}
    write_cells(tmp_path / "results" / "demo_prompts", right)
    main([str(tmp_path / "results"), "--docs", str(docs)])
    text = (docs / "comparison.md").read_text()
    escaped = best.replace("_", "\\_")
    assert f"- Best of 2 methods: {escaped}" in text
    assert "2 ways to decode, 2 wordings, 4 runs of 120 problems, on a card (cuda)." in text
    assert text.count("\n### ") == 4 and "flips" not in text and "## Over settings" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| med") and "120 problems, 2 prompts" in line]
    assert [cell.strip() for cell in row.split("|")][2] == f"{100 * other / 120:.1f}"
    (row,) = [line for line in text.splitlines() if line.startswith("| med") and line.rstrip(" |").endswith("of 2")]
    ahead = 2 if other > plain else 0
    assert [cell.strip() for cell in row.split("|")][2:6] == [*[f"{100 * other / 120:.1f}"] * 2, "0.0", f"{ahead} of 2"]
    assert (docs / "comparison_prompts.png").read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "results" / "demo_prompts.html").is_file()


def test_without_results_there_is_no_document(tmp_path):
    with pytest.raises(SystemExit, match="holds none of demo_prompts, demo_curves"):
        main([str(tmp_path), "--docs", str(tmp_path)])
    assert not (tmp_path / "comparison.md").exists()

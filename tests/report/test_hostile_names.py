"""What other tools wrote is text on the page, in tables to paste, and in spreadsheets; and keys are not told on."""

import csv
import json

import pytest

from lm_eval_mdlm.report.write import ReportOptions, write_report
from tests.report.by_hand import DATE, write_run


pytest.importorskip("matplotlib")
KEY = "hf_" + "aB3" * 12
NASTY = "=HYPERLINK(1)<img src=x onerror=alert(1)></script>|`x`\x1b[2J\u202e$\\frac$"


@pytest.fixture
def written(tmp_path):
    """All forms of a report over runs whose names hold whatever acts anywhere."""
    for place, way in enumerate((NASTY, "plain")):
        write_run(
            tmp_path / "runs" / str(place),
            [1, 0, 1, place],
            task=NASTY.replace("/", ""),
            nfe=[8.0, 8.0, 8.0, 4.0 + place],
            gen_kwargs={"way": way},
            texts=[NASTY] * 4,
            readings=[NASTY] * 4,
            config={"model_args": {"pretrained": "/home/ben/LLaDA", "token": KEY[:9], "other": KEY}},
        )
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("output", "markdown", "latex", "csv")}
    report = write_report(ReportOptions(folders=[tmp_path / "runs"], plots=tmp_path / "plots", **paths))
    return report, {kind: path.read_text() for kind, path in paths.items()}


def test_nothing_that_others_wrote_acts(written):
    report, texts = written
    assert all("\x1b" not in text and "\u202e" not in text for text in (report.text, *texts.values()))
    assert "<img" not in texts["output"] and texts["output"].count("</script>") == 2
    assert "<img" not in texts["markdown"]
    cells = [cell for row in csv.reader(texts["csv"].splitlines()) for cell in row]
    assert not [cell for cell in cells if cell[:1] in set("=+@") or (cell[:1] == "-" and not cell[1:2].isdigit())]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)


def test_no_form_of_a_report_tells_keys_or_homes(written):
    _, texts = written
    for text in texts.values():
        assert KEY[:9] not in text and "/home/ben" not in text
    assert "~/LLaDA" in texts["output"]


@pytest.mark.parametrize("task", ["../other", "a/b", "/etc/passwd", "x" * 5000, "a\0b", "\ud800"])
def test_a_task_whose_name_is_a_path_leads_to_no_other_file(tmp_path, task):
    path = write_run(tmp_path / "runs", [1, 0], keep_samples=False)
    plain = json.loads(path.read_text())
    for part in ("results", "configs", "higher_is_better", "n-shot"):
        plain[part][task] = plain[part].pop("sums")
    path.write_text(json.dumps(plain))
    outside = path.parent.parent / f"other_{DATE}.jsonl"
    outside.write_text("not a sample\n")
    report = write_report(ReportOptions(folders=[tmp_path / "runs"], output=tmp_path / "page.html"))
    assert report.skipped == ()

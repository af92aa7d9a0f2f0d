"""Folders that take nothing are told of beforehand: /dev/full is a disk that has a place for a name and for no byte."""

import tempfile
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.kept_file import check_kept_file
from lm_eval_mdlm.harness.sweep import _claim
from lm_eval_mdlm.harness.sweep_config import SweepConfig
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.output import check_output, write_lines
from lm_eval_mdlm.running.recording import _made
from lm_eval_mdlm.running.room import check_takes


PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
SWEEP = SweepConfig(model_args={"pretrained": "demo"}, tasks=["mdlm_demo"], grid=[{"k": [1, 2]}])


def fill(monkeypatch) -> None:
    """Every disk is full from now on."""
    for name in ("TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115  closed by who asked


@pytest.mark.parametrize(
    "look, named",
    [
        (lambda folder: Journal.open(folder).close(), "journal=DIR"),
        (lambda folder: _made(str(folder)), "record_steps=DIR"),
        (lambda folder: check_output(folder / "a.jsonl"), "--output DIR/a.jsonl"),
        (lambda folder: check_kept_file(folder / "a.json", "kind"), "--output DIR/a.json"),
        (lambda folder: _claim(SWEEP, folder), "--output DIR"),
    ],
    ids=["journal", "recording", "lines", "kept", "sweep"],
)
def test_a_full_disk_is_told_before_anything_is_computed(tmp_path, monkeypatch, look, named):
    folder = tmp_path / "out"
    folder.mkdir()
    look(folder)
    left = sorted(folder.iterdir())
    assert {path.name for path in left} <= {"sweep.json"}
    fill(monkeypatch)  # the sweep is a begun one by now
    with pytest.raises(UsageError) as told:
        look(folder)
    said = str(told.value).replace(str(folder), "DIR")
    assert said == f"{named} cannot be written: No space left on device; make room, or name another."
    assert sorted(folder.iterdir()) == left


def test_lines_that_are_there_need_no_room(tmp_path, monkeypatch):
    write_lines(tmp_path / "a.jsonl", [{"run": "r"}])
    fill(monkeypatch)
    check_output(tmp_path / "a.jsonl")


def test_lines_without_room_are_told_as_on_the_page_and_leave_no_part(tmp_path):
    path = tmp_path / "a.jsonl"
    (tmp_path / "a.jsonl.partial").symlink_to("/dev/full")
    with pytest.raises(UsageError) as told:
        write_lines(path, [{"run": "r"}])
    assert f"`lm_eval_mdlm: error: {str(told.value).replace(str(path), 'DIR')}`" in PAGE
    assert not [*tmp_path.iterdir()]


def test_a_line_that_cannot_be_made_leaves_no_part_either(tmp_path):
    with pytest.raises(TypeError):
        write_lines(tmp_path / "a.jsonl", [{"run": object()}])
    assert not [*tmp_path.iterdir()]


def test_a_folder_is_made_with_all_above_it_and_stays_empty(tmp_path):
    check_takes(tmp_path / "a" / "b", "--out DIR")
    assert not [*(tmp_path / "a" / "b").iterdir()]

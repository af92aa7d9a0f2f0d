"""`lm-eval-mdlm diagnose` as its users run it, and every mistake in one line."""

import json
from pathlib import Path

import pytest

from lm_eval_mdlm.commands import diagnose as command
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.diagnosing import RULES, DiagnoseOptions, diagnose
from lm_eval_mdlm.recordings.members import SUFFIX
from tests.harness.running import evaluate
from tests.recordings.made import steps, write
from tests.tiny import make_checkpoint


OPTIONS = {"k": 2, "exit_threshold": 3.0}


@pytest.fixture(scope="module")
def recorded(checkpoint, tasks, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    evaluate(checkpoint, tasks, ["pens_template", "pens"], run_limit=4, record_steps=str(folder), **OPTIONS)
    return folder


def figures(path: Path) -> dict:
    content = json.loads(path.read_text())
    return {group["task"]: group for group in content["groups"]}


def test_figures_of_the_folder_alone_and_with_the_model(checkpoint, recorded, tmp_path, capsys):
    command.main([str(recorded), "--output", str(tmp_path / "alone.json")])
    said = capsys.readouterr().out
    assert "pens_template, sampler=fixed_k: 4 rows" in said and "exit by" not in said
    alone = figures(tmp_path / "alone.json")
    assert alone["pens"]["with_model"] is None and alone["pens"]["passes"]["num_rows"] == 4
    given = [str(recorded), "--model_args", f"pretrained={checkpoint},journal={tmp_path / 'j'}", "--device", "cpu"]
    ways = {"one": ["--batch_size", "1"], "many": [], "again": []}
    for name, more in ways.items():
        command.main([*given, *more, "--samples", "3", "--states", "12", "--output", str(tmp_path / f"{name}.json")])
    said = capsys.readouterr().out
    assert "factorisation error of 12 passes" in said and "  exit by entropy 4: " in said
    assert len({(tmp_path / f"{name}.json").read_text() for name in ways}) == 1
    found = figures(tmp_path / "one.json")
    for task, group in found.items():
        assert {**group, "with_model": None, "verdicts": alone[task]["verdicts"]} == alone[task]
        assert {own["name"] for own in alone[task]["verdicts"]} < {own["name"] for own in group["verdicts"]}
    with_answer, without = found["pens_template"]["with_model"], found["pens"]["with_model"]
    assert without["tightness"] is None and without["stability"] == [] and without["own_exit"] is None
    assert 4 < with_answer["tightness"]["num_states"] <= 12 and len(with_answer["stability"]) == len(RULES)
    assert with_answer["own_exit"]["threshold"] == 3.0
    assert with_answer["own_exit"]["num_exits"] == alone["pens_template"]["passes"]["stops"]["exit"]
    assert with_answer["own_exit"]["steps"] == alone["pens_template"]["passes"]["nfe"]["mean"]


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def fail(**options):
        pytest.fail("a checkpoint was loaded")

    monkeypatch.setattr("lm_eval_mdlm.harness.diagnosing.load_backbone", fail)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"states": 0}, "--states must be a whole number, at least 1"),
        ({"samples": 1}, "--samples must be a whole number, at least 2"),
        ({"device": "cpu"}, "--device has no effect without --model_args"),
        ({"model_args": ["pretrained=x,sampler=med"]}, "sampler in --model_args is no option of diagnose"),
        ({"model_args": ["pretrained=x,mc_num=3"]}, "mc_num in --model_args is no option of diagnose"),
        ({"model_args": ["pretrained=x,record_steps=y"]}, "record_steps in --model_args is no option of diagnose"),
        ({"model_args": ["device=cpu"]}, "pretrained must name a checkpoint"),
        ({"folder": Path("absent")}, "absent holds no recorded row; name the folder"),
        ({"output": Path("absent/file.json")}, "--output absent/file.json must be a file in a folder that is there"),
    ],
)
def test_mistakes_are_told_before_a_checkpoint_is_loaded(nothing_is_loaded, recorded, given, message):
    with pytest.raises(UsageError, match=message) as told:
        diagnose(DiagnoseOptions(**{"folder": recorded, **given}))
    assert "\n" not in str(told.value)


def test_a_file_of_something_else_is_left_alone(nothing_is_loaded, recorded, tmp_path):
    for content in ("[1]", "no json", '{"results": 1}'):
        (tmp_path / "file.json").write_text(content)
        with pytest.raises(UsageError, match="exists and was not written by this command"):
            diagnose(DiagnoseOptions(folder=recorded, output=tmp_path / "file.json"))
        assert (tmp_path / "file.json").read_text() == content


def test_another_checkpoint_than_the_recorded_one_is_refused(recorded, tmp_path):
    other = make_checkpoint(tmp_path / "other", "llada", seed=5)
    with pytest.raises(
        UsageError, match="was recorded with another network: fingerprint is .* there and .* here"
    ) as told:
        diagnose(DiagnoseOptions(folder=recorded, model_args=[f"pretrained={other},device=cpu"]))
    assert "\n" not in str(told.value)


def test_damage_and_rows_of_hand_are_told_on_the_command_line_in_one_line(tmp_path, forks):
    path = write(tmp_path, [steps([{"positions": [i]} for i in range(6)], doc_id=i) for i in range(3)])
    content = bytearray(path.read_bytes())
    assert path.name.endswith(SUFFIX)
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    (done,) = forks("lm_eval_mdlm", "diagnose", str(tmp_path))
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.startswith(f"lm_eval_mdlm: error: recording {path} is damaged at byte ")
    assert done.stderr.count("\n") == 1

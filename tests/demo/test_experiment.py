"""The experiment's machinery: stages, arms, processes and means; its runs are slow."""

import json
import re
from types import SimpleNamespace

import pytest

from lm_eval_mdlm.demo.experiment import scheduling
from lm_eval_mdlm.demo.experiment.__main__ import main
from lm_eval_mdlm.demo.experiment.arms import ARMS, Material
from lm_eval_mdlm.demo.experiment.base import Base
from lm_eval_mdlm.demo.experiment.figures import STAGES, Mean, read_figures
from lm_eval_mdlm.demo.experiment.parts import BASE, PARTS, arm_of, tuning_of
from lm_eval_mdlm.demo.experiment.report import write_report
from lm_eval_mdlm.demo.experiment.scheduling import Processes, Task
from lm_eval_mdlm.demo.experiment.settings import FULL, SCALES, SMALL
from lm_eval_mdlm.demo.experiment.stages import Stages
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training.config import TrainingConfig


def test_stage_is_computed_once_and_again_after_a_failure(tmp_path):
    calls = []

    def fails():
        raise KeyboardInterrupt

    def works():
        calls.append(1)
        return {"found": [1.5]}

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).result("one", {"a": (1, 2)}, fails)
    for _ in range(2):
        assert Stages(tmp_path).result("one", {"a": (1, 2)}, works) == {"found": [1.5]}
    assert calls == [1]
    with pytest.raises(UsageError, match="computed with other settings; name another --out"):
        Stages(tmp_path).result("one", {"a": (1, 3)}, works)


def test_settings_are_replaced_one_by_one_and_none_is_invented():
    changed = FULL.changed({"num_test": 7, "world": {"majority": 0.9}, "bases": [4]})
    assert (changed.num_test, changed.bases, changed.num_problems) == (7, (4,), FULL.num_problems)
    assert changed.world == {**FULL.world, "majority": 0.9}
    with pytest.raises(UsageError, match="unknown setting 'numtest'; known are bases, gate"):
        FULL.changed({"numtest": 7})


@pytest.mark.parametrize("settings", SCALES.values(), ids=SCALES)
def test_training_options_are_options_of_the_trainer(settings):
    TrainingConfig(data="d", out="o", from_scratch="s", **settings.base)
    for arm in ARMS:
        config = TrainingConfig(data="d", out="o", pretrained="p", **tuning_of(settings, arm))
        assert (config.learning_rate == settings.answers_only["learning_rate"]) is (arm.name == "answers")


def test_what_is_fixed_beforehand():
    assert len(FULL.bases) >= 5 and FULL.num_test >= 2000 and FULL.gate == 0.4
    assert {"gold", "posterior", "filtered", "both", "rejection", "own", "answers"} < {arm.name for arm in ARMS}


def lines(path, *flags):
    records = [
        {"prompt": f"p{i}", "solution": f"{path.stem} {i}", "answer": f"a{i}", "steps": "", **dict.fromkeys(own, True)}
        for i, own in enumerate(flags)
    ]
    absent = {"hit": False, "consistent": False, "right": False}
    path.write_text("".join(json.dumps({**absent, **record}) + "\n" for record in records))
    return path


def test_arms_are_made_of_the_lines_that_their_names_say(tmp_path):
    material = Material(
        gold=lines(tmp_path / "gold.jsonl", (), ()),
        posterior=lines(tmp_path / "posterior.jsonl", ("consistent",), ("hit", "right")),
        own=lines(tmp_path / "own.jsonl", ("consistent", "right"), ("hit",)),
    )
    made = {}
    for arm in ARMS:
        number = arm.write(material, tmp_path / f"{arm.name}.made")
        found = [json.loads(line) for line in (tmp_path / f"{arm.name}.made").read_text().splitlines()]
        assert len(found) == number and all(line.keys() == {"prompt", "solution", "answer"} for line in found)
        assert all(line["prompt"][1:] == line["answer"][1:] for line in found)
        made[arm.name] = [line["solution"] for line in found]
    assert made == {
        "none": [],
        "gold": ["gold 0", "gold 1"],
        "posterior": ["posterior 0", "posterior 1"],
        "filtered": ["posterior 0"],
        "both": ["gold 0", "gold 1", "posterior 0", "posterior 1"],
        "rejection": ["own 1"],
        "own": ["own 0", "own 1"],
        "answers": ["", ""],
    }


class Fake:
    """Processes that end at the second look, some with an error."""

    def __init__(self, failing):
        self.failing, self.started, self.alive, self.most = failing, [], 0, 0

    def popen(self, words, stdout, stderr, env):
        task = Task(int(words[words.index("--seed") + 1]), words[words.index("--part") + 1])
        self.started.append((task, env.get("CUDA_VISIBLE_DEVICES")))
        self.alive += 1
        self.most = max(self.most, self.alive)
        looks = iter((None, int(task in self.failing)))

        def poll():
            code = next(looks)
            self.alive -= code is not None
            process.returncode = code
            return code

        process = SimpleNamespace(poll=poll, returncode=None)
        return process


def run_faked(monkeypatch, tmp_path, failing=(), **more):
    fake = Fake(failing)
    monkeypatch.setattr(scheduling, "subprocess", SimpleNamespace(Popen=fake.popen, STDOUT=-2))
    monkeypatch.setattr(scheduling, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    processes = Processes(out=tmp_path, command=["--cpu"], **{"parallel": 3, **more})
    return fake, lambda: processes.run([1, 2])


def test_every_part_runs_once_after_its_base_and_no_more_than_allowed_at_a_time(monkeypatch, tmp_path):
    fake, run = run_faked(monkeypatch, tmp_path, devices=("0", "1"))
    run()
    tasks = [task for task, _ in fake.started]
    assert sorted(map(str, tasks)) == sorted(str(Task(seed, part)) for seed in (1, 2) for part in PARTS)
    assert all(
        tasks.index(Task(seed, BASE)) == min(i for i, t in enumerate(tasks) if t.seed == seed) for seed in (1, 2)
    )
    assert fake.most == 3
    assert [device for _, device in fake.started[:2]] == ["0", "1"]


def test_failed_part_is_named_and_stops_only_what_needs_it(monkeypatch, tmp_path):
    fake, run = run_faked(monkeypatch, tmp_path, failing=(Task(1, BASE), Task(2, "arm-gold")))
    with pytest.raises(UsageError, match=r"2 parts failed; see .*base-1/base.log, .*base-2/arm-gold.log"):
        run()
    assert [task for task, _ in fake.started if task.seed == 1] == [Task(1, BASE)]
    assert {task.part for task, _ in fake.started if task.seed == 2} == set(PARTS)
    assert {device for _, device in fake.started} == {None}


def test_mean_and_its_error_by_hand():
    assert Mean.of([]) is None
    found = Mean.of([50.0, 60.0, 70.0])
    assert found.value == 60 and found.standard_error == pytest.approx(10 / 3**0.5)


def stored(folder, development, solved):
    """Results of a base whose arm number i solves `solved` + i."""
    share = {"n": 10, "hit": 50.0, "right": 40.0}
    area = [{"share": share, "auc": None if share < 1 else 0.75, "low": None, "high": None} for share in (0.5, 1.0)]
    results = {
        "data": {},
        "base": {},
        "greedy": {"development": {"n": 5, "hit": development}},
        "traces": {"failed": 4, "posterior": {"failed": share}, "own": {"failed": {"n": 0}}},
        "areas": {"posterior": area, "own": []},
        **{f"arm-{a.name}": {"lines": 3, "n": 20, "hit": solved + i, "right": 1.0} for i, a in enumerate(ARMS)},
    }
    for name, result in results.items():
        (folder / f"{name}.json").write_text(json.dumps({"settings": {}, "seconds": 1.0, "result": result}))


def test_page_lists_all_bases_and_means_those_that_pass(tmp_path):
    settings = FULL.changed({"bases": [7, 8, 9]})
    for seed, development, solved in ((7, 40.0, 50.0), (8, 39.9, 0.0), (9, 60.0, 54.0)):
        (tmp_path / f"base-{seed}").mkdir()
        stored(tmp_path / f"base-{seed}", development, solved)
    text = write_report(settings, tmp_path, "the command").read_text()
    assert "`the command`" in text and "2 of them pass the gate" in text
    assert "| trained on | lines | base 7 | [base 8] | base 9 |" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| posterior traces |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # Arm number 2, so 52 and 56: mean 54, standard error (56 - 52) / 2; gold is number 1.
    assert cells == [
        "posterior traces",
        "3",
        "52.0 / 1.0",
        "2.0 / 1.0",
        "56.0 / 1.0",
        "54.0 ± 2.0",
        "1.0 ± 0.0",
        "+1.0 ± 0.0",
    ]
    assert (
        "| answer given | 0.5 | - | - | - | - |" in text
        and "| answer given | 1 | 0.75 | 0.75 | 0.75 | 0.75 ± 0.00 |" in text
    )
    assert "right traces of them, answer not given | - | - | - | - |" in text
    command = next(line for line in text.splitlines() if line.startswith("lm-eval-mdlm finetune --from-scratch"))
    assert "--block-share 0.3" in command and "--deterministic" in command and "--compile" in command


def test_missing_result_is_named(tmp_path):
    stored_in = tmp_path / "base-7"
    stored_in.mkdir()
    stored(stored_in, 50.0, 50.0)
    (stored_in / "arm-gold.json").unlink()
    with pytest.raises(UsageError, match="base 7 has no results of arm-gold; run the same command again"):
        read_figures(FULL.changed({"bases": [7]}), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--change", "{"], "--change is not valid JSON"),
        (["--change", '{"gates": 1}'], "unknown setting 'gates'"),
        (["--seed", "1"], "--seed and --part name one part"),
    ],
)
def test_bad_input(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        main(["--out", str(tmp_path), *arguments])


def parts_of(folder, settings, parts=PARTS):
    base = Base(settings=settings, seed=1, folder=folder, cpu=True, workers=0)
    for part in parts:
        base.run(part)


@pytest.mark.slow
def test_second_run_has_the_same_figures_and_a_stopped_one_goes_on(tmp_path, monkeypatch):
    settings = SMALL.changed({"bases": [1], "num_documents": 60, "base": {"steps": 12, "save_every": 4}})
    parts_of(tmp_path / "a" / "base-1", settings)

    stopped = tmp_path / "b" / "base-1"
    with monkeypatch.context() as patched:
        patched.setattr(Base, "_solve_greedily", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            parts_of(stopped, settings, [BASE])
    (stopped / "base.json").unlink()  # as if it had been killed while it saved the base
    (stopped / "base" / "model.safetensors").unlink()
    parts_of(stopped, settings)

    first, second = (read_figures(settings, tmp_path / name)[0] for name in "ab")
    assert first.results == second.results and first.results.keys() == set(STAGES)
    assert second.arm(arm_of("arm-gold"))["lines"] == settings.num_problems
    page = write_report(settings, tmp_path / "b", "again").read_text()
    assert re.search(r"\| gold solutions \| 24 \| \[base 1\] ", page) or "| gold solutions | 24 |" in page

    monkeypatch.setattr(Base, "_run_arm", lambda *arguments: pytest.fail("computed again"))
    parts_of(stopped, settings)

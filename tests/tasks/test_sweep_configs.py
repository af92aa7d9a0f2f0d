"""The sweeps and wordings that come along: a sweep's cells are the rows of its table, each wording another text."""

import re
from pathlib import Path

import pytest
import yaml
from lm_eval.utils import apply_template

from lm_eval_mdlm import CONFIGS_DIR
from lm_eval_mdlm.demo.scoring import word_problems
from lm_eval_mdlm.harness.sweep_config import SYSTEM, SweepConfig
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.loading import split_options
from lm_eval_mdlm.options.samplers import SAMPLERS


FOLDER = Path(CONFIGS_DIR)
SWEEPS = {path.stem: path for path in sorted((FOLDER / "sweeps").glob("*_instruct_*.yaml"))}
DEMO = {path.stem: path for path in sorted((FOLDER / "sweeps").glob("demo_*.yaml"))}
PROMPTS = {path.stem: path for path in sorted((FOLDER / "prompts").glob("*.yaml")) if path.stem != "mdlm_demo"}
ROWS = {path: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*_instruct/*.yaml"))}
DOCUMENT = {"question": "How many?", "problem": "Find $x$.", "prompt": "def f():\n    '''Nothing.'''\n"}


def settings(model_args, task, chat, options=None):
    """All that two runs of one task must share to be the same."""
    loading, decoding, _ = split_options(model_args)
    config = DecodingConfig.from_options(options or {}, DecodingConfig.from_options({"seed": 0, **decoding}))
    return {**loading, **config.effective(), "task": task, "chat": chat}


def test_there_is_one_sweep_for_every_table_and_model_and_eight_wordings_for_every_benchmark():
    tables = {name.partition("_instruct_")[2] for name in SWEEPS}
    assert len(SWEEPS) == 2 * len(tables) and {"order", "fixed_k", "med", "early_exit"} <= tables
    assert set(PROMPTS) == {"gsm8k", "math500", "humaneval"}


@pytest.mark.parametrize("name", SWEEPS)
def test_every_cell_is_a_row_of_the_tables(name):
    config = SweepConfig.read(SWEEPS[name])
    rows = [
        settings(row["model_args"], task, row["apply_chat_template"])
        for path, row in ROWS.items()
        for task in row["tasks"]
        if path.parent.name in name
    ]
    cells = config.cells(lambda options: False)
    for cell in cells:
        for task in config.tasks:
            assert settings(config.model_args, task, config.apply_chat_template, cell.options) in rows
    assert f"configs/sweeps/{name}.yaml" in SWEEPS[name].read_text()


def test_the_sweeps_cover_every_row_but_the_instruct_variant():
    covered = [
        settings(config.model_args, task, config.apply_chat_template, cell.options)
        for config in map(SweepConfig.read, SWEEPS.values())
        for cell in config.cells(lambda options: False)
        for task in config.tasks
    ]
    missing = {
        path.stem
        for path, row in ROWS.items()
        if settings(row["model_args"], row["tasks"][0], row["apply_chat_template"]) not in covered
    }
    assert missing == {"humaneval_instruct_fixed_k1"}


@pytest.mark.parametrize("name", PROMPTS)
def test_wordings_are_eight_and_all_hold_the_whole_problem(name, tmp_path):
    path = tmp_path / "sweep.yaml"
    tasks = sorted({t for own in yaml.safe_load(PROMPTS[name].read_text()).values() for t in own if t != SYSTEM})
    written = {"model_args": {"pretrained": "x"}, "tasks": tasks, "grid": [{"k": 1}], "prompts": str(PROMPTS[name])}
    path.write_text(yaml.safe_dump(written))
    prompts = SweepConfig.read(path).prompts
    assert len(prompts) == 8 and prompts[0].name == "own" and not prompts[0].by_task
    field = {"gsm8k": "question", "math500": "problem", "humaneval": "prompt"}[name]
    for task in tasks:
        texts = [apply_template(prompt.by_task[task], DOCUMENT) for prompt in prompts[1:]]
        assert len(set(texts)) == 7 and all(DOCUMENT[field] in text for text in texts)
        # A program is put together from the prompt and the text behind it.
        assert name != "humaneval" or all(text.endswith(DOCUMENT["prompt"]) for text in texts)


def test_no_sweep_is_left_over():
    assert {*SWEEPS, *DEMO} == {path.stem for path in (FOLDER / "sweeps").glob("*.yaml")}
    assert all(f"configs/sweeps/{name}.yaml" in path.read_text() for name, path in DEMO.items())


def test_the_demo_is_swept_with_every_sampler_but_those_that_take_more_passes():
    for path in DEMO.values():
        config = SweepConfig.read(path)
        ways = [DecodingConfig.from_options(options) for options in config.ways()]
        assert {way.sampler for way in ways} == {*SAMPLERS} - {"remdm", "edit"} and config.limit == 300
        assert len({(way.sampler, way.exit_rule or way.exit_threshold) for way in ways if way.exit()}) >= 4
        assert len(config.seeds) == 2 and any(way.draws for way in ways)


def test_demo_wordings_are_eight_and_all_hold_every_number_of_the_problem_in_its_order():
    prompts = SweepConfig.read(DEMO["demo_prompts"]).prompts
    assert len(prompts) == 8 and prompts[0].name == "own" and not prompts[0].by_task
    for problem in list(word_problems()["test"])[:100]:
        texts = [apply_template(prompt.by_task["mdlm_demo"], problem) for prompt in prompts[1:]]
        assert len({problem["prompt"], *texts}) >= 7  # one has other words for what not every problem tells
        assert {tuple(re.findall(r"\d+", text)) for text in texts} == {tuple(re.findall(r"\d+", problem["prompt"]))}

"""The likelihood configurations: every option is known, and says what the file's name and header say."""

import re
from pathlib import Path

import pytest
import yaml
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.tasks import TaskManager

from lm_eval_mdlm import CONFIGS_DIR
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.options.loading import LoadingConfig, split_options
from tests.few_tasks import STOCK


FOLDER = Path(CONFIGS_DIR) / "likelihoods"
CONFIGS = {str(path.relative_to(FOLDER).with_suffix("")): path for path in sorted(FOLDER.glob("*/*.yaml"))}
CHECKPOINTS = {"llada_8b_base": "GSAI-ML/LLaDA-8B-Base", "dream_7b_base": "Dream-org/Dream-v0-Base-7B"}
SHOTS = {"winogrande": 5, "mmlu": 5, "gpqa_main_n_shot": 5}
every_config = pytest.mark.parametrize("name", CONFIGS)


def header(name):
    lines = CONFIGS[name].read_text().splitlines()
    return " ".join(line.lstrip("# ") for line in lines[: lines.index("model: mdlm")])


@pytest.fixture(scope="module")
def known_tasks():
    folders = ("arc", "gpqa/n_shot", "hellaswag", "mmlu/default", "piqa", "race", "truthfulqa", "winogrande")
    return set(TaskManager(include_path=[str(STOCK / name) for name in folders], include_defaults=False).all_tasks)


@every_config
def test_harness_and_model_accept_the_file(name, known_tasks):
    folder, file = name.split("/")
    config = EvaluatorConfig.from_config(CONFIGS[name])
    (task,) = config.tasks
    assert task in known_tasks and file.startswith(task) and config.model == "mdlm"
    assert config.num_fewshot == SHOTS.get(task, 0)
    assert config.output_path == f"results/likelihoods/{name}"
    loading, decoding, likelihood = split_options(yaml.safe_load(CONFIGS[name].read_text())["model_args"])
    assert LoadingConfig.from_options(loading).pretrained == CHECKPOINTS[folder]
    scored, options = LikelihoodConfig.from_options(likelihood), DecodingConfig.from_options(decoding)
    assert scored.likelihood == folder.split("_")[0]
    scale = re.search(r"_cfg_([\d.]+)$", file)
    assert options.cfg_scale == (float(scale[1]) if scale else 0.0)
    if folder == "dream_7b_base":
        assert (scored.mc_num, scored.mc_batch, options.add_bos_token) == (128, 32, True)  # as its published command
    else:
        assert (scored.mc_num, scored.mc_batch) == ((1, 1) if task == "mmlu" else (128, 8))
        assert options.add_bos_token is None


@every_config
def test_header_gives_command_shots_and_what_is_inferred(name):
    shots = SHOTS.get(re.sub(r"_cfg_.*", "", name.split("/")[1]), 0)
    for said in (
        f"lm_eval run --config configs/likelihoods/{name}.yaml ",
        f"setting: {shots} shots",
        "not run by this",
    ):
        assert said in header(name)


def test_index_has_every_file_of_llada_with_the_figure_of_its_header():
    listed = {}
    for line in (FOLDER.parent / "README.md").read_text().splitlines():
        if found := re.match(r"\| `(\w+)`(?:, `([\w.]+)`)? \| (\d) \| .* \| ([\d.]+) \| ([\d.]+|-) \|", line):
            listed[found[1]] = found[4]
            if found[2]:
                listed[found[2]] = found[5]
    assert set(listed) == {name.split("/")[1] for name in CONFIGS if name.startswith("llada")}
    for name, figure in listed.items():
        assert f"published: {figure} " in header(f"llada_8b_base/{name}")

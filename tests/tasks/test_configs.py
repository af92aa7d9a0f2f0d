import dataclasses
import math
import re
from pathlib import Path

import pytest
import yaml
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_mdlm import CONFIGS_DIR, TASKS_DIR
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.loading import LoadingConfig, split_options


FOLDER = Path(CONFIGS_DIR)
CONFIGS = {str(path.relative_to(FOLDER).with_suffix("")): path for path in sorted(FOLDER.glob("*_instruct/*.yaml"))}
DOCUMENTS = {"gsm8k": 1319, "math500": 500, "humaneval": 164}
CHECKPOINTS = {
    "llada_8b_instruct": "GSAI-ML/LLaDA-8B-Instruct",
    "dream_7b_instruct": "Dream-org/Dream-v0-Instruct-7B",
}
EXIT_TABLE = {  # the paper's table of early exits: accuracy, NFE
    "gsm8k_template_fixed_k1": ("79.4", "256"),
    "gsm8k_template_fixed_k1_exit_0.1": ("78.6", "193"),
    "gsm8k_template_med_0.2": ("79.9", "94"),
    "gsm8k_template_med_0.2_exit_0.1": ("79.3", "77"),
}
every_config = pytest.mark.parametrize("name", CONFIGS)


def read(name):
    return yaml.safe_load(CONFIGS[name].read_text())


def header(name):
    lines = CONFIGS[name].read_text().splitlines()
    return " ".join(line.lstrip("# ") for line in lines[: lines.index("model: mdlm")])


def options_from_name(name):
    """What a file's name promises."""
    found = re.search(r"fixed_k(\d+)", name)
    promised = {"sampler": "fixed_k", "k": int(found[1])} if found else {"sampler": "med"}
    if found := re.search(r"med_([\d.]+\d)", name):
        promised["entropy_threshold"] = float(found[1])
    found = re.search(r"block(\d+)", name)
    promised["block_length"] = int(found[1]) if found else 32
    if "template" in name:
        found = re.search(r"exit_([\d.]+)", name)
        promised["exit_threshold"] = float(found[1]) if found else None
    return promised | {"gen_length": 256 if "template" in name or "instruct_" in Path(name).name else 128}


def test_both_checkpoints_have_every_row():
    names = {checkpoint: {Path(n).name for n in CONFIGS if n.startswith(checkpoint)} for checkpoint in CHECKPOINTS}
    # The instruct variant's figure is another paper's, of one checkpoint.
    without_exit = [{n for n in found if "exit" not in n and "instruct" not in n} for found in names.values()]
    assert without_exit[0] == without_exit[1]
    for benchmark in DOCUMENTS:
        for policy in ("fixed_k2", "fixed_k4", "med_0.1", "med_0.2", "med_0.3"):
            assert f"{benchmark}_{policy}" in without_exit[0]
    for benchmark in ("gsm8k", "humaneval"):
        assert {f"{benchmark}_fixed_k1_block{n}" for n in (1, 32, 128)} <= without_exit[0]
    assert sum(map(len, names.values())) == len(CONFIGS)


@every_config
def test_harness_accepts_the_file(name):
    config = EvaluatorConfig.from_config(CONFIGS[name])
    assert config.model == "mdlm"
    (task,) = config.tasks
    assert list(Path(TASKS_DIR).glob(f"*/{task}.yaml"))
    assert task.startswith(name.split("/")[1].split("_")[0])
    assert ("_plain" in task or task.startswith("humaneval")) == ("template" not in name)
    assert ("instruct" in task) == ("instruct" in Path(name).name) == (task.endswith("instruct_mdlm"))
    assert (task == "humaneval_mdlm") == (not read(name)["apply_chat_template"])
    assert config.output_path == f"results/{name}"


@every_config
def test_model_accepts_every_option_and_they_are_what_the_name_says(name):
    arguments = read(name)["model_args"]
    loading, decoding, likelihood = split_options(arguments)
    assert not likelihood
    loaded = LoadingConfig.from_options(loading)
    assert (loaded.pretrained, loaded.revision, loaded.dtype) == (CHECKPOINTS[name.split("/")[0]], "main", "bfloat16")
    config = DecodingConfig.from_options(decoding)
    promised = options_from_name(name)
    assert {option: getattr(config, option) for option in promised} == promised
    assert (config.temperature, config.cfg_scale, config.stop_when_settled) == (0.0, 0.0, False)


@every_config
def test_no_option_of_the_sampler_is_left_to_a_default(name):
    arguments = read(name)["model_args"]
    of_sampler = {"fixed_k": {"k", "score"}, "med": {"entropy_threshold", "k_max"}}[arguments["sampler"]]
    common = {"block_length", "gen_length", "temperature", "cfg_scale", "stop_when_settled", "seed"}
    assert of_sampler | common | {"revision", "dtype"} <= set(arguments)
    assert ("exit_threshold" in arguments) == ("template" in name)
    assert set(arguments) <= {
        field.name for cls in (LoadingConfig, DecodingConfig) for field in dataclasses.fields(cls)
    }


@every_config
def test_header_gives_the_command_that_runs_this_file(name):
    command = f"command: lm_eval run --config configs/{name}.yaml"
    needs_confirmation = "humaneval" in name
    assert command + (" --confirm_run_unsafe_code" if needs_confirmation else " ") in header(name)
    assert ("--confirm_run_unsafe_code" in header(name)) == needs_confirmation
    assert "confirm_run_unsafe_code" not in read(name)


@every_config
def test_published_accuracy_is_a_count_of_documents_and_has_its_standard_error(name):
    found = re.search(r"paper: accuracy (?:([\d.]+) \+- ([\d.]+)|not published), NFE ", header(name))
    assert found
    if found[1]:
        share, documents = float(found[1]) / 100, DOCUMENTS[name.split("/")[1].split("_")[0]]
        step = 10 ** -len(found[1].partition(".")[2]) / 100  # the paper rounds or truncates
        assert any(abs(n / documents - share) < step for n in range(documents + 1))
        assert float(found[2]) == pytest.approx(100 * math.sqrt(share * (1 - share) / documents), abs=0.051)


@every_config
def test_header_names_the_metric_to_compare_with_and_the_task_reports_it(name):
    (named,) = re.findall(r"compares with: ([\w@]+)", header(name))
    nearest = re.findall(r"the nearest stock metric is (\w+)", header(name))
    (task,) = read(name)["tasks"]
    (path,) = Path(TASKS_DIR).glob(f"*/{task}.yaml")
    metrics = {metric["metric"] for metric in load_yaml(path, resolve_func=False)["metric_list"]}
    assert {named, *nearest} <= metrics
    assert (named == "pass@1") == ("humaneval" in name)


@pytest.mark.parametrize(("row", "figures"), EXIT_TABLE.items())
def test_early_exit_rows_carry_the_papers_figures(row, figures):
    accuracy, nfe = figures
    assert re.search(rf"paper: accuracy {accuracy} \+- 1\.1, NFE {nfe}\b", header(f"llada_8b_instruct/{row}"))


def test_index_lists_every_file_with_its_own_figures():
    section, listed = "", {}
    for line in (FOLDER / "README.md").read_text().splitlines():
        if found := re.match(r"## `(\w+)/`", line):
            section = found[1]
        elif found := re.match(r"\| `([\w.]+)` \| (\d+) \| (\d+) \| ([\d.-]+) \| (.+) \|", line):
            listed[f"{section}/{found[1]}"] = found.groups()[1:]
    assert set(listed) == set(CONFIGS)
    for name, (masks, block, accuracy, nfe) in listed.items():
        arguments = read(name)["model_args"]
        assert (int(masks), int(block)) == (arguments["gen_length"], arguments["block_length"])
        assert (f"accuracy {accuracy} " if accuracy != "-" else "accuracy not published") in header(name)
        assert (
            f"({nfe[1:-1]} by construction)" if nfe.startswith("(") else "" if nfe == "-" else f"NFE {nfe}"
        ) in header(name)

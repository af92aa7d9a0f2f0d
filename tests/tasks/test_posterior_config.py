"""The recipe for LLaDA-8B-Base: every command and file is one that this package and the harness take, in this order."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from lm_eval.config.evaluate_config import EvaluatorConfig

from lm_eval_mdlm import CONFIGS_DIR, TASKS_DIR
from lm_eval_mdlm.commands import posterior, score, select
from lm_eval_mdlm.demo.experiment.arms import ARMS
from lm_eval_mdlm.harness.arguments import options_of
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.loading import LoadingConfig, split_options
from lm_eval_mdlm.training.config import from_arguments


FOLDER = Path(CONFIGS_DIR) / "posterior" / "llada_8b_base"
RESULTS = "results/posterior/llada_8b_base/"
BASE = "GSAI-ML/LLaDA-8B-Base"
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
TUNED = [arm.name for arm in ARMS if arm.name != "none"]


def commands():
    """Words of each command, in order, the loop unrolled."""
    text = "\n".join(line for line in (FOLDER / "commands.sh").read_text().splitlines() if not line.startswith("#"))
    joined = text.replace("\\\n", " ")
    before, names, body, rest = re.fullmatch(r"(.*?)\nfor arm in ([\w ]+); do\n(.*)\ndone(.*)", joined, re.S).groups()
    assert not rest.strip()
    lines = before.splitlines() + [line.replace("$arm", name) for name in names.split() for line in body.splitlines()]
    return [shlex.split(line) for line in lines if line.strip()]


def checked_model_args(texts):
    loading, decoding, likelihood = split_options(options_of("--model_args", texts))
    assert LoadingConfig.from_options(loading).pretrained == BASE and not likelihood
    return DecodingConfig.from_options(decoding)


def files_of(words):
    """What a command reads and writes, as far as it is this recipe's, after the package's own checks of its options."""
    if words[:3] == ["lm_eval", "run", "--config"]:
        (path,) = words[3:]
        values = yaml.safe_load(Path(CONFIGS_DIR).parent.joinpath(path).read_text())
        peft = values["model_args"].get("peft")
        return [peft] if peft else [], [values["output_path"]]
    if words[0] == "python":
        given = dict(zip(words[2::2], words[3::2], strict=True))
        assert Path(CONFIGS_DIR).parent.joinpath(words[1]) == FOLDER / "lines.py"
        return [given["--posterior"], given["--own"]], [given["--out"]]
    assert words[0] == "lm-eval-mdlm"
    if words[1] == "finetune":
        config = from_arguments(words[2:])
        assert config.pretrained == BASE and config.adapter_only
        return [config.data], [f"{config.out}/adapter"]
    chosen = {"posterior": posterior, "score": score, "select": select}[words[1]].parser().parse_args(words[2:])
    if words[1] == "select":
        return [str(chosen.traces)], [str(chosen.output)]
    config = checked_model_args(chosen.model_args)
    if words[1] == "score":
        return [str(chosen.traces)], [str(chosen.output)]
    config = DecodingConfig.from_options(options_of("--gen_kwargs", chosen.gen_kwargs), base=config)
    assert (config.temperature, config.sampler, config.policy().k) == (1.0, "fixed_k", 1)
    assert chosen.split == "train" and list(Path(TASKS_DIR).glob(f"*/{chosen.task}.yaml"))
    return [str(path) for path in chosen.only_failed], [str(chosen.output)]


def test_every_command_is_valid_and_reads_what_an_earlier_one_wrote():
    written = []
    for words in commands():
        reads, writes = files_of(words)
        assert all(path.startswith(RESULTS) for path in (*reads, *writes))
        for path in reads:
            assert any(path == one or path.startswith(f"{one}/") for one in written), (words, path)
        assert not set(writes) & set(written)
        written += writes
    assert {f"{RESULTS}tuned/{name}/adapter" for name in TUNED} <= set(written)


def test_every_file_is_run_by_a_command():
    named = {Path(words[3]).stem for words in commands() if words[:2] == ["lm_eval", "run"]}
    assert named == CONFIGS.keys() == {f"gsm8k_{name}" for name in ("base", "train", "traces", *TUNED)}
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{name}.yaml`" in readme for name in CONFIGS if name not in ("gsm8k_train", "gsm8k_traces"))


@pytest.mark.parametrize("name", CONFIGS)
def test_harness_and_model_accept_the_file(name):
    config = EvaluatorConfig.from_config(CONFIGS[name])
    (task,) = config.tasks
    arm = name.removeprefix("gsm8k_")
    assert task == ("gsm8k_mdlm_train" if arm in ("train", "traces") else "gsm8k_mdlm")
    assert config.output_path == f"{RESULTS}{name}" and config.num_fewshot == 0 and config.log_samples
    assert f"command: lm_eval run --config configs/posterior/llada_8b_base/{name}.yaml" in CONFIGS[name].read_text()
    loading, decoding, likelihood = split_options(yaml.safe_load(CONFIGS[name].read_text())["model_args"])
    checked = LoadingConfig.from_options(loading)
    assert checked.pretrained == BASE and not likelihood
    assert checked.peft == (f"{RESULTS}tuned/{arm}/adapter" if arm in TUNED else None)
    assert checked.journal == f"{RESULTS}journals/{name}"  # one each: a journal belongs to one network
    options = DecodingConfig.from_options(decoding)
    assert options.temperature == (1.0 if arm == "traces" else 0.0) and options.block_length == 32


def test_lines_are_what_the_arms_are_called(tmp_path):
    spec = importlib.util.spec_from_file_location("lines", FOLDER / "lines.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    traces = [
        {"doc_id": i, "prompt": f"Q{i}", "solution": f" trace {i}", "answer": str(i), "run": "x"} for i in (4, 0, 2)
    ]
    samples = [
        {
            "doc_id": i,
            "doc": {"question": f"q{i}", "answer": f"2 + {i} = <<2+{i}={2 + i}>>{2 + i}.\nDone.\n#### {i}"},
            "resps": [[f" own {i}\nThe answer is \\boxed{{{i}}}"]],
            "acc": float(i == 2),
        }
        for i in range(4)
    ]
    for name, lines in {"traces": traces, "samples": samples}.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    script.main(
        ["--posterior", str(tmp_path / "traces"), "--own", str(tmp_path / "samples"), "--out", str(tmp_path / "out")]
    )
    made = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in (tmp_path / "out").iterdir()
    }
    solutions = {name: [line["solution"] for line in lines] for name, lines in made.items()}
    gold = [" 2 + 0 = 2.\nDone.", " 2 + 2 = 4.\nDone."]
    assert solutions == {
        "gold": gold,
        "posterior": [" trace 0", " trace 2"],
        "own": [" own 0", " own 2"],
        "answers": ["", ""],
        "both": [*gold, " trace 0", " trace 2"],
        "rejection": [" own 2"],
    }
    for line in (line for lines in made.values() for line in lines):
        assert line["prompt"] == f"Q{line['answer']}" and line.keys() == {"prompt", "solution", "answer"}

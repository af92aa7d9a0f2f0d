"""Every row of the table of samplers under the harness: in two processes, and stopped and taken up again."""

import random
from pathlib import Path

import pytest
import yaml

from lm_eval_mdlm.options.samplers import SAMPLERS
from tests.engine.test_rules_over_all import NEEDED
from tests.forking import torchrun
from tests.harness.running import evaluate, outcomes
from tests.harness.test_stock_likelihoods import written


DOCUMENTS = 7
"""Odd: one process gives its last request twice."""
NAMES = [f"pens_{sampler}" for sampler in SAMPLERS]
MODEL = {"gen_length": 12, "block_length": None, "temperature": 0.7, "seed": 3, "min_distance": 1.5}


@pytest.fixture(scope="module")
def folder(tasks, tmp_path_factory) -> str:
    """With a task for each sampler."""
    made = tmp_path_factory.mktemp("samplers")
    pens = yaml.safe_load(Path(tasks, "pens_template.yaml").read_text())
    for name, sampler in zip(NAMES, SAMPLERS, strict=True):
        own = {**pens["generation_kwargs"], "sampler": sampler, **NEEDED.get(sampler, {})}
        (made / f"{name}.yaml").write_text(yaml.safe_dump({**pens, "task": name, "generation_kwargs": own}))
    return str(made)


@pytest.fixture(scope="module")
def alone(checkpoint, folder):
    return evaluate(checkpoint, folder, NAMES, run_limit=DOCUMENTS, run_batch_size=3, **MODEL)


def compare(found, alone):
    for name in NAMES:
        assert outcomes(found, name) == outcomes(alone, name), name
        assert len(outcomes(found, name)) == DOCUMENTS
        for metric in ("nfe,strict", "exact_match,strict"):
            assert found["results"][name][metric] == pytest.approx(alone["results"][name][metric]), name


@pytest.mark.slow
def test_two_processes_give_the_texts_and_passes_of_one(checkpoint, folder, alone, tmp_path):
    options = {name: value for name, value in MODEL.items() if value is not None}
    model_args = ",".join(f"{name}={value}" for name, value in {"pretrained": checkpoint, **options}.items())
    arguments = ["run", "--model", "mdlm", "--model_args", model_args, "--tasks", ",".join(NAMES), "--log_samples"]
    arguments += ["--include_path", folder, "--output_path", str(tmp_path), "--batch_size", "3"]
    done = torchrun("tests.few_tasks", *arguments, "--limit", str(DOCUMENTS))
    assert done.returncode == 0, done.stderr[-3000:]
    found = written(tmp_path)
    compare(found, alone)
    record = found["config"]["mdlm"]
    assert record["world_size"] == 2 and min(record["nfe_by_process"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_was_stopped_anywhere_goes_on_to_the_same_texts_and_passes(
    checkpoint, folder, alone, tmp_path, seed
):
    options = {"run_limit": DOCUMENTS, "run_batch_size": 3, "journal": str(tmp_path), **MODEL}
    compare(evaluate(checkpoint, folder, NAMES, **options), alone)
    (file,) = tmp_path.glob("*")
    header, *records = file.read_bytes().splitlines(keepends=True)
    assert len(records) == DOCUMENTS * len(NAMES)
    # Rows end in any order, and what was being written when the run was stopped is torn.
    kept = random.Random(seed).sample(records, len(records) // 2)
    file.write_bytes(b"".join([header, *kept, next(own for own in records if own not in kept)[:-20]]))
    again = evaluate(checkpoint, folder, NAMES, **options)
    compare(again, alone)
    assert again["config"]["mdlm"]["totals_of_rank_0"]["from_journal"] == len(kept)

"""Files of a run tell no key, and not in whose home folder anything lies."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from lm_eval.loggers import EvaluationTracker

from lm_eval_mdlm.canvas.vocabulary import vocabulary_fingerprint
from lm_eval_mdlm.checkpoints.load import tokenizer_of
from lm_eval_mdlm.harness.disclosure import disclose
from lm_eval_mdlm.harness.sweep_config import OWN, Cell
from lm_eval_mdlm.options.frequencies import write_frequencies
from tests.harness.running import evaluate


KEY = "hf_" + "aB3" * 12


def contents(folder: Path) -> dict[str, str]:
    """Every file as text, packed ones unpacked."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(folder)): (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        for path, content in files.items()
    }


def test_results_journal_and_recording_hold_neither_home_nor_key(tmp_path, monkeypatch, checkpoint, tasks):
    home = tmp_path / "anna"
    folder = shutil.copytree(checkpoint, home / "models" / "tiny")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", KEY)
    out = home / "out"
    digest = vocabulary_fingerprint(tokenizer_of(str(folder), None), "counting")
    write_frequencies(home / "counts.json", digest, {3: 1, 4: 2})
    tracker = EvaluationTracker(output_path=str(out / "results"))
    results = evaluate(
        str(folder),
        tasks,
        ["pens_template"],
        gen_kwargs=f"sampler=fixed_k,k=8,score=pc,token_frequencies={home / 'counts.json'}",
        journal=str(out / "journal"),
        record_steps=str(out / "steps"),
        chat_template_args={"key": KEY},
        run_limit=2,
        run_evaluation_tracker=tracker,
        run_log_samples=True,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name="pens_template", samples=samples["pens_template"])
    found = contents(out)
    assert {name.split("/")[0] for name in found} == {"results", "journal", "steps"} and len(found) == 4
    for name, text in found.items():
        assert str(home) not in text and "anna" not in name and KEY not in text, name
    (written,) = (json.loads(text) for name, text in found.items() if "results_" in name)
    assert written["config"]["model_args"]["pretrained"] == "~/models/tiny"
    assert written["config"]["mdlm"]["loading"]["journal"] == "~/out/journal"
    assert written["model_name"] == "~/models/tiny"
    assert written["config"]["mdlm"]["backbone"]["fingerprint"]
    assert written["configs"]["pens_template"]["generation_kwargs"]["token_frequencies"] == "~/counts.json"
    assert all("~/counts.json" in text for name, text in found.items() if "samples_" in name)


@pytest.mark.parametrize("results", [None, {"config": {"model_args": "token=abc"}}, {"samples": {}}])
def test_results_of_other_models_stay_as_they_are(results):
    before = json.dumps(results)
    disclose({}, results)
    assert json.dumps(results) == before


def test_the_folder_of_a_cell_names_no_home():
    options = ({"token_frequencies": f"/home/{name}/counts.json"} for name in ("anna", "ben"))
    one, other = (Cell(options=own, prompt=OWN, num_fewshot=None, seed=0).name for own in options)
    assert "anna" not in one and "counts.json" in one and one != other

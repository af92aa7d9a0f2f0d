"""Runs of the stock command with `mdlm` and with another model stand in one page, with the figures of lm_eval."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lm_eval_mdlm.checkpoints.packaged import checkpoint_dir
from lm_eval_mdlm.report.write import ReportOptions, write_report
from tests.report.reading import Page


pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TASK = """
task: words
custom_dataset: !function lm_eval_mdlm.demo.scoring.word_problems
output_type: generate_until
test_split: test
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 116}
filter_list:
  - name: strict-match
    filter: [{function: regex, regex_pattern: "The answer is (\\\\d+)$"}, {function: take_first}]
  - name: flexible-extract
    filter: [{function: regex, group_select: -1, regex_pattern: "(\\\\d+)"}, {function: take_first}]
metadata: {version: 1.0}
"""


def write_network(folder: Path) -> None:
    """An autoregressive network without training, with the demo's tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=480, eos_token_id=1, bos_token_id=0, **sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint_dir()).save_pretrained(folder)


def run(folder: Path, name: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "lm_eval_mdlm", "run", "--tasks", "words", "--limit", "8", "--device", "cpu"]
    command += ["--include_path", str(folder), "--log_samples", "--output_path", str(folder / "runs" / name)]
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_runs_of_mdlm_and_of_another_model_stand_in_one_page(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "words.yaml").write_text(TASK)
    write_network(tmp_path / "network")
    demo = ("--model", "mdlm", "--model_args", "pretrained=demo", "--gen_kwargs")
    run(tmp_path, "med", *demo, "sampler=med,block_length=13")
    run(tmp_path, "k16", *demo, "sampler=fixed_k,k=16,block_length=13")
    run(tmp_path, "ar", "--model", "hf", "--model_args", f"pretrained={tmp_path / 'network'},dtype=float32")

    output = tmp_path / "page.html"
    made = write_report(ReportOptions(folders=[tmp_path / "runs"], output=output))
    assert made.skipped == ()
    parsed = Page(output.read_text())
    overview = {row[0]: row[1:] for row in parsed.tables["Score | NFE"][1:]}
    for name in ("med", "k16", "ar"):
        (path,) = (tmp_path / "runs" / name).rglob("results_*.json")
        reported = json.loads(path.read_text())["results"]["words"]
        for place, own in enumerate(("strict-match", "flexible-extract")):
            passes = f"{reported[f'nfe,{own}']:.1f}" if name != "ar" else "–"
            expected = f"{100 * reported[f'exact_match,{own}']:.1f} | {passes}"
            assert overview[name][place].startswith(expected)
    options = {row[0]: row for row in parsed.tables["Options"][1:]}
    assert 'sampler="med"' in options["med"][2] and "k=16" in options["k16"][2]
    assert "hf" in {row[0]: row[1] for row in parsed.tables["Runs"][1:]}["ar"]
    assert len(parsed.data["boards"][0]["problems"]) == 8

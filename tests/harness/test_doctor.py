"""`lm-eval-mdlm doctor` in this process: what it says, keeps and compares."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import yaml
from lm_eval.loggers import EvaluationTracker

from benchmarks import doctor as benchmark
from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.commands import doctor as command
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.doctor import measuring, preparing
from lm_eval_mdlm.harness.doctor.comparing import compare, off
from lm_eval_mdlm.harness.doctor.examination import examine
from lm_eval_mdlm.harness.doctor.findings import WIDTH, Findings
from lm_eval_mdlm.harness.doctor.fitting import quantile, suggested
from lm_eval_mdlm.harness.doctor.preparing import DoctorOptions
from lm_eval_mdlm.running import trial
from tests.harness.running import evaluate


MODEL = {"gen_length": 16, "block_length": 8, "k": 2, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def own_tasks_alone():
    """Without the harness's own thousands, which take seconds to be listed."""
    patched = pytest.MonkeyPatch()
    manager = preparing.TaskManager
    patched.setattr(
        preparing,
        "TaskManager",
        lambda include_path, metadata: manager(
            include_path=include_path, metadata=metadata, include_defaults=include_path is None
        ),
    )
    yield
    patched.undo()


def options(checkpoint: str, tasks: str, *names: str, **given) -> DoctorOptions:
    model_args = [json.dumps({"pretrained": checkpoint, **MODEL, **given.pop("model_args", {})})]
    return DoctorOptions(**{"model_args": model_args, "tasks": names, "include_path": tasks, "seconds": 5.0, **given})


def examined(*given, **more) -> tuple[bool, list[str]]:
    lines: list[str] = []
    good = examine(options(*given, **more), lines.append)
    return good, lines


def below(lines: list[str], title: str) -> list[str]:
    """The lines under a heading."""
    start = lines.index(title) + 1
    rest = [i for i in range(start, len(lines)) if not lines[i].startswith("  ")]
    return lines[start : min(rest, default=len(lines))]


@pytest.fixture(scope="module")
def whole(checkpoint, tasks, tmp_path_factory) -> tuple[list[str], Path]:
    """An examination of two tasks, and the estimate that it kept."""
    output = tmp_path_factory.mktemp("estimate") / "estimate.json"
    good, lines = examined(checkpoint, tasks, "pens_template", "pens", output=output, batch_size="3", limit=5)
    assert good
    return lines, output


def test_it_says_what_was_found_of_the_checkpoint(whole, checkpoint):
    lines, _ = whole
    assert all(len(line) <= WIDTH for line in lines)
    assert not [line for line in lines if line.startswith("  fail")]
    backbone = load_backbone(checkpoint, device="cpu")
    said = "\n".join(below(lines, "detected"))
    assert f"mask token {backbone.mask_token_id} '<|mdm_mask|>'" in said and "family LLaDA" in said
    assert f"canvases of at most {backbone.max_length} tokens" in said
    assert [line for line in below(lines, "probe") if "rows are bit-independent here" in line]
    assert [line for line in below(lines, "kernels") if "fused ones need a GPU" in line]
    assert f"batch_size=3, pretrained={checkpoint}" in " ".join(" ".join(below(lines, "options")).split())


def test_gold_answers_are_counted_in_the_tokenizers_own_tokens(whole, checkpoint, tasks):
    lines, _ = whole
    tokenizer = load_backbone(checkpoint, device="cpu").tokenizer
    golds = [json.loads(line)["answer"] for line in (Path(tasks) / "test.jsonl").read_text().splitlines()[:5]]
    lengths = [len(tokenizer.encode(gold, add_special_tokens=False)) for gold in golds]
    said = "\n".join(below(lines, "task pens_template"))
    assert "100.0% of 5 gold answers fit the answer segment of 4 tokens" in said
    assert f"longest {max(lengths)}" in said and f"suggested length: {max(lengths) + 1}," in said
    assert "gold answers" not in "\n".join(below(lines, "task pens"))


def test_rows_without_numbers_fail(checkpoint, tasks, monkeypatch):
    def tried(*given, **more):
        return dataclasses.replace(trial.tried(*given, **more), num_failed=2)

    monkeypatch.setattr(measuring, "tried", tried)
    good, lines = examined(checkpoint, tasks, "pens", limit=4, sample=4)
    assert not good
    (line,) = [line for line in lines if line.startswith("  fail")]
    assert "the network returned no numbers for 2 of them" in line


def test_answers_and_prompts_that_do_not_fit_are_shares(checkpoint, tasks):
    template = [{"reasoning": 4}, {"text": " so "}, {"answer": 1}]
    _, lines = examined(
        checkpoint, tasks, "pens_template", limit=6, sample=1,
        gen_kwargs=[json.dumps({"template": template, "max_length": 40})],
    )  # fmt: skip
    said = "\n".join(below(lines, "task pens_template"))
    backbone = load_backbone(checkpoint, device="cpu")
    encode = backbone.tokenizer.encode
    rows = [json.loads(line) for line in (Path(tasks) / "test.jsonl").read_text().splitlines()[:6]]
    fitting = sum(len(encode(row["answer"], add_special_tokens=False)) <= 1 for row in rows)
    room = 40 - 5 - len(encode(" so ", add_special_tokens=False))
    cut = sum(len(encode(f"Question: {row['question']}\nAnswer:")) > room for row in rows)
    assert 0 < fitting < 6 and cut > 0
    assert f"warn  {fitting / 6:.1%} of 6 gold answers fit the answer segment of 1 tokens" in said
    assert f"warn  {cut / 6:.1%} of 6 prompts are cut to fit max_length=40" in said


@pytest.mark.parametrize(
    ("lengths", "found", "length"),
    [
        ([3, 1, 2, 4], [2, 4, 4], 5),
        ([7], [7, 7, 7], 8),
        ([1] * 99 + [50], [1, 1, 1], 2),
        ([1] * 98 + [9, 9], [1, 1, 9], 10),
    ],
)
def test_quantiles_are_lengths_that_a_share_does_not_exceed(lengths, found, length):
    assert [quantile(lengths, share) for share in (0.5, 0.9, 0.99)] == found
    assert suggested(lengths) == length


def test_an_estimate_has_the_passes_of_the_run(whole, checkpoint, tasks):
    _, output = whole
    kept = json.loads(output.read_text())
    # 16 masks, or 12 and 4, at two a pass; five rows, three at a time, of both tasks.
    assert {name: (own["documents"], own["nfe"]) for name, own in kept["tasks"].items()} == {
        "pens_template": (5, 8.0),
        "pens": (5, 8.0),
    }
    assert kept["passes"] == math.ceil(10 / 3) * 8 and kept["relative_error"] == 0.0
    assert kept["answer_seconds"] > 0 and kept["load_seconds"] > 0 and kept["peak_bytes"] > 2**26
    assert kept["tasks"]["pens"]["options"]["k"] == 2


def test_choices_are_scored_in_their_planned_passes(checkpoint, tasks, tmp_path):
    pens = yaml.safe_load((Path(tasks) / "pens.yaml").read_text())
    words = ["a", "so many pens are hers"]
    changes = {"task": "choice", "output_type": "multiple_choice", "doc_to_choice": words, "doc_to_target": 0}
    del pens["filter_list"], pens["generation_kwargs"], pens["metric_list"]
    (tmp_path / "choice.yaml").write_text(yaml.safe_dump({**pens, **changes}))
    given = {"limit": 3, "model_args": {"mc_num": 5}, "output": tmp_path / "estimate.json", "batch_size": "4"}
    good, lines = examined(checkpoint, str(tmp_path), "choice", **given)
    kept = json.loads((tmp_path / "estimate.json").read_text())
    encode = load_backbone(checkpoint, device="cpu").tokenizer.encode
    passes = [min(2 ** len(encode(f" {word}", add_special_tokens=False)) - 1, 5) for word in words]
    assert good and len(set(passes)) == 2
    assert kept["tasks"]["choice"]["nfe"] == sum(passes) and kept["tasks"]["choice"]["requests"] == 6
    assert kept["passes"] == math.ceil(3 * sum(passes) / 4)
    assert "0.0% of 6 contexts are cut" in "\n".join(below(lines, "task choice"))


@pytest.fixture(scope="module")
def results(checkpoint, tasks, tmp_path_factory) -> Path:
    """The file of the run that was estimated."""
    folder = tmp_path_factory.mktemp("results")
    tracker = EvaluationTracker(output_path=str(folder))
    found = evaluate(
        checkpoint, tasks, ["pens_template", "pens"], run_limit=5, run_evaluation_tracker=tracker,
        **{**MODEL, "batch_size": 3},
    )  # fmt: skip
    found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=None)
    (path,) = folder.rglob("results_*.json")
    return path


def test_a_run_is_held_beside_its_estimate(whole, results, capsys):
    lines: list[str] = []
    assert compare(whole[1], results.parent, lines.append)
    assert [line for line in lines if "pens: nfe 8.0 foreseen, 8.0 taken: right to 0.5%" in line]
    command.main(["--compare", str(whole[1]), "--results", str(results)], lambda: None)
    assert "whole command" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("config", "mdlm", "world_size"), 2, "processes: the estimate is for 1, and the run had 2"),
        (("config", "mdlm", "loading", "batch_size"), 4, "batch_size: the estimate is for 3, and the run had 4"),
        (("config", "mdlm", "device_name"), "H200", "and the run had H200"),
        (("config", "mdlm", "backbone", "fingerprint"), "x", "weights: "),
        (("config", "mdlm", "totals_of_rank_0", "from_journal"), 2, "from_journal: 2 requests were not answered"),
        (("config", "mdlm", "decoding_by_task", "pens", "k"), 1, "pens: the estimate is for k=2, and the run had 1"),
        (("n-samples", "pens", "effective"), 6, "pens: the estimate is of 5 documents, and the run had 6"),
        (("n-samples", "more"), {"effective": 5}, "more is in the run alone"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_run_of_something_else_is_named(whole, results, tmp_path, place, value, said):
    content = json.loads(results.read_text())
    inside = content
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    (tmp_path / "results_1.json").write_text(json.dumps(content))
    lines: list[str] = []
    assert not compare(whole[1], tmp_path, lines.append)
    (failed,) = (line for line in lines if line.startswith("  fail"))
    assert said in failed
    with pytest.raises(SystemExit) as ended:
        command.main(["--compare", str(whole[1]), "--results", str(tmp_path)], lambda: None)
    assert ended.value.code == 1


def test_off_says_which_way():
    assert off(125, 100) == "25% too high" and off(80, 100) == "20% too low" and off(100.2, 100) == "right to 0.5%"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model_args": {"k": 0}}, "k must be"),
        ({"gen_kwargs": ["k=0"]}, "pens: k must be"),
        ({"gen_kwargs": ["until"]}, "--gen_kwargs must be name=value,name=value"),
        ({"tasks": ["pen"]}, "--tasks pen is not known; did you mean pens?"),
        ({"tasks": ["broken"]}, "--tasks broken cannot be loaded: "),
        ({"tasks": ["no_field"]}, "--tasks no_field cannot be loaded: UndefinedError: 'a' is undefined"),
        ({"tasks": ["odd"]}, "odd: its requests cannot be written: ZeroDivisionError"),
        ({"chat_template": "other"}, "--apply_chat_template: the tokenizer has no chat template 'other'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_a_run_that_would_fail_is_told_in_one_line_and_the_checkpoint_is_looked_at(
    checkpoint, tasks, tmp_path, given, said
):
    pens = yaml.safe_load((Path(tasks) / "pens.yaml").read_text())
    changes = {
        "pens": {},
        "broken": {"dataset_kwargs": {"data_files": {"test": "no/such/file.jsonl"}}},
        "no_field": {"doc_to_text": "{{a.b.c}}"},
        "odd": {"doc_to_text": "{{1 // (0 if 'Ann has 1 ' in question else 1)}}"},  # of the second document
    }
    for name, changed in changes.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**pens, "task": name, **changed}))
    more = {"limit": 2, "sample": 1, **given}
    good, lines = examined(checkpoint, str(tmp_path), *more.pop("tasks", ["pens"]), **more)
    (failed,) = (line for line in lines if line.startswith("  fail"))
    assert not good and failed.startswith(f"  fail  {said}")
    assert below(lines, "detected") and "time and memory of a whole run" not in lines
    assert lines[-1] == "A run would fail for what is marked `fail`."


def test_a_warning_of_loading_is_a_line_of_its_section(checkpoint, tasks):
    _, lines = examined(checkpoint, tasks, model_args={"max_batch_size": 3})
    said = " ".join(" ".join(below(lines, "options")).split())
    assert "warn max_batch_size=3 has an effect only with batch_size=auto" in said


def test_a_failure_stays_on_one_line_and_warnings_are_wrapped():
    lines: list[str] = []
    findings = Findings(lines.append)
    with findings.section("title"):
        findings.warn("word " * 60)
        raise UsageError("word " * 60)
    assert [len(line) <= WIDTH for line in lines] == [True] * (len(lines) - 1) + [False]
    assert lines[0] == "title" and findings.failed


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["1", "8"])
@pytest.mark.parametrize("case", ["k = 4", "MED + exit"])
def test_the_estimate_of_the_packaged_model_is_within_a_quarter_of_the_run(tmp_path, case, batch):
    """In the processor's own time, as others take cores away from the two in unequal parts."""
    benchmark.main(["--cases", case, "--batch", batch, "--limit", "60", "--out", str(tmp_path)])
    (row,) = json.loads((tmp_path / "doctor.json").read_text())["rows"]
    assert 0.75 < row["foreseen / run, processor"]["median"] < 1.25
    assert 0.9 < row["NFE foreseen / run"]["median"] < 1.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--model_args must name a checkpoint"),
        (["--compare", "a.json"], "--compare FILE.json and --results PATH belong together"),
        (["--compare", "a.json", "--results", "b"], "--compare a.json must be a file that doctor --output wrote"),
        (
            ["--model_args", "pretrained=demo", "--output", "no/such/folder/a.json"],
            "--output no/such/folder/a.json must",
        ),
    ],
    ids=["nothing", "half", "no estimate", "no folder"],
)
def test_a_wrong_command_is_refused_in_one_line(arguments, said):
    with pytest.raises(UsageError, match=said.split(" (")[0].replace(".", r"\.")):
        command.main(arguments, lambda: None)

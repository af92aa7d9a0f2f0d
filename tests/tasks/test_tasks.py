from pathlib import Path

import lm_eval.tasks
import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_mdlm import TASKS_DIR
from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.harness.task import MDLMTask
from lm_eval_mdlm.scoring.humaneval import SOLUTION_DELIMITER

from .conftest import FUNCTIONS, LINES, PROBLEMS, QUESTIONS, Scripted


STOCK_DIR = Path(lm_eval.tasks.__file__).parent
STOCK = {
    "gsm8k_mdlm": STOCK_DIR / "gsm8k" / "gsm8k.yaml",
    "math500_mdlm": STOCK_DIR / "minerva_math" / "minerva_math500.yaml",
    "humaneval_mdlm": STOCK_DIR / "humaneval" / "humaneval.yaml",
}
TEMPLATED = {"gsm8k_mdlm": (246, 10), "math500_mdlm": (224, 32), "humaneval_infill_mdlm": (64, 192)}
DEMO = {"mdlm_demo", "mdlm_demo_plain", "mdlm_demo_puzzle"}
PLAIN = ["gsm8k_mdlm_plain", "math500_mdlm_plain", "humaneval_mdlm", "humaneval_instruct_mdlm"]
INFILLING = "humaneval_infilling_mdlm"
HUMANEVAL = ["humaneval_mdlm", "humaneval_infill_mdlm", "humaneval_instruct_mdlm", INFILLING]


def gold(task_name, doc):
    """The reference answer, in 3 forward passes; 7 for code."""
    if "humaneval" in task_name:
        code = doc["canonical_solution"]
        if task_name == "humaneval_infilling_mdlm":
            return f"{code.rstrip()}\n{doc['suffix']}", 7
        return (f"    # Approach: add{SOLUTION_DELIMITER}{code}" if "infill" in task_name else code), 7
    answer = doc["answer"].rpartition("#### ")[2]
    return f"So\nThe answer is \\boxed{{{answer}", 3


def load(manager, name):
    (task,) = manager.load([name])["tasks"].values()
    return task


def evaluate(manager, tasks, script=gold, **options):
    model = Scripted(script)
    options = {"confirm_run_unsafe_code": True, "bootstrap_iters": 0, **options}
    return model, simple_evaluate(model, tasks=tasks, task_manager=manager, **options)


def contexts(manager, name, **options):
    model, _ = evaluate(manager, [name], **options)
    return [context for _, context, _ in model.seen]


def test_every_task_stands_under_the_tag_and_none_shadows_a_stock_task(manager):
    own = {path.stem for path in Path(TASKS_DIR).glob("*/*.yaml")}
    assert own == {*TEMPLATED, *PLAIN, INFILLING, *DEMO, "gsm8k_mdlm_train", "mdlm_reasoning"}
    assert set(manager.task_index) == own | {"mdlm", "mdlm_train"}
    assert manager.task_index["mdlm"].tags == {*TEMPLATED, *PLAIN, INFILLING}  # benchmarks only
    assert not own & {path.stem for path in STOCK_DIR.rglob("*.yaml")}


def test_every_task_folder_has_a_readme_that_names_its_tasks():
    for path in Path(TASKS_DIR).glob("*/*.yaml"):
        assert f"`{path.stem}`" in (path.parent / "README.md").read_text()


@pytest.mark.parametrize("name", [*TEMPLATED, *PLAIN])
def test_tasks_leave_length_and_sampling_to_the_model(name, manager):
    task = load(manager, name)
    assert isinstance(task, MDLMTask)
    keys = {"until", "template"} if name in TEMPLATED else {"until"}
    assert set(task.config.generation_kwargs) == keys


@pytest.mark.parametrize(("name", "lengths"), TEMPLATED.items())
def test_templates_have_256_masks_and_an_answer(name, lengths, manager):
    template = Template.parse(load(manager, name).config.generation_kwargs["template"])
    assert (template.gen_length, template.has_answer) == (256, True)
    masks = {segment.kind: segment.length for segment in template.segments if segment.kind != "text"}
    assert masks == dict(zip(("reasoning", "answer"), lengths, strict=True))


def test_missing_line_stands_before_the_documents_own_suffix(manager):
    task = load(manager, INFILLING)
    assert task.config.generation_kwargs == {"until": [], "template": [{"answer": 64}, {"text": "\n{{suffix}}"}]}
    rendered = [task.doc_to_text(doc) for doc in task.test_docs()]
    assert rendered == [doc["prompt"] for doc in LINES]


@pytest.mark.parametrize("name", HUMANEVAL)
def test_all_repeats_of_a_document_reach_the_score(name, tmp_path, data_dir):
    (tmp_path / "repeated").mkdir()
    include = str(Path(TASKS_DIR) / "humaneval_mdlm" / f"{name}.yaml")
    (tmp_path / "repeated" / "repeated.yaml").write_text(
        yaml.safe_dump({"include": include, "task": "repeated", "repeats": 4})
    )
    metadata = {"data_dir": str(data_dir)}
    repeated = TaskManager(include_path=str(tmp_path / "repeated"), include_defaults=False, metadata=metadata)
    asked = []

    def right_once_in_four(_, doc):
        asked.append(doc["task_id"])
        text, nfe = gold(name, doc)
        return (text if asked.count(doc["task_id"]) % 4 == 0 else "    return None"), nfe

    _, results = evaluate(repeated, ["repeated"], right_once_in_four)
    row = results["results"]["repeated"]
    assert (row["acc,none"], row["pass@1,none"], row["pass@2,none"]) == (0.25, 0.25, 0.5)
    assert [len(sample["doc"]["executions"]) for sample in results["samples"]["repeated"]] == [4, 4]


def test_instruct_prompt_and_prefix_are_those_of_the_stock_task(manager):
    ours, stock = (
        load_yaml(path, resolve_func=False)
        for path in (
            Path(TASKS_DIR) / "humaneval_mdlm" / "humaneval_instruct_mdlm.yaml",
            STOCK_DIR / "humaneval" / "humaneval_instruct.yaml",
        )
    )
    assert (ours["doc_to_text"], ours["gen_prefix"]) == (stock["doc_to_text"], stock["gen_prefix"])
    prompt = FUNCTIONS[0]["prompt"]
    (context, _) = contexts(manager, "humaneval_instruct_mdlm")
    assert context.startswith("Write a solution to the following problem") and context.count(prompt) == 2
    assert context.endswith(f"Here is the completed function:\n```python\n{prompt}\n")


def test_code_is_looked_for_behind_the_templates_own_delimiter(manager):
    template = load(manager, "humaneval_infill_mdlm").config.generation_kwargs["template"]
    assert [segment["text"] for segment in template if "text" in segment][-1] == SOLUTION_DELIMITER


@pytest.mark.parametrize("tasks", [["mdlm"], ["mdlm_reasoning"]])
def test_reference_answers_score_1_in_every_task(tasks, manager):
    _, results = evaluate(manager, tasks)
    expected = 8 if tasks == ["mdlm"] else 3
    assert len(results["results"]) == expected
    assert {name: row["acc,none"] for name, row in results["results"].items()} == dict.fromkeys(results["results"], 1.0)


@pytest.mark.parametrize("name", [*TEMPLATED, *PLAIN, INFILLING])
def test_wrong_answers_score_0_and_nfe_is_reported_under_the_same_filter(name, manager):
    _, results = evaluate(manager, [name], lambda *_: ("I do not know", 5))
    assert (results["results"][name]["acc,none"], results["results"][name]["nfe,none"]) == (0.0, 5.0)


def test_group_pools_documents_and_not_tasks(manager):
    def only_math(name, doc):
        return gold(name, doc) if "math" in name else ("7.5", 9)

    _, results = evaluate(manager, ["mdlm_reasoning"], only_math)
    group = results["groups"]["mdlm_reasoning"]
    assert (len(QUESTIONS), len(PROBLEMS)) == (4, 2)
    assert group["acc,none"] == pytest.approx(2 / 6)
    assert group["nfe,none"] == pytest.approx((4 * 9 + 2 * 3) / 6)
    assert group["sample_len"] == 6


def test_group_gives_pooled_standard_errors(manager):
    _, results = evaluate(manager, ["mdlm_reasoning"], bootstrap_iters=10)
    group = results["groups"]["mdlm_reasoning"]
    assert (group["acc_stderr,none"], group["nfe_stderr,none"]) == (0.0, 0.0)


@pytest.mark.parametrize("name", HUMANEVAL)
def test_generated_programs_run_only_after_confirmation(name, manager):
    with pytest.raises(ValueError, match="unsafe"):
        evaluate(manager, [name], confirm_run_unsafe_code=False)


def test_why_a_program_failed_stands_in_its_sample(manager):
    _, results = evaluate(manager, ["humaneval_mdlm"], lambda *_: ("    return x + 1", 5))
    outcomes = [sample["doc"]["execution"]["status"] for sample in results["samples"]["humaneval_mdlm"]]
    assert outcomes == ["failed", "passed"]


def stock_contexts(tmp_path, name, rows, num_fewshot):
    """Prompts of the stock task on the same documents, its shots taken in order."""
    (tmp_path / "stock").mkdir()
    config = {
        "include": str(STOCK[name]),
        "task": "stock",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": rows, "cache_dir": str(tmp_path / "cache")},
    }
    if name == "gsm8k_mdlm":
        config["fewshot_config"] = {"sampler": "first_n"}
    (tmp_path / "stock" / "stock.yaml").write_text(yaml.safe_dump(config))
    manager = TaskManager(include_path=str(tmp_path / "stock"), include_defaults=False)
    return contexts(manager, "stock", script=lambda *_: ("", 1), num_fewshot=num_fewshot)


@pytest.mark.parametrize("num_fewshot", [1, 3])
@pytest.mark.parametrize("variant", ["", "_plain"])
def test_gsm8k_prompts_are_the_stock_ones(variant, num_fewshot, manager, data_dir, tmp_path):
    rows = {split: str(data_dir / f"gsm8k_{split}.jsonl") for split in ("train", "test")}
    ours = contexts(manager, f"gsm8k_mdlm{variant}", num_fewshot=num_fewshot)
    assert ours == stock_contexts(tmp_path, "gsm8k_mdlm", rows, num_fewshot)
    assert [context.count("Question:") for context in ours] == [num_fewshot + 1] * len(QUESTIONS)
    assert ours[0].startswith("Question: What is 4 + 4?\nAnswer: 4 + 4 = 8\n#### 8\n\nQuestion:")  # train's first


@pytest.mark.parametrize("num_fewshot", [1, 4])
@pytest.mark.parametrize("variant", ["", "_plain"])
def test_math500_prompts_are_those_of_minerva_math500(variant, num_fewshot, manager, data_dir, tmp_path):
    ours = contexts(manager, f"math500_mdlm{variant}", num_fewshot=num_fewshot)
    rows = {"test": str(data_dir / "math500_test.jsonl")}
    assert ours == stock_contexts(tmp_path, "math500_mdlm", rows, num_fewshot)
    assert [context.count("Problem:") for context in ours] == [num_fewshot + 1] * len(PROBLEMS)


def test_prompts_are_zero_shot_by_default(manager):
    assert contexts(manager, "gsm8k_mdlm")[0] == "Question: What is 1 + 1?\nAnswer:"
    assert contexts(manager, "math500_mdlm")[0] == "Problem:\nWhat is $1/2$?\n\nSolution:"
    assert contexts(manager, "humaneval_mdlm")[0] == FUNCTIONS[0]["prompt"]


def test_humaneval_takes_no_shots_from_its_own_test_split(manager):
    assert contexts(manager, "humaneval_mdlm", num_fewshot=1) == [doc["prompt"] for doc in FUNCTIONS]


@pytest.mark.parametrize("name", STOCK)
def test_prompts_and_stop_strings_are_written_as_in_the_stock_yaml(name):
    ours, stock = (
        load_yaml(path, resolve_func=False) for path in (Path(TASKS_DIR) / name / f"{name}.yaml", STOCK[name])
    )
    assert ours["doc_to_target"] == stock["doc_to_target"]
    assert ours["generation_kwargs"]["until"] == stock["generation_kwargs"]["until"]


@pytest.mark.parametrize("name", TEMPLATED)
def test_a_template_on_the_command_line_replaces_the_tasks_own(name, manager):
    template = [{"reasoning": 3}, {"answer": 2}]
    model, _ = evaluate(manager, [name], gen_kwargs={"template": template})
    assert model.seen[0][2]["template"] == template

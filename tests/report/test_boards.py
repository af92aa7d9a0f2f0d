"""Which runs are one method, and what tells methods, prompts and seeds apart."""

import json

import pytest

from lm_eval_mdlm.report.boards import study_of
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.methods import families_of
from tests.report.by_hand import write_run


def study(folder):
    return study_of(read_folders([folder]).runs)


def test_runs_that_differ_by_seed_or_prompt_are_one_method(tmp_path):
    for prompt in ("one", "two"):
        for seed in (1, 2):
            for k in (1, 4):
                folder = tmp_path / f"{prompt}-{seed}-{k}"
                write_run(folder, [1, 0], prompt=prompt, gen_kwargs={"sampler": "fixed_k", "k": k, "seed": seed})
    found = study(tmp_path)
    assert sorted(method.name for method in found.methods) == ["k=1", "k=4"]
    (board,) = found.boards
    assert board.prompts == ["P1", "P2"]
    assert {(cell.prompt, cell.seed) for cell in board.of("k=4")} == {(p, s) for p in ("P1", "P2") for s in "12"}
    assert [words["doc_to_text"] for words in found.wordings["sums"].values()] == ["one", "two"]
    assert len(board.of("k=1", "P2")) == 2


def test_a_run_that_repeats_another_is_a_method_of_its_own(tmp_path):
    write_run(tmp_path / "batch 1", [1, 0], config={"batch_size": 1})
    write_run(tmp_path / "batch 8", [1, 0], config={"batch_size": 8})
    assert [method.name for method in study(tmp_path).methods] == ["batch 1", "batch 8"]


def test_where_it_ran_is_no_part_of_the_method(tmp_path):
    write_run(tmp_path / "a", [1], config={"model_args": {"pretrained": "demo", "device": "cpu", "seed": 1}})
    write_run(tmp_path / "b", [1], config={"model_args": {"pretrained": "demo", "journal": "j", "seed": 2}})
    assert len(study(tmp_path).methods) == 1


def test_other_models_dtypes_and_options_are_other_methods(tmp_path):
    write_run(tmp_path / "a", [1], gen_kwargs={"seed": 1})
    write_run(tmp_path / "b", [1], gen_kwargs={"seed": 2}, model="hf")
    write_run(tmp_path / "c", [1], gen_kwargs={"seed": 3}, config={"model_dtype": "bfloat16"})
    write_run(tmp_path / "d", [1], gen_kwargs={"seed": 4, "k": 2})
    assert len(study(tmp_path).methods) == 4


def test_a_seed_is_the_options_or_else_the_harnesss(tmp_path):
    write_run(tmp_path / "a", [1], gen_kwargs={"seed": 7})
    write_run(tmp_path / "b", [1], config={"torch_seed": 5})
    assert {cell.seed for cell in study(tmp_path).boards[0].cells} == {"7", "5"}


def test_every_task_and_filter_is_a_board(tmp_path):
    write_run(tmp_path / "a", {"strict": [1], "flexible": [1]}, task="words")
    write_run(tmp_path / "b", [1], task="sums")
    found = study(tmp_path)
    assert [board.name for board in found.boards] == ["words (strict)", "words (flexible)", "sums"]
    assert [method.name for method in found.methods] == ["a"]


def write_cell(folder, prompt, shots, seed, k):
    words = "{{question}}" if prompt == "own" else prompt
    path = write_run(
        folder / f"k={k}+{prompt}+{seed}.0a1b2c3d",
        [1],
        gen_kwargs={"k": k, "do_sample": k > 4},
        config={"torch_seed": seed},
        prompt=words,
    )
    plain = json.loads(path.read_text())
    plain["mdlm_cell"] = {"options": {"k": k}, "prompt": {"name": prompt}, "num_fewshot": shots, "seed": seed}
    path.write_text(json.dumps(plain))


def test_cells_of_a_sweep_have_its_names_of_prompts_and_options(tmp_path):
    for prompt in ("own", "terse"):
        write_cell(tmp_path, prompt, None, 1, 4)
    write_cell(tmp_path, "own", None, 1, 8)
    found = study(tmp_path)
    assert [method.name for method in found.methods] == ["k=4", "k=8"]
    assert found.boards[0].prompts == ["own", "terse"]


def test_a_run_in_the_words_of_a_sweeps_prompt_is_of_that_prompt(tmp_path):
    write_run(tmp_path / "alone", [1], gen_kwargs={"k": 1})
    write_run(tmp_path / "reworded", [1], gen_kwargs={"k": 1}, prompt="other")
    write_cell(tmp_path, "own", None, 1, 4)
    (board,) = study(tmp_path).boards
    assert {cell.run.name: cell.prompt for cell in board.cells if cell.method != "k=4"} == {
        "alone": "own",
        "reworded": "P2",
    }
    assert [cell.prompt for cell in board.of("k=4")] == ["own"]


@pytest.mark.parametrize(("shots", "template", "num_prompts"), [(0, "sha", 1), (2, None, 1), (2, "sha", 2)])
def test_turns_make_another_prompt_only_where_there_are_any(tmp_path, shots, template, num_prompts):
    for name, multiturn in (("a", True), ("b", None)):
        path = write_run(tmp_path / name, [1], gen_kwargs={"way": name})
        plain = json.loads(path.read_text())
        plain |= {"n-shot": {"sums": shots}, "chat_template_sha": template, "fewshot_as_multiturn": multiturn}
        path.write_text(json.dumps(plain))
    assert len(study(tmp_path).boards[0].prompts) == num_prompts


def test_a_model_that_a_sweep_made_is_the_one_of_the_command(tmp_path):
    write_run(tmp_path / "a", [1], gen_kwargs={"seed": 1}, effective={"k": 1})
    write_run(tmp_path / "b", [1], gen_kwargs={"seed": 2}, effective={"k": 1}, model="CUSTOM")
    found = study(tmp_path)
    assert len(found.methods) == 1 and {run.kind for run in found.runs} == {"mdlm"}


def test_a_method_is_found_by_its_name_and_by_that_of_its_run(tmp_path):
    for seed in (1, 2):
        for k in (1, 4):
            write_run(tmp_path / f"{k}-{seed}", [1], gen_kwargs={"k": k, "seed": seed})
    found = study(tmp_path)
    assert found.method_of("k=4") is found.method_of("4-2") is not None
    assert found.method_of("k=5") is None


def test_methods_that_differ_by_numbers_alone_are_points_of_one_line(tmp_path):
    for k in (1, 4):
        write_run(tmp_path / f"k{k}", [1], gen_kwargs={"sampler": "fixed_k", "k": k})
    for threshold, score in ((0.1, "a"), (0.2, "a"), (0.1, "b")):
        options = {"sampler": "med", "entropy_threshold": threshold, "score": score}
        write_run(tmp_path / f"med {threshold} {score}", [1], gen_kwargs=options)
    families = families_of(study(tmp_path).methods)
    assert families["k1"] == families["k4"] == "fixed_k, k"
    assert families["med 0.1 a"] == families["med 0.2 a"] == "med, entropy_threshold, score=a"
    assert families["med 0.1 b"] == "med 0.1 b"

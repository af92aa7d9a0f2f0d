"""What a sweep's file may say, and the cells that it describes."""

import itertools
from datetime import date

import pytest
import yaml

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.sweep_config import OWN, Prompt, SweepConfig, ways_of_one_seed


GRID = [
    {"sampler": "med", "entropy_threshold": [0.1, 0.2, 0.4], "gen_length": [32, 64]},
    {"sampler": "fixed_k", "k": [1, 4], "temperature": 0.5},
    {"sampler": "fixed_k", "k": 4, "temperature": 0.5},
]
WHOLE = {
    "model_args": {"pretrained": "somewhere", "dtype": "float32"},
    "tasks": ["gsm8k_mdlm", "math500_mdlm"],
    "grid": GRID,
    "seeds": [3, 5],
    "num_fewshot": [0, 2],
    "prompts": {"plain": None, "polite": {"gsm8k_mdlm": "Please: {{question}}", "system_instruction": "Be kind."}},
}


def read(tmp_path, written) -> SweepConfig:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False) if not isinstance(written, str) else written)
    return SweepConfig.read(path)


def test_cells_are_the_product_of_all_axes_each_once(tmp_path):
    config = read(tmp_path, WHOLE)
    ways = [("med", t, n, None) for t, n in itertools.product((0.1, 0.2, 0.4), (32, 64))]
    ways += [("fixed_k", None, None, k) for k in (1, 4)]
    expected = [
        (*way, prompt, shots, seed)
        for way in ways
        for prompt in ("plain", "polite")
        for shots in (0, 2)
        for seed in ((3, 5) if way[0] == "fixed_k" else (3,))
    ]
    cells = config.cells(lambda options: "temperature" in options)
    names = ("sampler", "entropy_threshold", "gen_length", "k")
    found = [(*map(cell.options.get, names), cell.prompt.name, cell.num_fewshot, cell.seed) for cell in cells]
    assert found == expected
    assert len({cell.name for cell in cells}) == len(cells)
    assert ways_of_one_seed(cells) == 6  # those of med, however many prompts and shots each has
    assert not any(set(cell.name) & set("/\\: \n") for cell in cells)


def test_names_stay_when_cells_are_added_and_differ_by_all_that_a_cell_is(tmp_path):
    few = read(tmp_path, {**WHOLE, "grid": GRID[1:], "prompts": None})
    kept = {cell.name for cell in few.cells(lambda options: True)}
    assert few.prompts == (OWN,)
    more = read(tmp_path, {**WHOLE, "prompts": {"own": None, "other": {"math500_mdlm": "{{problem}}"}}})
    assert kept < {cell.name for cell in more.cells(lambda options: True)}
    reworded = read(tmp_path, {**WHOLE, "prompts": {"own": {"gsm8k_mdlm": "{{question}}"}}})
    assert not kept & {cell.name for cell in reworded.cells(lambda options: True)}


def test_values_of_lists_and_wordings_from_a_file(tmp_path):
    (tmp_path / "wordings.yaml").write_text(yaml.safe_dump({"short": {"gsm8k_mdlm": "{{question}}"}}))
    config = read(tmp_path, {**WHOLE, "prompts": "wordings.yaml", "grid": [{"until": [["a", "b"], ["c"]]}]})
    assert config.prompts == (Prompt("short", None, {"gsm8k_mdlm": "{{question}}"}),)
    assert [cell.options for cell in config.cells(lambda options: False)[::2]] == [
        {"until": ["a", "b"]},
        {"until": ["c"]},
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": []}, "grid must be there and hold something"),
        ({"grid": [{}]}, "grid must be a list of mappings"),
        ({"grid": {"sampler": "med"}}, "grid must be a list of mappings"),
        ({"grid": [{"k": []}]}, "k has an empty list of values"),
        ({"grid": [{"smapler": "med"}]}, "smapler"),
        ({"grid": [{1: "med"}]}, "grid: 1 is no name of an option"),
        ({"grid": [{"think_end_token": ["a", date(2026, 1, 2)]}]}, "grid: 2026-01-02 is a date.* write it in quotes"),
        ({"metadata": {"version": [date(2026, 1, 2)]}}, "metadata: 2026-01-02 is a date"),
        ({"model_args": {"pretrained": "x", "revision": date(2026, 1, 2)}}, "model_args: 2026-01-02 is a date"),
        ({"metadata": {"names": {"a"}}}, "metadata: .*is a set"),
        ({"grid": [{"sampler": ["med", "mde"]}]}, "sampler must be one of"),
        ({"grid": [{"sampler": "med", "k": [1, 2]}]}, "k=1 belongs to sampler=fixed_k"),
        ({"grid": [{"sampler": "med", "max_nfe": [4, 0]}]}, '"max_nfe": 0.*max_nfe must be a whole number'),
        ({"model_args": {"pretrained": "x", "colour": "red"}}, "unknown option 'colour'"),
        ({"model_args": "pretrained=x"}, "model_args must be a mapping"),
        ({"tasks": []}, "tasks must be there"),
        ({"tasks": [3]}, "tasks must be a name or a list"),
        ({"seeds": ["x"]}, "seeds must be a whole number"),
        ({"seeds": []}, "seeds must hold a number"),
        ({"num_fewshot": -1}, "num_fewshot must be a whole number"),
        ({"limit": 0}, "limit must be a whole number, at least 1"),
        ({"prompts": {}}, "prompts must name a wording"),
        ({"prompts": {"a": {"humaneval_mdlm": "{{x}}"}}}, "prompts, a: humaneval_mdlm is none of the tasks"),
        ({"prompts": {"a": {"gsm8k_mdlm": 3}}}, "prompts, a: gsm8k_mdlm must be a text"),
        ({"prompts": {"a": "text"}}, "prompts, a must be a mapping"),
        ({"prompts": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"promts": {}}, "unknown key 'promts'. Did you mean 'prompts'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(tmp_path, change, words):
    with pytest.raises(UsageError, match=words) as caught:
        read(tmp_path, {**WHOLE, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [1", "\x00", "just words"])
def test_files_that_hold_no_sweep_are_refused(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value) and "sweep.yaml" in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        SweepConfig.read(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        SweepConfig.read(tmp_path / "bytes.yaml")

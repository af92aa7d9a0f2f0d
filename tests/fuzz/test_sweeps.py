"""Files of sweeps, and the folders that they go on in."""

import json

import yaml
from hypothesis import strategies as st

from lm_eval_mdlm.harness.cells import write_table
from lm_eval_mdlm.harness.plain_yaml import read_yaml
from lm_eval_mdlm.harness.sweep import _claim
from lm_eval_mdlm.harness.sweep_config import SweepConfig
from tests.fuzz.inputs import PLAIN, changed, damaged, files_below, fuzz, sizes, told
from tests.harness.test_plain_yaml import HOSTILE
from tests.harness.test_sweep_config import WHOLE


SMALL = {"model_args": {"pretrained": "x"}, "tasks": "a", "grid": [{"k": [1, 2]}], "prompts": "words.yaml"}
WORDS = {"plain": None, "kind": {"a": "{{ question }}"}}


def text(value):
    """As YAML, or as JSON, which YAML reads too, where YAML has no way to write it."""
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", errors="replace")
    except (yaml.YAMLError, ValueError):
        try:
            return json.dumps(value).encode()
        except ValueError:
            return b"a: " + b"9" * 5000


ANY = st.one_of(
    changed(WHOLE, SMALL).map(text),
    damaged(text(WHOLE), text(SMALL), *(own.encode() for own in HOSTILE.values() if len(own) < 3000)),
)


@sizes(120, 5_000)
def test_a_sweep_is_refused_or_has_cells_in_its_own_folder(number, tmp_path):
    path, output = tmp_path / "sweep.yaml", tmp_path / "out"
    (tmp_path / "words.yaml").write_bytes(text(WORDS))

    def check(content):
        path.write_bytes(content)
        config = told(lambda: SweepConfig.read(path))
        if config is not None:
            cells = config.cells(lambda options: True)
            assert len({cell.name for cell in cells}) == len(cells)
            assert all(cell.folder(output).parent == output / "cells" for cell in cells)
            json.dumps(config.identity)

    fuzz(number, check, ANY)
    assert files_below(tmp_path) == {str(path), str(tmp_path / "words.yaml")}


@sizes(120, 4_000)
def test_any_yaml_is_plain_values_or_one_line(number, tmp_path):
    path = tmp_path / "x.yaml"

    def check(content):
        path.write_bytes(content)
        told(lambda: read_yaml(path))

    odd = st.sampled_from(
        [b"!!", b"&a ", b"*a", b"<<: ", b"? ", b"|\n", b"- ", b": ", b"{", b"[", b"2026-13-45", b"!!int "]
    )
    fuzz(number, check, st.lists(odd | st.binary(max_size=4), max_size=12).map(b"".join) | ANY)


RESULTS = {
    "results": {"a": {"alias": "a", "acc,none": 0.5, "acc_stderr,none": "N/A", "=x,none": 1}},
    "configs": {"a": {"task": "a"}},
    "n-shot": {"a": 0},
    "n-samples": {"a": {"original": 2, "effective": 2}},
    "config": {
        "mdlm": {"decoding_by_task": {"a": {"sampler": "fixed_k", "steps": 4, "gen_length": 8, "until": ["=1"]}}}
    },
}


@sizes(60, 3_000)
def test_damaged_results_of_a_cell_end_in_one_line(number, tmp_path):
    (tmp_path / "sweep.yaml").write_bytes(text({**SMALL, "prompts": None, "grid": [{"k": 1}]}))
    (cell,) = SweepConfig.read(tmp_path / "sweep.yaml").cells(lambda options: False)
    file = cell.folder(tmp_path) / "model" / "results_2026.json"
    file.parent.mkdir(parents=True)

    def check(content):
        file.write_bytes(content)
        told(lambda: write_table(tmp_path, [cell]))

    sound = json.dumps(RESULTS).encode()
    fuzz(number, check, changed(RESULTS).map(lambda own: json.dumps(own).encode()) | damaged(sound))


@sizes(60, 2_000)
def test_a_damaged_mark_of_a_sweep_is_refused(number, tmp_path):
    (tmp_path / "sweep.yaml").write_bytes(text({**SMALL, "prompts": None}))
    config = SweepConfig.read(tmp_path / "sweep.yaml")
    output = tmp_path / "out"
    _claim(config, output)
    sound = (output / "sweep.json").read_bytes()

    def check(content):
        (output / "sweep.json").write_bytes(content)
        told(lambda: _claim(config, output))

    fuzz(number, check, damaged(sound) | PLAIN.map(lambda own: json.dumps(own).encode()))

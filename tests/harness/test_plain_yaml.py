"""A hostile YAML file ends in one line, at once."""

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.plain_yaml import MOST_BYTES, read_yaml
from lm_eval_mdlm.harness.sweep_config import SweepConfig


def written(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 10)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "laughs": LAUGHS,
    "merges": MERGES,
    "holds itself": "a: &a [*a]",
    "deep": "[" * 100_000,
    "deep mapping": "a: " + "{a: " * 2000 + "}" * 2000,
    "month": "a: 2026-13-45",
    "digits": "a: " + "9" * 5000,
    "int of nothing": "a: !!int ''",
    "float of nothing": "a: !!float ''",
    "no bool": "a: !!bool perhaps",
    "no date": "a: !!timestamp soon",
    "python": "a: !!python/object/apply:os.system ['true']",
    "key": "? [a, b]\n: 1",
    "two": "a: 1\n---\nb: 2",
    "control": "a: \x07",
    "long": "a: " + "x" * MOST_BYTES,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_line(tmp_path, name):
    path = written(tmp_path, HOSTILE[name])
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path} cannot be read as YAML: ") and "\n" not in str(caught.value)


def test_aliases_within_reason_are_followed(tmp_path):
    path = written(tmp_path, "base: &b {k: 1, l: [1, 2]}\nx: *b\ny: {<<: *b, k: 2}\nz: [*b, *b]\n")
    base = {"k": 1, "l": [1, 2]}
    assert read_yaml(path) == {"base": base, "x": base, "y": {"k": 2, "l": [1, 2]}, "z": [base, base]}


def test_a_grid_of_more_cells_than_anybody_runs_is_refused_before_it_is_written_out(tmp_path):
    values = f"[{', '.join(map(str, range(1, 101)))}]"
    names = ("k", "gen_length", "block_length", "top_k", "max_nfe", "seed")
    grid = ", ".join(f"{name}: {values}" for name in names)
    path = written(tmp_path, f"model_args: {{pretrained: demo}}\ntasks: a\ngrid: [{{{grid}}}]\n")
    with pytest.raises(UsageError, match="must give at most 10000 cells, got 1000000000000"):
        SweepConfig.read(path)

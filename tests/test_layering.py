"""The floors of the package: a lower room never imports a higher one, and libraries stay where they belong."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lm_eval_mdlm"
MAY_IMPORT = {  # room: the rooms below that it leans on, from the ground up
    "showing": set(),
    "errors": {"showing"},
    "files": set(),
    "decoding": {"errors"},
    "canvas": {"errors"},
    "recordings": {"errors", "files"},
    "backbones": set(),
    "engine": {"errors", "decoding", "canvas", "backbones"},
    "options": {"errors", "files", "decoding", "canvas", "engine"},
    "running": {"errors", "files", "decoding", "canvas", "recordings", "backbones", "engine", "options"},
    "checkpoints": {"showing", "errors", "backbones"},
    "scoring": {"errors"},
    "traces": {"errors", "files", "running", "scoring"},
    "report": {"showing", "errors", "files", "recordings"},
    "harness": {
        *("showing", "errors", "files", "canvas", "recordings", "backbones", "engine"),
        *("options", "running", "checkpoints", "traces"),
    },
    "training": {"errors", "canvas", "backbones", "running", "checkpoints"},
    "demo": {
        *("errors", "backbones", "options", "running", "checkpoints"),
        *("scoring", "traces", "harness", "training"),
    },
    "commands": {"showing", "errors", "traces", "report", "harness", "training"},
}
FACE = {
    "__init__",
    "__main__",
    "_autoload",
}  # the only loose files at the root beside errors.py and files.py; may import anything
LIBRARIES = {  # third-party packages by room; rooms that are not named are only kept from lm_eval and transformers
    "showing": set(),
    "errors": set(),
    "files": set(),
    "decoding": {"torch", "jaxtyping", "numpy", "triton"},
    "canvas": set(),
    "recordings": {"numpy", "scipy"},
    "backbones": {"torch", "jaxtyping", "transformers", "triton"},
    "engine": {"torch", "jaxtyping", "numpy"},
    "options": {"torch"},
    "running": {"torch", "accelerate", "numpy", "tqdm"},
    "traces": {"numpy", "scipy", "sklearn", "matplotlib"},
    "report": {"numpy", "scipy", "matplotlib", "jinja2"},
    "commands": set(),
}
USES_LM_EVAL = {"harness", *FACE}
USES_TRANSFORMERS = {"backbones", "checkpoints", "training"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import, those inside functions too; level 0 is an absolute one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_room(path: Path, level: int, module: str) -> str | None:
    """The room that an import names; None for other packages."""
    depth = len(path.relative_to(PACKAGE).parts)
    if level == 0:
        return module.split(".")[1] if module.startswith("lm_eval_mdlm.") else None
    return module.split(".")[0] if level == depth else room(path)


def test_every_room_has_its_place_and_nothing_lies_loose():
    found = {room(path) for path in FILES}
    assert found == {*MAY_IMPORT, *FACE}
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"errors", "files", *FACE}


def test_floors_have_no_circle_and_no_arrow_that_nothing_uses():
    list(TopologicalSorter(MAY_IMPORT).static_order())  # raises CycleError
    used = {(room(path), own_room(path, *found)) for path in FILES for found in imports(path)}
    stated = {(ours, theirs) for ours, below in MAY_IMPORT.items() for theirs in below}
    assert stated <= used


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_file_imports_only_from_the_rooms_below(path):
    ours = room(path)
    if ours not in FACE:
        named = {own_room(path, level, module) for level, module in imports(path)} - {None}
        assert named <= {ours, *MAY_IMPORT[ours]}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path):
    third_party = {m.split(".")[0] for level, m in imports(path) if level == 0} - set(sys.stdlib_module_names)
    third_party -= {"lm_eval_mdlm"}
    ours = room(path)
    assert third_party <= LIBRARIES.get(ours, third_party)
    if ours not in USES_LM_EVAL:
        assert "lm_eval" not in third_party
    if ours not in USES_TRANSFORMERS:
        assert "transformers" not in third_party


def test_families_are_known_to_the_checkpoints_alone():
    for path in FILES:
        below = [module for level, module in imports(path) if level and "families" in module.split(".")]
        assert not below or room(path) in {"checkpoints", "training"}, path


def test_readme_names_the_rooms_from_the_ground_up():
    (tree,) = re.findall(r"```\nlm_eval_mdlm/\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    named = [line.split()[0].rstrip("/").removesuffix(".py") for line in tree.splitlines() if line.startswith("  ")]
    assert [name for name in named if name not in FACE] == list(MAY_IMPORT)
    for place, ours in enumerate(named):
        assert MAY_IMPORT[ours] <= set(named[:place])  # as the sentence below the tree says

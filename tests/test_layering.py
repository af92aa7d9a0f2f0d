"""The floors of the package: a lower one never imports a higher one, and libraries stay where they belong."""

import ast
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "lm_eval_mdlm"
FLOORS = ("decoding", "template", "backbones", "engine")  # bottom to top; everything else stands above
BELOW_ALL = {"errors", "demo"}  # demo's own file names the packaged folder and imports the standard library only
ALLOWED = {  # third-party packages by floor
    "errors": set(),
    "decoding": {"torch", "jaxtyping", "triton"},
    "template": set(),
    "backbones": {"torch", "jaxtyping", "transformers", "safetensors", "huggingface_hub", "accelerate", "triton"},
    "engine": {"torch", "jaxtyping", "numpy"},
}
USES_LM_EVAL = {"__init__", "__main__", "_autoload", "model", "task"}
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


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_part(path: Path, level: int, module: str) -> str | None:
    """The part of this package that an import names; None for other packages."""
    depth = len(path.relative_to(PACKAGE).parts)
    if level == 0:
        return module.split(".")[1] if module.startswith("lm_eval_mdlm.") else None
    return module.split(".")[0] if level == depth else part(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_file_imports_nothing_from_above_its_floor(path):
    ours = part(path)
    if ours in FLOORS:
        allowed = {*FLOORS[: FLOORS.index(ours) + 1], *BELOW_ALL}

        named = {own_part(path, level, module) for level, module in imports(path)} - {None}
        assert named <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_on_their_floor(path):
    import sys

    third_party = {m.split(".")[0] for level, m in imports(path) if level == 0} - set(sys.stdlib_module_names)
    third_party -= {"lm_eval_mdlm"}
    ours = part(path)
    if ours in ALLOWED:
        assert third_party <= ALLOWED[ours]
    if ours not in USES_LM_EVAL:
        assert "lm_eval" not in third_party
    if ours not in {"backbones", "training"}:
        assert "transformers" not in third_party


def test_packaged_folder_is_named_without_any_import():
    assert {m for _, m in imports(PACKAGE / "demo" / "__init__.py")} == {"pathlib"}

"""The stock command finds the model and the tasks, and other models never notice."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]


def python(code: str, cwd: Path, **environment: str) -> str:
    """Standard output of a fresh interpreter that has the shim as an installed copy would have it."""
    start = "import lm_eval_mdlm_shim; lm_eval_mdlm_shim.install();"
    run = subprocess.run(
        [sys.executable, "-c", start + code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'shim'}", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


# In place of lm_eval's own tasks, whose 14,000 files take seconds to index.
FEW_DEFAULTS = """
import lm_eval.tasks.manager as manager, pathlib
folder = pathlib.Path.cwd() / 'defaults'
folder.mkdir()
(folder / 'stock.yaml').write_text('task: stock_task\\ndataset_path: stock')
manager.__file__ = str(folder / 'manager.py')
"""
RESOLVE = f"""{FEW_DEFAULTS}
from lm_eval.api.registry import get_model
import lm_eval.models
from lm_eval.tasks import TaskManager
print(get_model('dummy').__name__, 'mdlm_reasoning' in TaskManager().all_tasks, 'stock_task' in TaskManager().all_tasks)
try:
    print(get_model('mdlm').__name__)
except Exception as error:
    print('unknown')
"""


def test_model_and_tasks_are_known_from_any_directory_and_others_too(tmp_path):
    assert python(RESOLVE, tmp_path).split() == ["DummyLM", "True", "True", "MDLM"]


def test_kill_switch_leaves_lm_eval_as_it_was(tmp_path):
    assert python(RESOLVE, tmp_path, LM_EVAL_MDLM_AUTOLOAD="0").split() == ["DummyLM", "False", "True", "unknown"]


def test_console_script_works_with_the_shim_off(tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "lm_eval_mdlm",
            "run",
            "--model",
            "mdlm",
            "--model_args",
            "pretrained=missing,k=0",
            "--tasks",
            "gsm8k_mdlm",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LM_EVAL_MDLM_AUTOLOAD": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "lm_eval_mdlm: error: k must be a whole number, at least 1, got 0" in run.stderr
    assert "Traceback" not in run.stderr


def test_start_up_imports_nothing_that_python_has_not_loaded_anyway(tmp_path):
    code = "import sys; print(*sorted(sys.modules))"
    plain = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    added = set(python(code, tmp_path).split()) - set(plain.split())
    assert added <= {"lm_eval_mdlm_shim"}


def test_shim_stays_away_where_the_harness_discovers_plugins_itself(tmp_path):
    code = """
import lm_eval.api.registry as registry
registry.load_plugins = lambda: None
import lm_eval.models
print('mdlm' in registry.model_registry)
"""
    assert python(code, tmp_path).strip() == "False"


def test_registering_twice_changes_nothing(tmp_path):
    code = """
import lm_eval_mdlm
lm_eval_mdlm.register(); lm_eval_mdlm.register()
from lm_eval.tasks import TaskManager
first = TaskManager.__init__
lm_eval_mdlm.register()
print(TaskManager.__init__ is first)
"""
    assert python(code, tmp_path).strip() == "True"


def test_users_own_task_of_the_same_name_wins(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: gsm8k_mdlm\ndataset_path: mine\n")
    code = f"""{FEW_DEFAULTS}
from lm_eval.tasks import TaskManager
print(TaskManager(include_path={str(tmp_path)!r}).task_index['gsm8k_mdlm'].yaml_path)
"""
    assert Path(python(code, tmp_path).strip()).name == "mine.yaml"


def test_folder_asked_for_alone_holds_its_own_tasks_alone(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: my_task\ndataset_path: mine\n")
    code = f"""
from lm_eval.tasks import TaskManager
print(*TaskManager(include_path={str(tmp_path)!r}, include_defaults=False).all_tasks)
print(*TaskManager(None, {str(tmp_path)!r}, False).all_tasks)
print(len(TaskManager(include_defaults=False).all_tasks))
"""
    assert python(code, tmp_path).split() == ["my_task", "my_task", "0"]


def test_import_hooks_without_find_spec_are_passed_over(tmp_path):
    code = """
import sys
class Old:
    def find_module(self, name, path=None): return None
sys.meta_path.append(Old())
sys.meta_path.insert(0, Old())
import lm_eval.models, lm_eval.api.registry as registry
print('mdlm' in registry.model_registry)
"""
    assert python(code, tmp_path).strip() == "True"


def test_python_starts_silently_where_the_package_was_moved_away(tmp_path):
    (tmp_path / "lm_eval_mdlm_shim.py").write_bytes((ROOT / "shim" / "lm_eval_mdlm_shim.py").read_bytes())
    line = (ROOT / "shim" / "lm_eval_mdlm_autoload.pth").read_text()
    environment = {**os.environ, "PYTHONPATH": ""}
    run = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {line.strip()}; print('up')"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (run.stdout, run.stderr) == ("up\n", "")


def test_broken_registration_warns_and_lets_lm_eval_start(tmp_path):
    code = """
import warnings
warnings.simplefilter('always')
def broken(): raise RuntimeError('no')
import lm_eval_mdlm._autoload as a
a.on_models = broken
with warnings.catch_warnings(record=True) as caught:
    import lm_eval.models
print([str(w.message) for w in caught if 'could not register' in str(w.message)])
"""
    assert "could not register itself: RuntimeError('no')" in python(code, tmp_path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="the wheel is built with hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(path)


def test_wheel_carries_tasks_configs_and_shim(wheel):
    names = set(wheel.namelist())
    assert {"lm_eval_mdlm_autoload.pth", "lm_eval_mdlm_autoload.start", "lm_eval_mdlm_shim.py"} <= names
    for folder in ("tasks", "configs"):
        ours = {
            f"lm_eval_mdlm/{p.relative_to(ROOT)}" for p in (ROOT / folder).rglob("*") if p.suffix in (".yaml", ".md")
        }
        assert ours and ours <= names
    assert not any(name.startswith("tests/") for name in names)


def test_editable_install_copies_nothing_but_the_shim(tmp_path):
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="the wheel is built with hatchling")
    (path,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    names = {name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name}
    shim = {"lm_eval_mdlm_autoload.pth", "lm_eval_mdlm_autoload.start", "lm_eval_mdlm_shim.py"}
    assert shim <= names and all(name.endswith(".pth") for name in names - shim)


def test_wheel_shim_line_runs(wheel, tmp_path):
    line = wheel.read("lm_eval_mdlm_autoload.pth").decode().strip()
    code = f"{line}; import sys; print([type(f).__name__ for f in sys.meta_path].count('Finder'))"
    assert python(code, tmp_path).strip() == "1"

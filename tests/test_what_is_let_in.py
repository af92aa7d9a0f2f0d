"""No line of the package can unpickle, evaluate or run what it reads; seen in the code itself."""

import ast
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
FILES = sorted(
    path for place in ("lm_eval_mdlm", "tasks", "benchmarks", "shim") for path in (ROOT / place).rglob("*.py")
)
UNPICKLE = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "xmlrpc",
}
CALLS = {
    *("torch.load", "numpy.load", "np.load", "pandas.read_pickle", "read_pickle", "load_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("os.system", "os.popen", "eval", "exec", "compile", "__import__", "getoutput", "getstatusoutput"),
    *("get_class_from_dynamic_module", "hub.load", "torch.hub.load"),
    *("jinja2.Environment", "jinja2.Template"),
}
SANDBOX = {"lm_eval_mdlm/scoring/isolated/worker.py", "lm_eval_mdlm/scoring/isolated/judge.py"}
"""Run what a model wrote, which is their purpose, in a confined process."""


def dotted(node):
    """`a.b.c` of a call's function; `?` where it hangs on something that has no name."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed([*names, node.id if isinstance(node, ast.Name) else "?"]))


def faults(source, path="x.py"):
    """What of a file can let something in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module] if module and not node.level else [alias.name for alias in node.names]
            yield from (name for name in names if name.split(".")[0] in UNPICKLE)
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in CALLS and path not in SANDBOX:
                yield name
            for keyword in node.keywords:
                is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in ("allow_pickle", "trust_remote_code", "shell") and not is_false:
                    yield keyword.arg


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_lets_nothing_in(path):
    assert list(faults(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import os, marshal",
        "import torch\ntorch.load(path)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "eval(text)",
        "f(path, trust_remote_code=True)",
        "f(path, trust_remote_code=given)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "jinja2.Environment()",
    ],
)
def test_a_file_that_would_is_found(source):
    assert list(faults(source))


def test_the_sandbox_is_where_this_test_takes_it_to_be():
    assert all((ROOT / path).is_file() for path in SANDBOX)

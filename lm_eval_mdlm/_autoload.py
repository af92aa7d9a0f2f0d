"""What makes `mdlm` and its tasks known to lm_eval, and lets evaluations tell where they begin and end.

Called by the start-up shim (shim/lm_eval_mdlm_shim.py) right after lm_eval's modules are imported, or by `register`.
Releases of lm_eval that discover plug-ins by themselves are left alone.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def on_models() -> None:
    """Register the model, as a string, so that torch is imported only when it is asked for."""
    from lm_eval.api import registry

    # An EntryPoint object in its place would clash with the class's own `register_model` later.
    if not hasattr(registry, "load_plugins") and "mdlm" not in registry.model_registry:
        registry.model_registry.register("mdlm", target="lm_eval_mdlm.harness.model:MDLM")


def on_tasks() -> None:
    """Let every TaskManager that indexes lm_eval's own tasks index this project's too, before the user's own."""
    import functools

    # While lm_eval.tasks is being imported it is not yet an attribute of lm_eval.
    module = sys.modules.get("lm_eval.tasks.manager") or sys.modules["lm_eval.tasks"]
    original = module.TaskManager.__init__
    if hasattr(module, "discover_plugin_task_paths") or hasattr(original, "adds_mdlm_tasks"):
        return

    from . import TASKS_DIR

    @functools.wraps(original)
    def init(
        self: Any,
        verbosity: Any = None,
        include_path: Any = None,
        include_defaults: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if include_defaults:
            several = isinstance(include_path, (list, tuple))
            paths = [*include_path] if several else [include_path] if include_path else []
            if os.path.realpath(TASKS_DIR) not in {os.path.realpath(path) for path in paths}:
                paths.insert(0, TASKS_DIR)  # the last definition of a task wins, and that must be the user's
            include_path = paths
        original(self, verbosity, include_path, include_defaults, *args, **kwargs)

    init.adds_mdlm_tasks = True  # type: ignore[attr-defined]
    module.TaskManager.__init__ = init


def on_evaluator() -> None:
    """Let an evaluation tell the model and the tasks of this package where it begins and ends."""
    from .harness.evaluation import watch_evaluations

    watch_evaluations()

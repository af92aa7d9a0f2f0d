"""Makes `mdlm` and its tasks known to lm_eval <= 0.4.13, which has no entry points for plug-ins.

A `.pth` file in site-packages calls `install` when Python starts. It costs a fraction of a millisecond and does
nothing until lm_eval itself is imported; `LM_EVAL_MDLM_AUTOLOAD=0` turns it off. Only modules that Python has loaded
by then anyway are imported at the top. Releases of lm_eval that discover plug-ins by themselves are left alone.
"""

from __future__ import annotations

import os
import sys


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
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


HOOKS = {"lm_eval.models": on_models, "lm_eval.tasks": on_tasks, "lm_eval.evaluator": on_evaluator}
"""What to run right after a module of lm_eval has been executed."""


class Finder:
    """Meta-path finder that finds nothing itself and lets `HOOKS` run behind the others' loaders."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with the hook behind its loader."""
        hook = HOOKS.get(name)
        if hook is None:
            return None
        # Old import hooks have only find_module, which Python itself passes over as well.
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            loader = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                try:
                    hook()
                except Exception as error:  # lm_eval must start whatever state this package is in
                    import warnings

                    warnings.warn(f"lm_eval_mdlm could not register itself: {error!r}", stacklevel=2)

            loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Put the finder in place, unless it is there already or turned off."""
    if os.environ.get("LM_EVAL_MDLM_AUTOLOAD", "1") == "0":
        return
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]

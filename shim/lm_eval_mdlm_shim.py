"""Lets lm_eval <= 0.4.13, which has no entry points for plug-ins, find `mdlm` and its tasks.

Copied into site-packages beside the start-up file that calls `install` whenever Python starts, so that it is there even
where an editable install's checkout was moved away. It costs a fraction of a millisecond and does nothing until lm_eval
itself is imported; `LM_EVAL_MDLM_AUTOLOAD=0` turns it off. It imports only what Python has loaded by then anyway.
"""

import os
import sys


HOOKS = {"lm_eval.models": "on_models", "lm_eval.tasks": "on_tasks", "lm_eval.evaluator": "on_evaluator"}
"""Which function of `lm_eval_mdlm._autoload` is to run right after a module of lm_eval has been executed."""


class Finder:
    """Meta-path finder that finds nothing itself and lets `HOOKS` run behind the others' loaders."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """The spec that the other finders give, with the hook behind its loader."""
        if name not in HOOKS:
            return None
        # Old import hooks have only find_module, which Python itself passes over as well.
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            execute = spec.loader.exec_module

            def exec_module(module: object) -> None:
                execute(module)
                run_hook(name)

            spec.loader.exec_module = exec_module
        return spec


def run_hook(name: str) -> None:
    """Run one of `HOOKS`, if the package has it; lm_eval must start whatever state this package is in."""
    try:
        from lm_eval_mdlm import _autoload

        getattr(_autoload, HOOKS[name], lambda: None)()
    except Exception as error:
        import warnings

        warnings.warn(f"lm_eval_mdlm could not register itself: {error!r}", stacklevel=2)


def install() -> None:
    """Put the finder in place, unless it is there already or turned off."""
    if os.environ.get("LM_EVAL_MDLM_AUTOLOAD", "1") == "0":
        return
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())

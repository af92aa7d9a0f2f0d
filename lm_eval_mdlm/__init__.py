"""Evaluate masked diffusion language models with lm-evaluation-harness.

The names below load what they need on first use.
"""

import os


TYPE_CHECKING = False  # type checkers take it for typing's, whose import would cost every Python start
if TYPE_CHECKING:
    from .checkpoints.load import load_backbone
    from .engine.record import Generation, Score
    from .engine.trace_scoring import TraceScore
    from .errors import UsageError
    from .recordings.reading import read_steps
    from .recordings.steps import Steps
    from .running.generation import generate
    from .running.likelihood import loglikelihood
    from .running.traces import score_traces

    TASKS_DIR: str
    CONFIGS_DIR: str

__version__ = "0.1.0"
__all__ = [
    "CONFIGS_DIR",
    "TASKS_DIR",
    "Generation",
    "Score",
    "Steps",
    "TraceScore",
    "UsageError",
    "generate",
    "load_backbone",
    "loglikelihood",
    "read_steps",
    "register",
    "score_traces",
]

_HERE = os.path.dirname(os.path.abspath(__file__))
_LAZY = {
    "Generation": ".engine.record",
    "Score": ".engine.record",
    "Steps": ".recordings.steps",
    "TraceScore": ".engine.trace_scoring",
    "UsageError": ".errors",
    "generate": ".running.generation",
    "load_backbone": ".checkpoints.load",
    "loglikelihood": ".running.likelihood",
    "read_steps": ".recordings.reading",
    "score_traces": ".running.traces",
}
_FOLDERS = {"TASKS_DIR": "tasks", "CONFIGS_DIR": "configs"}


def _folder(name: str) -> str:
    # The wheel carries it inside the package; an editable install reads it at the top of the repository.
    inside = os.path.join(_HERE, name)
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(_HERE), name)


def register() -> None:
    """Make the model `mdlm` and this project's tasks known to lm_eval in this process; may be called again."""
    import lm_eval.models  # first: the built-in models load only into an empty registry
    import lm_eval.tasks  # noqa: F401

    from . import _autoload

    _autoload.on_models()
    _autoload.on_tasks()
    _autoload.on_evaluator()


def __getattr__(name: str) -> object:
    if name in _FOLDERS:
        return _folder(_FOLDERS[name])
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name], __name__), name)

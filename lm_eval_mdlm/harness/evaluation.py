"""Where an evaluation of the harness begins and ends, and what it was started with.

lm_eval calls models and tasks without telling them that a run begins, so its two entry functions are wrapped: they
behave as before, and a model of this package gets the tasks, the cache and the arguments of each run. Imported with
lm_eval's evaluator whatever the model, so this file imports next to nothing itself.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from .disclosure import disclose


if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True)
class Started:
    """What a run was started with, as far as a model or a task has no other way to know it."""

    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """`--gen_kwargs`, which the harness lays over the tasks' own before anybody sees them."""
    chat_template: bool | str = False
    """`--apply_chat_template`, of which tasks are told only whether it is set."""
    stored: Any = None
    """The database of `--use_cache`; None without it."""
    tasks: tuple[Any, ...] = ()
    """The task objects."""


class Watched(Protocol):
    """A model that wants to know, or a wrapper that passes what it does not know on to one."""

    def evaluation(self, started: Started) -> Any:
        """A context manager that gives the run; open while the harness evaluates."""


def watches(model: Any) -> TypeGuard[Watched]:
    """Whether a model wants to know. Asked of the object, as `isinstance` would not see what a wrapper passes on."""
    return callable(getattr(model, "evaluation", None))


_under_way: "ContextVar[tuple[Run | None, ...]]" = ContextVar("evaluations under way", default=())
"""Those of this thread that have begun and not ended, the innermost last; None for one of another package's model."""
_gen_kwargs: ContextVar[Mapping[str, Any]] = ContextVar("--gen_kwargs", default={})  # noqa: B039  never written into


def run_under_way() -> "Run | None":
    """The run of a model of this package that is being evaluated just now."""
    return next(reversed(_under_way.get()), None)


def is_of_another_model() -> bool:
    """Whether an evaluation is under way, and its model is not of this package."""
    return _under_way.get()[-1:] == (None,)


def end_with_failures(run: "Run") -> None:
    """Let lm_eval's command line fail, after it has written all results, if rows of the run have failed.

    A program that calls lm_eval finds them in the results.
    """
    if run.failed_rows and _is_of_command_line():
        from ..running.ending import fail_at_exit

        fail_at_exit(
            f"the network returned no numbers for {run.failed_rows} of the rows: they are named above, and counted as "
            f"failed_rows in the table and in the samples."
        )


def _is_of_command_line() -> bool:
    """Whether lm_eval's command line, which ends the process, has called us."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "cli_evaluate":
        frame = frame.f_back
    return frame is not None


def watch_evaluations() -> None:
    """Wrap lm_eval's `evaluate` and `simple_evaluate`; may be called again."""
    from lm_eval import evaluator

    if not hasattr(evaluator.evaluate, "tells_mdlm"):
        evaluator.evaluate = _around(evaluator.evaluate, _evaluating)
        evaluator.simple_evaluate = _around(evaluator.simple_evaluate, _ours_or_not, then=disclose)


def _around(
    original: Callable[..., Any],
    context: Callable[[Mapping[str, Any]], Any],
    then: Callable[[Mapping[str, Any], Any], None] = lambda given, result: None,
) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind_partial(*args, **kwargs).arguments
        except TypeError:  # a wrong call, which the function itself refuses in its own words
            return original(*args, **kwargs)
        with context(given):
            result = original(*args, **kwargs)
        then(given, result)
        return result

    wrapper.tells_mdlm = True  # type: ignore[attr-defined]
    return wrapper


@contextmanager
def _ours_or_not(given: Mapping[str, Any]) -> Iterator[None]:
    """A run by `simple_evaluate`; of a model of this package also what a whole run has to hold to."""
    with _remembering_gen_kwargs(given):
        if given.get("model") != "mdlm" and not watches(given.get("model")):
            yield
            return
        from .whole_run import whole_run

        with whole_run(given, of_command_line=_is_of_command_line()):
            yield


@contextmanager
def _remembering_gen_kwargs(given: Mapping[str, Any]) -> Iterator[None]:
    gen_kwargs = given.get("gen_kwargs") or {}
    if isinstance(gen_kwargs, str):
        from lm_eval.utils import simple_parse_args_string

        gen_kwargs = simple_parse_args_string(gen_kwargs)
    with _set(_gen_kwargs, gen_kwargs):
        yield


@contextmanager
def _evaluating(given: Mapping[str, Any]) -> Iterator[None]:
    lm = given.get("lm")
    stored = vars(lm).get("dbdict")  # the harness's wrapper for --use_cache has one
    model = lm if stored is None else vars(lm).get("lm")
    if not watches(model):
        with _set(_under_way, (*_under_way.get(), None)):
            yield
        return
    started = Started(
        gen_kwargs=_gen_kwargs.get(),
        chat_template=given.get("apply_chat_template") or False,
        stored=stored,
        tasks=tuple(_tasks_in(given.get("task_dict"))),
    )
    with evaluating(model, started):
        yield


@contextmanager
def evaluating(model: Watched, started: Started) -> "Iterator[Run]":
    """One evaluation of a model of this package, by the harness or by anybody else who asks as it does."""
    with model.evaluation(started) as run, _set(_under_way, (*_under_way.get(), run)):
        yield run


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _tasks_in(task_dict: Any) -> Iterator[Any]:
    """The task objects of a `TaskManager.load`, or of the nested dictionary that older callers pass."""
    if isinstance(task_dict, Mapping):
        of_load = "tasks" in task_dict  # as lm_eval tells the two apart
        for inside in [task_dict["tasks"]] if of_load else task_dict.values():
            yield from _tasks_in(inside)
    elif hasattr(task_dict, "build_all_requests"):
        yield task_dict

"""jaxtyping's checks at run time for what names the shapes of arrays, and for nothing else: mypy knows plain types.

Every call of a checked function binds its arguments anew and is checked twice. Most of the package's are small ones
without an array, which would take more than half of the time of the engine's tests.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping


def names_an_array(annotation: Any) -> bool:
    """Whether jaxtyping has something to check; also of an annotation that is a text, which nobody can tell."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return isinstance(annotation, str) or any(map(names_an_array, get_args(annotation)))


def functions_of(decorated: Any) -> list[Callable[..., Any]]:
    """What would be wrapped."""
    if isinstance(decorated, property):
        return [own for own in (decorated.fget, decorated.fset, decorated.fdel) if own is not None]
    if inspect.isclass(decorated):
        return [decorated.__init__]
    return [getattr(decorated, "__func__", decorated)]


def check_arrays_only() -> None:
    """From now on jaxtyping leaves all else that it is asked to wrap as it is; called before that is imported."""
    wrap = jaxtyping.jaxtyped

    @functools.wraps(wrap)
    def wrapped(decorated: Any = None, **options: Any) -> Any:
        if decorated is None:
            return functools.partial(wrapped, **options)
        annotations = [own for f in functions_of(decorated) for own in getattr(f, "__annotations__", {}).values()]
        return wrap(decorated, **options) if any(map(names_an_array, annotations)) else decorated

    jaxtyping.jaxtyped = wrapped

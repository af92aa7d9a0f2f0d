"""What every decoding option may be, one at a time; what must fit together is checked in `decoding`."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..canvas.template import Template
from ..decoding.samplers.dream import ALGORITHMS
from ..engine.cache import CACHES
from ..errors import UsageError
from . import values
from .exits import EXIT_RULES
from .samplers import SAMPLERS, SCORES


def _template(name: str, value: Any) -> Template | None:
    if value in ("null", "none", "None"):  # how a command line takes a task's template away
        return None
    return value if isinstance(value, Template) else Template.parse(value)


def _at_least(minimum: int) -> Callable[[str, Any], int]:
    return lambda name, value: values.integer(name, value, minimum)


def _finite(name: str, value: Any) -> float:
    number = values.number(name, value)
    if number == math.inf:
        raise UsageError(f"{name} must be a finite number, got {value!r}; correct it or leave it out.")
    return number


def _probability(name: str, value: Any) -> float:
    return values.number(name, value, maximum=1.0)


def _top_p(name: str, value: Any) -> float | None:
    share = _probability(name, value)
    if not share:
        raise UsageError(f"{name} must be above 0, got {value!r}; 1 draws from all tokens.")
    return share if share < 1 else None


def _think_end(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise UsageError(f"{name} must be a text or a token id, got {value!r}; correct it or leave it out.")
    return str(value)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "sampler": lambda name, value: values.choice(name, value, SAMPLERS),
    "k": _at_least(1),
    "score": lambda name, value: values.choice(name, value, SCORES),
    "steps": _at_least(1),
    "entropy_threshold": values.number,
    "k_max": _at_least(1),
    "entropy_bound": values.number,
    "confidence_threshold": _probability,
    "alg": lambda name, value: values.choice(name, value, ALGORITHMS),
    "alg_temp": _finite,
    "kl_threshold": values.number,
    "history": _at_least(1),
    "credit_decay": _probability,
    "credit_exponent": _finite,
    "credit_strength": _finite,
    "relaxed_threshold": _probability,
    "radius": _at_least(1),
    "factor": values.number,
    "gen_length": _at_least(1),
    "block_length": _at_least(1),
    "template": _template,
    "exit_rule": lambda name, value: values.choice(name, value, EXIT_RULES),
    "exit_threshold": values.number,
    "max_nfe": _at_least(1),
    "cache": lambda name, value: values.choice(name, value, ("none", *CACHES)),
    "gold_score": values.flag,
    "stop_when_settled": values.flag,
    "temperature": _finite,
    "top_k": lambda name, value: values.integer(name, value, -1) if values.integer(name, value, -1) > 0 else None,
    "top_p": _top_p,
    "min_p": lambda name, value: _probability(name, value) or None,
    "seed": _at_least(-(2**63)),
    "cfg_scale": _finite,
    "suppress_tokens": values.tokens,
    "until": values.texts,
    "think_end_token": _think_end,
    "add_bos_token": values.flag,
    "max_length": _at_least(1),
}
"""By the option's name: from name and value to the value in its own type; UsageError for one that cannot be."""

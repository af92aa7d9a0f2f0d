"""What every decoding option may be, one at a time; what must fit together is checked in `decoding`."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..canvas.template import Template
from ..decoding.frequencies import TokenFrequencies
from ..decoding.samplers.dream import ALGORITHMS
from ..engine.cache import CACHES
from ..errors import UsageError
from . import values
from .exits import EXIT_RULES
from .frequencies import read_frequencies
from .samplers import PC, SAMPLERS, SCORES


def _template(name: str, value: Any) -> Template | None:
    if value in ("null", "none", "None"):  # how a command line takes a task's template away
        return None
    return value if isinstance(value, Template) else Template.parse(value)


MOST = 2**31 - 1
"""Of what is counted or compared in tensors: far more than any row has positions."""
MOST_PASSES = 10**6
"""That a row may be asked to take, whatever the network says."""
LEAST_TEMPERATURE = 1e-100
"""Above 0: logits that are divided by less may be infinite."""
MOST_STRENGTH = 1e6
"""Beyond any difference of two logits; far more would not be finite in float32."""


def _at_least(minimum: int, maximum: float = math.inf) -> Callable[[str, Any], int]:
    return lambda name, value: values.integer(name, value, minimum, maximum)


def _finite(name: str, value: Any) -> float:
    number = values.number(name, value)
    if number == math.inf:
        raise UsageError(f"{name} must be a finite number, got {value!r}; correct it or leave it out.")
    return number


def _temperature(name: str, value: Any) -> float:
    number = _finite(name, value)
    if 0 < number < LEAST_TEMPERATURE:
        raise UsageError(f"{name} must be 0 or at least {LEAST_TEMPERATURE:g}, got {value!r}; 0 takes the likeliest.")
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


def _above_zero(name: str, value: Any) -> float:
    number = values.number(name, value)
    if not number:
        raise UsageError(f"{name} must be above 0, got {value!r}; correct it or leave it out.")
    return number


def _delimiters(name: str, value: Any) -> tuple[int | str, ...]:
    several = value if isinstance(value, (list, tuple)) else [value]
    if not several or any(isinstance(one, bool) or not isinstance(one, (int, str)) or one == "" for one in several):
        raise UsageError(f"{name} must hold texts or token ids, got {value!r}; correct it or leave it out.")
    return values.ids_or_texts(several)


def _frequencies(name: str, value: Any) -> TokenFrequencies:
    # Read once, so that a file that changes or goes while a run is under way changes nothing.
    if isinstance(value, TokenFrequencies):
        return value
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise UsageError(f"{name} must name a file, got {value!r}; correct it or leave it out.")
    return read_frequencies(str(os.fspath(value)))


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "sampler": lambda name, value: values.choice(name, value, SAMPLERS),
    "k": _at_least(1, MOST),
    "score": lambda name, value: values.choice(name, value, (*SCORES, PC)),
    "steps": _at_least(1, MOST_PASSES),
    "entropy_threshold": values.number,
    "k_max": _at_least(1, MOST),
    "entropy_bound": values.number,
    "confidence_threshold": _probability,
    "factor": values.number,
    "slow_threshold": _probability,
    "max_slow_steps": _at_least(1, MOST),
    "stable_window": _at_least(1, MOST),
    "stable_variance": values.number,
    "delimiter_threshold": _probability,
    "delimiters": _delimiters,
    "max_block_length": _at_least(1, MOST),
    "skip": _at_least(1, MOST),
    "remask_below": _probability,
    "pc_lambda": _finite,
    "pc_alpha": _above_zero,
    "token_frequencies": _frequencies,
    "remdm_share": _probability,
    "remdm_loops": _at_least(0, MOST_PASSES),
    "min_distance": _finite,
    "defer_end_of_text": values.flag,
    "alg": lambda name, value: values.choice(name, value, ALGORITHMS),
    "alg_temp": _temperature,
    "kl_threshold": values.number,
    "history": _at_least(1, MOST),
    "credit_decay": _probability,
    "credit_exponent": _finite,
    "credit_strength": lambda name, value: values.number(name, value, maximum=MOST_STRENGTH),
    "relaxed_threshold": _probability,
    "radius": _at_least(1, MOST),
    "edit_threshold": _probability,
    "max_edit_passes": _at_least(0, MOST_PASSES),
    "gen_length": _at_least(1),
    "block_length": _at_least(1, MOST),
    "template": _template,
    "exit_rule": lambda name, value: values.choice(name, value, EXIT_RULES),
    "exit_threshold": values.number,
    "max_nfe": _at_least(1),
    "cache": lambda name, value: values.choice(name, value, ("none", *CACHES)),
    "gold_score": values.flag,
    "stop_when_settled": values.flag,
    "temperature": _temperature,
    "top_k": lambda name, value: values.integer(name, value, -1) if values.integer(name, value, -1) > 0 else None,
    "top_p": _top_p,
    "min_p": lambda name, value: _probability(name, value) or None,
    "seed": _at_least(-(2**63)),
    "cfg_scale": lambda name, value: values.number(name, value, maximum=MOST_STRENGTH),
    "suppress_tokens": values.tokens,
    "until": values.texts,
    "think_end_token": _think_end,
    "add_bos_token": values.flag,
    "max_length": _at_least(1),
}
"""By the option's name: from name and value to the value in its own type; UsageError for one that cannot be."""

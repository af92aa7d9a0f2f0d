"""The samplers by name: which options each takes, and the policy they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..decoding.policies import (
    ConfidenceFactor,
    ConfidenceThreshold,
    EntropyBound,
    EvenSchedule,
    FixedK,
    MultiTokenEntropy,
)
from ..decoding.policy import DecodingPolicy
from ..decoding.samplers.credit import Credit
from ..decoding.samplers.dream import ALGORITHMS, Dream
from ..decoding.samplers.klass import Klass
from ..decoding.samplers.local_leap import LocalLeap
from ..decoding.scores import Score, at_random, by_confidence, by_entropy, by_margin, left_to_right
from ..errors import UsageError


SCORES: Mapping[str, Score] = {
    "entropy": by_entropy,
    "confidence": by_confidence,
    "margin": by_margin,
    "random": at_random,
    "left_to_right": left_to_right,
}


@dataclass(frozen=True)
class Sampler:
    """A named decoding rule."""

    options: tuple[str, ...]
    """Options that belong to samplers, this one among them."""
    make: Callable[..., DecodingPolicy]
    """From those of its options that were set; the rest take the policy's own defaults."""
    shared: tuple[str, ...] = ()
    """Options of every sampler that this one makes something of its own of, and is made from too."""
    ignored: Callable[[Any, float], tuple[str, ...]] = lambda policy, temperature: ()
    """Options of every sampler that one with this policy has no use for."""


def _fixed_k(score: str = "entropy", k: int | None = None, steps: int | None = None) -> DecodingPolicy:
    if steps is None:
        return FixedK(score=SCORES[score]) if k is None else FixedK(k, SCORES[score])
    if k is not None:
        raise UsageError(f"k and steps exclude each other, got k={k} and steps={steps}; leave one of them out.")
    return EvenSchedule(steps, SCORES[score])


def _ignored_by_dream(policy: Dream, temperature: float) -> tuple[str, ...]:
    # The likeliest token is in every restricted set, and `origin` looks at nothing else.
    no_use = ALGORITHMS[policy.alg] is None and not temperature
    return ("min_p", "top_p", "top_k") if no_use else ("min_p",)


SAMPLERS: Mapping[str, Sampler] = {
    "fixed_k": Sampler(("k", "score", "steps"), _fixed_k),
    "med": Sampler(("entropy_threshold", "k_max"), MultiTokenEntropy),
    "entropy_bound": Sampler(("entropy_bound",), EntropyBound),
    "confidence_threshold": Sampler(("confidence_threshold",), ConfidenceThreshold),
    "confidence_factor": Sampler(("factor",), ConfidenceFactor),
    "dream": Sampler(("alg", "steps", "alg_temp"), Dream, shared=("top_p", "top_k"), ignored=_ignored_by_dream),
    "klass": Sampler(("confidence_threshold", "kl_threshold", "history"), Klass),
    "credit": Sampler(("confidence_threshold", "credit_decay", "credit_exponent", "credit_strength"), Credit),
    "local_leap": Sampler(("confidence_threshold", "relaxed_threshold", "radius"), LocalLeap),
}


def describe(policy: DecodingPolicy) -> dict[str, Any]:
    """The policy's hyper-parameters as options, defaults included."""
    names = {score: name for name, score in SCORES.items()}
    return {key: names[value] if key == "score" else value for key, value in vars(policy).items()}

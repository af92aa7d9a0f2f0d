"""The samplers by name: which options each takes, and the policy they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..decoding.frequencies import TokenFrequencies
from ..decoding.policies import (
    ConfidenceFactor,
    ConfidenceThreshold,
    EntropyBound,
    EvenSchedule,
    FixedK,
    MultiTokenEntropy,
)
from ..decoding.policy import DecodingPolicy
from ..decoding.samplers.ada_block import AdaBlock
from ..decoding.samplers.credit import Credit
from ..decoding.samplers.dream import ALGORITHMS, Dream
from ..decoding.samplers.dus import DilatedSchedule
from ..decoding.samplers.edit import Edit
from ..decoding.samplers.klass import Klass
from ..decoding.samplers.local_leap import LocalLeap
from ..decoding.samplers.pc import CalibratedScore
from ..decoding.samplers.remdm import ReMask
from ..decoding.samplers.sliding_block import SlidingBlock
from ..decoding.samplers.slow_fast import SlowFast
from ..decoding.scores import Score, at_random, by_confidence, by_entropy, by_margin, left_to_right
from ..errors import UsageError


SCORES: Mapping[str, Score] = {
    "entropy": by_entropy,
    "confidence": by_confidence,
    "margin": by_margin,
    "random": at_random,
    "left_to_right": left_to_right,
}
PC = "pc"
"""A score with options of its own."""
PC_OPTIONS = ("token_frequencies", "pc_lambda", "pc_alpha")


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


def _fixed_k(score: str = "entropy", k: int | None = None, steps: int | None = None, **of_score: Any) -> DecodingPolicy:
    order = _calibrated(**of_score) if score == PC else SCORES[score]
    if score != PC and of_score:
        name, value = next(iter(of_score.items()))
        raise UsageError(
            f"{name}={value} belongs to score=pc and would be ignored by score={score}; leave it out, or change the "
            f"score."
        )
    if steps is None:
        return FixedK(score=order) if k is None else FixedK(k, order)
    if k is not None:
        raise UsageError(f"k and steps exclude each other, got k={k} and steps={steps}; leave one of them out.")
    return EvenSchedule(steps, order)


def _calibrated(token_frequencies: TokenFrequencies | None = None, **numbers: float) -> Score:
    if token_frequencies is None:
        raise UsageError("score=pc needs token_frequencies=FILE, which lm-eval-mdlm frequencies writes; set it.")
    return CalibratedScore(token_frequencies, **numbers)


def _ignored_by_dream(policy: Dream, temperature: float) -> tuple[str, ...]:
    # The likeliest token is in every restricted set, and `origin` looks at nothing else.
    no_use = ALGORITHMS[policy.alg] is None and not temperature
    return ("min_p", "top_p", "top_k") if no_use else ("min_p",)


SAMPLERS: Mapping[str, Sampler] = {
    "fixed_k": Sampler(("k", "score", "steps", *PC_OPTIONS), _fixed_k),
    "med": Sampler(("entropy_threshold", "k_max"), MultiTokenEntropy),
    "entropy_bound": Sampler(("entropy_bound",), EntropyBound),
    "confidence_threshold": Sampler(("confidence_threshold",), ConfidenceThreshold),
    "confidence_factor": Sampler(("factor",), ConfidenceFactor),
    "slow_fast": Sampler(
        ("confidence_threshold", "slow_threshold", "max_slow_steps", "stable_window", "stable_variance"), SlowFast
    ),
    "ada_block": Sampler(
        ("confidence_threshold", "delimiter_threshold", "delimiters"), AdaBlock, shared=("block_length",)
    ),
    "sliding_block": Sampler(("confidence_threshold", "max_block_length"), SlidingBlock, shared=("block_length",)),
    "dus": Sampler(("skip", "remask_below"), DilatedSchedule),
    "remdm": Sampler(("remdm_share", "remdm_loops"), ReMask),
    "dream": Sampler(("alg", "steps", "alg_temp"), Dream, shared=("top_p", "top_k"), ignored=_ignored_by_dream),
    "klass": Sampler(("confidence_threshold", "kl_threshold", "history"), Klass),
    "credit": Sampler(("confidence_threshold", "credit_decay", "credit_exponent", "credit_strength"), Credit),
    "local_leap": Sampler(("confidence_threshold", "relaxed_threshold", "radius"), LocalLeap),
    "edit": Sampler(("confidence_threshold", "edit_threshold", "max_edit_passes"), Edit),
}


def describe(policy: DecodingPolicy) -> dict[str, Any]:
    """The hyper-parameters of a sampler as options, defaults included."""
    names = {score: name for name, score in SCORES.items()}
    plain = dict(vars(policy))
    score = plain.get("score")
    if isinstance(score, CalibratedScore):
        plain = {**plain, "score": PC, **vars(score), "token_frequencies": score.token_frequencies.digest}
    elif score is not None:
        plain["score"] = names[score]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

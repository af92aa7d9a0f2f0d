"""Options of log-likelihoods as the user writes them, checked once at the border."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..decoding.likelihood.chain_rule import ChainRule
from ..decoding.likelihood.elbo import Elbo
from ..decoding.likelihood.estimator import Estimator
from ..decoding.likelihood.published import PublishedDream, PublishedLLaDA
from ..engine.path import AlongPath
from ..engine.scoring import BySampling, Scorer
from ..errors import UsageError
from . import values
from .decoding import DecodingConfig


@dataclass(frozen=True)
class _Kind:
    """A named estimate."""

    options: tuple[str, ...]
    """Options that have an effect on it."""
    make: Callable[..., Estimator] | None
    """From those of its options that were set; None for the sampler's own path."""


LIKELIHOODS: Mapping[str, _Kind] = {
    "elbo": _Kind(("mc_num", "mc_se"), Elbo),
    "l2r": _Kind((), ChainRule),
    "r2l": _Kind((), lambda: ChainRule(reverse=True)),
    "llada": _Kind(("mc_num", "mc_batch"), PublishedLLaDA),
    "dream": _Kind(("mc_num", "mc_batch"), PublishedDream),
    "path": _Kind((), None),
}


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig:
    """How `loglikelihood` requests are scored. Every field is a key of `--model_args`; None means not set."""

    likelihood: str = "elbo"
    """A name in `LIKELIHOODS`."""
    mc_num: int | None = None
    """`elbo`, `llada`, `dream`: passes per text, at least 1; 128 if unset."""
    mc_batch: int | None = None
    """`llada`, `dream`: samples that are stratified together, a divisor of `mc_num`; the published value if unset."""
    mc_se: float | None = None
    """`elbo`: nats, above 0; a document's sampling ends once no choice has a larger standard error; off if unset."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "LikelihoodConfig":
        """Check untyped options; UsageError for a value that cannot be, or an option of another estimate."""
        given = {name: value for name, value in options.items() if value is not None}
        config = cls(**{name: _CHECKS[name](name, value) for name, value in given.items()})
        own = LIKELIHOODS[config.likelihood].options
        for name in ("mc_num", "mc_batch", "mc_se"):
            if name not in own and (value := getattr(config, name)) is not None:
                theirs = " or ".join(kind for kind, known in LIKELIHOODS.items() if name in known.options)
                raise UsageError(
                    f"{name}={value} belongs to likelihood={theirs} and would be ignored by likelihood="
                    f"{config.likelihood}; leave it out, or change the likelihood."
                )
        estimator = config._estimator()
        num, batch = (getattr(estimator, name, 1) for name in ("mc_num", "mc_batch"))
        if "mc_batch" in own and num % batch:
            raise UsageError(
                f"mc_num must be a multiple of mc_batch, got mc_num={num} and mc_batch={batch}; change one of them."
            )
        return config

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of all options."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def _estimator(self) -> Estimator | None:
        kind = LIKELIHOODS[self.likelihood]
        given = {name: getattr(self, name) for name in kind.options if name != "mc_se"}
        return kind.make and kind.make(**{name: value for name, value in given.items() if value is not None})

    def scorer(self, decoding: DecodingConfig) -> Scorer:
        """The way to score under these options and those of the sampler.

        Raises:
            UsageError: If the sampler's path depends on more than distributions.
        """
        estimator = self._estimator()
        if estimator is not None:
            return BySampling(estimator, self.mc_se)
        if not decoding.policy().depends_on_distributions_alone:
            named = "score=random" if decoding.score == "random" else f"sampler={decoding.sampler} as it is set here"
            raise UsageError(
                f"likelihood=path needs a sampler whose choice depends on the distributions of one pass alone, and "
                f"{named} looks at more; choose another, or likelihood=elbo."
            )
        return AlongPath()

    def effective(self) -> dict[str, Any]:
        """Every option that has an effect, defaults included, as plain values for the record."""
        estimator, known = self._estimator(), LIKELIHOODS[self.likelihood].options
        values_of = {name: getattr(estimator, name, getattr(self, name)) for name in known}
        return {"likelihood": self.likelihood, **values_of}


def _above_zero(name: str, value: Any) -> float:
    number = values.number(name, value)
    if not number:
        raise UsageError(f"{name} must be above 0, got {value!r}; leave it out to take all samples.")
    return number


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "likelihood": lambda name, value: values.choice(name, value, LIKELIHOODS),
    "mc_num": lambda name, value: values.integer(name, value, 1),
    "mc_batch": lambda name, value: values.integer(name, value, 1),
    "mc_se": _above_zero,
}

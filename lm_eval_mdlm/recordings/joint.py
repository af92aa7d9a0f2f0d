"""What taking several tokens from one pass costs, and how tight the answer's entropy bound is: from sampled chains.

Let p be the joint distribution by the chain rule and q the product of the pass's own marginals. Along a chain x drawn
from p, the sum of the divergences of each position's distribution as it came from its marginal has the mean KL(p || q).
If the conditionals agreed on one joint distribution, that would be its total correlation, at most the sum of the
marginal entropies minus the largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr, t

from .certainty import Quantiles, quantiles


CLEAR, PLAIN = 0.975, 0.01
"""An estimate is clearly above a bound if the lower end of its one-sided interval of this confidence (Student's t over
chains) is so by so many nats."""


class SampledChains(Protocol):
    """n chains over k positions of one canvas; see `engine.chains.Chains`."""

    @property
    def together(self) -> Sequence[float]:
        """(n,) log-probabilities by the chain rule, nats."""

    @property
    def apart(self) -> Sequence[float]:
        """(n,) log-probabilities by the first pass alone, nats."""

    @property
    def divergence(self) -> Sequence[float]:
        """(n,) sums of KL(distribution as it came || that of the first pass) along the chain, nats."""

    @property
    def conditional_entropy(self) -> Sequence[float]:
        """(n,) sums of entropies along the chain, nats."""

    @property
    def entropies(self) -> Sequence[float]:
        """(k,) of the first pass, nats."""

    @property
    def given_together(self) -> float | None:
        """As `together`, of the committed tokens."""

    @property
    def given_apart(self) -> float | None:
        """As `apart`, of the committed tokens."""


@dataclass(frozen=True, kw_only=True)
class Factorisation:
    """Over passes that committed several tokens."""

    num_steps: int
    error: Quantiles | None
    """Estimates of KL(p || q), nats; the mean is unbiased, the quantiles hold the sampling error too."""
    error_se: float
    """Standard error of the mean over passes."""
    bound: Quantiles | None
    """Sum minus largest entropy, nats."""
    above_bound_share: float
    """Of passes, those whose estimate is clearly above `bound`."""
    mean_excess: float
    """Of these, how far above, nats; 0 without any."""
    stated_bound: float | None
    """Mean of what the sampler's own threshold promises, nats: lambda * k, or the entropy bound; None without one."""
    above_stated_share: float | None
    """As `above_bound_share`."""
    committed: Quantiles | None
    """Of the tokens that were committed: log-probability together minus apart, nats. Below 0: they fit each other worse
    than each fits by itself."""


def factorisation_of(chains: Sequence[SampledChains], stated: Sequence[float | None]) -> Factorisation | None:
    """The error of taking each pass's tokens apart; None without a pass.

    Args:
        chains: One per pass, over the positions that it committed.
        stated: For each pass the bound that its sampler's threshold promises, nats; None where it promises none.
    """
    if not chains:
        return None
    errors, spreads = _means_and_errors([own.divergence for own in chains])
    bounds = np.array([sum(own.entropies) - max(own.entropies) for own in chains])
    surely = errors - _margin(chains, spreads)
    above = surely > bounds
    promised = [(i, bound) for i, bound in enumerate(stated) if bound is not None]
    places = [i for i, _ in promised]
    limits = np.array([bound for _, bound in promised])
    committed = [
        own.given_together - own.given_apart
        for own in chains
        if own.given_together is not None and own.given_apart is not None
    ]
    return Factorisation(
        num_steps=len(chains),
        error=quantiles(errors),
        error_se=_mean_and_error(errors)[1],
        bound=quantiles(bounds),
        above_bound_share=float(above.mean()),
        mean_excess=float((errors - bounds)[above].mean()) if above.any() else 0.0,
        stated_bound=float(limits.mean()) if promised else None,
        above_stated_share=float((surely[places] > limits).mean()) if promised else None,
        committed=quantiles(committed),
    )


@dataclass(frozen=True, kw_only=True)
class Tightness:
    """Of the bound on the answer's entropy, over passes."""

    num_states: int
    num_exits: int
    """Of these, passes at which a row ended early."""
    bound: Quantiles | None
    """H_UB, the sum of the entropies of the masked answer positions, nats."""
    joint: Quantiles | None
    """Estimates of their joint entropy by the chain rule from left to right, nats."""
    joint_se: float
    """Root mean square of the estimates' standard errors, nats."""
    minus_log_p: float
    """Mean of minus the log-probability of the sampled answers, nats: the same expectation as the mean of `joint`."""
    ratio: float | None
    """Mean joint entropy over mean bound; 1 is tight. None for bounds of 0."""
    pearson: float | None
    """Correlation of bound and joint entropy; None where one of them does not vary."""
    spearman: float | None
    above_share: float
    """Of passes, those whose joint entropy is clearly above the bound, which needs conditionals that do not agree."""


def tightness_of(chains: Sequence[SampledChains], num_exits: int) -> Tightness | None:
    """The bound against the joint entropy; None without a pass.

    Args:
        chains: One per pass, over its masked answer positions from left to right.
        num_exits: How many of them are exits.
    """
    if not chains:
        return None
    joint, spread = _means_and_errors([own.conditional_entropy for own in chains])
    bound = np.array([sum(own.entropies) for own in chains])
    varies = len(chains) > 2 and np.ptp(bound) > 0 and np.ptp(joint) > 0
    return Tightness(
        num_states=len(chains),
        num_exits=num_exits,
        bound=quantiles(bound),
        joint=quantiles(joint),
        joint_se=float(np.sqrt(np.mean(spread**2))),
        minus_log_p=float(-np.mean([np.mean(own.together) for own in chains])),
        ratio=float(joint.mean() / bound.mean()) if bound.any() else None,
        pearson=float(pearsonr(bound, joint).statistic) if varies else None,
        spearman=float(spearmanr(bound, joint).statistic) if varies else None,
        above_share=float((joint - _margin(chains, spread) > bound).mean()),
    )


def _margin(chains: Sequence[SampledChains], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much estimates must be above a bound to be so clearly, nats."""
    freedom = np.array([max(len(own.together) - 1, 1) for own in chains])
    margin: NDArray[np.float64] = t.ppf(CLEAR, freedom) * spreads + PLAIN
    return margin


def _mean_and_error(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """The mean, and its standard error; of a single number none is known, and 0 is given."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _means_and_errors(several: Sequence[Sequence[float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each of them."""
    pairs = [_mean_and_error(values) for values in several]
    return np.array([mean for mean, _ in pairs]), np.array([error for _, error in pairs])

"""The standard error of a mean over coupled samples, from what its log-probabilities show of their own causes.

Samples that share out positions and pairs among them (`balance.py`) spread less than independent ones, so their
scatter alone says too much. A token's log-probability is taken apart into a curve over the number of masked
positions, a line of its own position around that curve, effects of the other masked positions, and the rest. Each
part is then worth as much as the sets at hand leave of it: nothing where they cover positions or pairs evenly.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray


Table = Float64[np.ndarray, "n L"]
PerSample = Float64[np.ndarray, " n"]
PerPosition = Float64[np.ndarray, " L"]

FEWEST = 8
"""Samples below which they are taken as independent."""
SAMPLES_PER_KNOT = 4
"""Of the curve over sizes."""
FEWEST_FOR_SLOPE = 4
"""Samples that hold a position below which its line is level."""
LEAST_LEFT = 0.05
"""Share of a residual's variance below which the fit has swallowed it, and the average variance stands in."""
LEAST_VARIED = 0.4
"""Variance of the number of other masked positions, were they masked independently, below which pairs do not show."""
NEIGHBOURS = 9
"""Samples of similar size over which residuals are averaged."""


def standard_error(masked: Bool[np.ndarray, "n L"], values: Table) -> float:
    """Standard error of the mean over samples of `L / size * sum of the set's values`, in the unit of the values.

    Args:
        masked: The sets, none empty, in any order; each uniform for its size, sizes stratified.
        values: Log-probabilities at the masked positions, 0 elsewhere.
    """
    count, length = masked.shape
    if not np.isfinite(values).all() or count == 1:
        return math.inf
    sizes = masked.sum(1)
    if count < FEWEST:
        return float((length * values.sum(1) / sizes).std(ddof=1)) / math.sqrt(count)
    fit = _Fit.of(masked, values)
    shares = _Shares.of(fit)
    return math.sqrt(fit.of_sizes() ** 2 + fit.of_positions() + fit.of_rest() * shares.left())


class _Lines:
    """Weighted straight lines over the share of masked positions, one for each position."""

    def __init__(self, masked: Bool[np.ndarray, "n L"]) -> None:
        sizes, length = masked.sum(1), masked.shape[1]
        self.member = masked.astype(np.float64)
        # Small sets weigh most in the estimate, so the lines must be right there.
        self.weight = self.member / (sizes + length / 8)[:, None]
        self.total = np.maximum(self.weight.sum(0), 1e-300)
        share = sizes / length
        self.centre = (self.weight * share[:, None]).sum(0) / self.total
        self.offset = (share[:, None] - self.centre) * self.member
        spread = (self.weight * self.offset**2).sum(0)
        sloping = (self.member.sum(0) >= FEWEST_FOR_SLOPE) & (spread > 1e-9 * self.total)
        self.inverse = np.where(sloping, 1 / np.where(sloping, spread, 1.0), 0.0)

    def of(self, table: Table) -> tuple[PerPosition, PerPosition]:
        """Height at `centre` and slope for each position."""
        height = (self.weight * table).sum(0) / self.total
        return height, (self.weight * self.offset * table).sum(0) * self.inverse

    def residual(self, table: Table) -> Table:
        height, slope = self.of(table)
        left: Table = (table - height - slope * self.offset) * self.member
        return left

    def variance_left(self) -> Table:
        """Variance of a residual where every value varies by 1, independently."""
        own = self.weight * (1 / self.total + self.offset**2 * self.inverse)
        squared = self.weight**2
        across = (squared * self.offset).sum(0) * self.inverse / self.total
        along = (squared * self.offset**2).sum(0) * self.inverse**2
        left: Table = 1 - 2 * own + squared.sum(0) / self.total**2 + 2 * self.offset * across + self.offset**2 * along
        return left


@dataclass(frozen=True, eq=False)
class _Fit:
    """Values taken apart; residuals are scaled up by what the fit took from their variance."""

    masked: Bool[np.ndarray, "n L"]
    lines: _Lines
    residual: Table
    lost: Bool[np.ndarray, "n L"]
    """Values that the fit swallowed."""
    height: PerPosition
    """Of a position's line where samples are centred."""
    slope: PerPosition
    curve: PerPosition
    """Over the sizes 1..L, common to all positions."""
    sample_left: PerSample
    """Share of a sample's residual that the curve leaves."""

    @classmethod
    def of(cls, masked: Bool[np.ndarray, "n L"], values: Table) -> "_Fit":
        lines, sizes = _Lines(masked), masked.sum(1)
        curve, sample_left = _fit_curve(lines, values, sizes)
        around = (values - curve[sizes - 1][:, None]) * masked
        centre, slope = lines.of(around)
        left = lines.variance_left()
        lost = masked & (left < LEAST_LEFT)
        residual = lines.residual(around) * ~lost / np.sqrt(np.maximum(left, LEAST_LEFT))
        height = centre - slope * (lines.centre - (sizes / masked.shape[1]).mean())
        return cls(masked, lines, residual, lost, height, slope, curve, sample_left)

    @property
    def sizes(self) -> NDArray[np.int64]:
        sizes: NDArray[np.int64] = self.masked.sum(1)
        return sizes

    @property
    def weights(self) -> PerSample:
        """Of each value of a sample in the estimate."""
        count, length = self.masked.shape
        weights: PerSample = length / (count * self.sizes)
        return weights

    @property
    def noise(self) -> float:
        """Mean variance of a value around the fit."""
        return float((self.residual**2).sum() / max((self.masked & ~self.lost).sum(), 1))

    def of_sizes(self) -> float:
        """Error from the sizes that were drawn."""
        length = self.masked.shape[1]
        level = self.curve + self.slope[self.masked.any(0)].mean() * np.arange(1, length + 1) / length
        return float(length * (level[self.sizes - 1].mean() - level.mean()))

    def of_positions(self) -> float:
        """Variance from uneven cover of positions, if their lines were dealt out among them anew."""
        lines, seen = self.lines, self.masked.any(0)
        share = self.sizes / self.masked.shape[1]
        centred = (share - share.mean())[:, None]
        uneven = self.weights[:, None] * (lines.member - share[:, None])
        cover = np.stack([uneven.sum(0), (uneven * centred).sum(0)])
        effects = np.stack([self.height, self.slope])
        effects = np.where(seen, effects - effects[:, seen].mean(1, keepdims=True), 0.0)
        on_slope = lines.weight * lines.offset * lines.inverse
        on_height = lines.weight / lines.total - on_slope * (lines.centre - share.mean())
        influence = np.stack([on_height.ravel(), on_slope.ravel()])
        chance = self.noise * influence @ influence.T / seen.sum()
        covariance = effects @ effects.T / max(seen.sum() - 1, 1) - chance
        return max(float((covariance * (cover @ cover.T)).sum()), 0.0)

    def of_rest(self) -> float:
        """Variance from everything else, were samples independent."""
        samples = (self.weights * self.residual.sum(1)) ** 2 / np.maximum(self.sample_left, 0.2)
        return float(samples.sum() + self.noise * (self.weights**2 * self.lost.sum(1)).sum())


def _fit_curve(lines: _Lines, values: Table, sizes: NDArray[np.int64]) -> tuple[PerPosition, PerSample]:
    """Piecewise linear curve over sizes 1..L that residuals of all positions share, and what it leaves of a sample."""
    count, length = values.shape
    num_knots = count // SAMPLES_PER_KNOT + 1
    knots = np.unique(np.quantile(sizes, np.linspace(0, 1, num_knots)))
    hats = np.stack([np.interp(np.arange(1, length + 1), knots, row) for row in np.eye(len(knots))], axis=1)
    root = np.sqrt(sizes)
    at_samples = hats[sizes - 1] * root[:, None]
    solve = np.linalg.pinv(at_samples)
    curve = np.zeros(length)
    for _ in range(4):  # the lines take part of the curve and give it back
        rest = lines.residual((values - curve[sizes - 1][:, None]) * lines.member)
        curve += hats @ (solve @ (rest.sum(1) / root))
    return curve, 1 - np.einsum("ik,ki->i", at_samples, solve)


@dataclass(frozen=True)
class _Shares:
    """How much of the rest comes from pairs, and how much of each kind the sets leave."""

    pairs: float
    """Share of the residual variance that other masked positions explain."""
    pairs_left: float
    """Variance that effects of pairs have with these sets, over that with independent ones."""
    others_left: float
    """The same of effects that differ from set to set; below 1 where few sets exist."""

    def left(self) -> float:
        """Share of the variance of independent samples that remains."""
        return min(self.pairs * min(self.pairs_left, 1.0) + (1 - self.pairs) * self.others_left, 1.0)

    @classmethod
    def of(cls, fit: _Fit) -> "_Shares":
        length, sizes, weights = fit.masked.shape[1], fit.sizes, fit.weights
        others = (sizes - 1) / (length - 1)  # chance that another position is masked beside one
        variance = (length - 1) * others * (1 - others)
        uneven = (weights[:, None] * fit.lines.member).T @ (fit.lines.member - others[:, None])
        np.fill_diagonal(uneven, 0.0)
        independent = float((weights**2 * sizes * variance).sum())
        pairs_left = float((uneven**2).sum()) / independent if independent > 0 else 1.0
        return cls(_share_of_pairs(fit, others, variance), pairs_left, _others_left(fit.masked, weights))


def _share_of_pairs(fit: _Fit, others: PerSample, variance: PerSample) -> float:
    """Slope of products of one position's residuals in two samples over how far these samples mask the same others."""
    lines, length = fit.lines, fit.masked.shape[1]
    order = np.argsort(fit.sizes, kind="stable")
    window = np.ones(min(NEIGHBOURS, len(order)))
    squares = ((fit.residual**2).sum(1) / fit.sizes)[order]
    level = np.empty(len(order))
    level[order] = np.convolve(squares, window, "same") / np.convolve(np.ones(len(order)), window, "same")
    if level.max() <= 0:
        return 0.0
    scaled = fit.residual / np.sqrt(np.maximum(level, 1e-6 * level.max()))[:, None]
    common = lines.member @ lines.member.T
    likeness = common - 1 - (length - 1) * np.outer(others, others)
    likeness /= np.sqrt(np.maximum(np.outer(variance, variance), 1e-12))
    fitted = (lines.weight / lines.total) @ lines.member.T
    fitted += (lines.weight * lines.offset * lines.inverse) @ lines.offset.T
    products = scaled @ scaled.T + (fitted + fitted.T) / 2  # a fit alone makes residuals repel each other
    varied = variance > LEAST_VARIED
    usable = np.triu(common > 0, 1) & np.outer(varied, varied)
    expected = float((common * likeness**2)[usable].sum())
    return float(np.clip((products * likeness)[usable].sum() / expected, 0.0, 1.0)) if expected > 0 else 0.0


def _others_left(masked: Bool[np.ndarray, "n L"], weights: PerSample) -> float:
    """Variance of the weights that sets have beside those they have in the exact sum, over that of distinct sets."""
    length = masked.shape[1]
    sets, which = np.unique(masked, axis=0, return_inverse=True)
    weight = np.bincount(which.ravel(), weights=weights)
    sizes = sets.sum(1)
    exact = np.array([_exact_weight(length, size) for size in range(1, length + 1)])
    left = float(((weight**2 - 2 * weight * exact[sizes - 1]) * sizes).sum() + exact.sum())
    return max(left, 0.0) / float((weights**2 * masked.sum(1)).sum())


def _exact_weight(length: int, size: int) -> float:
    log_sets = math.lgamma(length + 1) - math.lgamma(size + 1) - math.lgamma(length - size + 1)
    return math.exp(-log_sets) / size

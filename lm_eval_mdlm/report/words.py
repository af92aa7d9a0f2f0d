"""Figures as a reader sees them."""

from dataclasses import dataclass

from .boards import Board
from .comparing import Difference
from .intervals import Interval


NONE = "–"


@dataclass(frozen=True)
class Scale:
    """How scores of a board are written: shares as percentages, everything else as it is."""

    is_share: bool

    @property
    def factor(self) -> float:
        """From a score to what is written."""
        return 100.0 if self.is_share else 1.0

    @property
    def unit(self) -> str:
        """Of a score."""
        return " %" if self.is_share else ""

    @property
    def unit_of_difference(self) -> str:
        """Of the difference of two scores."""
        return " points" if self.is_share else ""

    def score(self, value: float) -> str:
        """Such as 87.3."""
        return f"{value * self.factor:.1f}" if self.is_share else f"{value:.4g}"

    def difference(self, value: float) -> str:
        """Such as +2.3 or −0.4; the sign that it has once rounded."""
        text = f"{value * self.factor:+.1f}" if self.is_share else f"{value:+.3g}"
        return _minus("0.0" if float(text) == 0 and self.is_share else text)

    def interval(self, interval: Interval | None) -> str:
        """Such as 80.1 to 91.9."""
        return NONE if interval is None else _minus(f"{self.score(interval.low)} to {self.score(interval.high)}")

    def interval_of_difference(self, interval: Interval | None) -> str:
        """Such as −1.2 to +5.8."""
        return NONE if interval is None else f"{self.difference(interval.low)} to {self.difference(interval.high)}"


def scale_of(board: Board) -> Scale:
    """Shares are what lies between 0 and 1 and is better when higher."""
    scores = [score for cell in board.cells for score in cell.outcomes.scores.values()]
    known = scores or [cell.outcomes.mean for cell in board.cells]
    return Scale(board.higher_is_better and all(0 <= score <= 1 for score in known))


def passes(nfe: float | None, error: float | None = None) -> str:
    """Forward passes, such as 24.1 or 24.1 ± 0.5."""
    if nfe is None:
        return NONE
    return f"{nfe:.1f}" if error is None else f"{nfe:.1f} ± {error:.1f}"


def probability(p: float | None) -> str:
    """Such as 0.034, or < 0.001."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def test_in_words(found: Difference) -> str:
    """Such as: McNemar's exact p = 0.034."""
    name = "McNemar's exact p" if found.test.startswith("McNemar") else "p of Student's t"
    return f"{name} {equal_to(found.p)}"


def equal_to(p: float | None) -> str:
    """Such as "= 0.034", or "< 0.001"."""
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def _minus(text: str) -> str:
    return text.replace("-", "−")

"""What a page says first, in sentences."""

from .summary import Row, Summary
from .words import Scale, equal_to, passes, scale_of, test_in_words


FEW = 100
"""Below so many problems a line says that differences are hardly ever shown."""


def verdict(summary: Summary) -> list[str]:
    """Sentences on one board: the best, its difference from the baseline, the knee, the prompts, and cautions."""
    scale = scale_of(summary.board)
    top = summary.row(summary.best)
    said = [_on_the_best(top, summary, scale), _on_the_baseline(top, summary, scale)]
    said += [_on_the_knee(summary, scale), _on_the_front(summary, scale), _on_prompts(summary), *_cautions(summary)]
    return [sentence for sentence in said if sentence]


def _on_the_best(top: Row, summary: Summary, scale: Scale) -> str:
    interval = f", 95 % interval {scale.interval(top.mean.interval)}" if top.mean.interval else ""
    at = "" if top.nfe is None else f" at {passes(top.nfe)} forward passes per row"
    count = len(summary.rows)
    among = f"Best of {count} methods" if count > 1 else "The only method"
    what = f"{summary.board.metric} {scale.score(top.mean.value)}{scale.unit}"
    return f"{among}: {top.method}, {what}{at} ({top.mean.over}{interval})."


def _on_the_baseline(top: Row, summary: Summary, scale: Scale) -> str:
    if len(summary.rows) < 2:
        return ""
    worse = [row.method for row in summary.rows if row.is_worse]
    told = f" Significantly worse than the baseline: {', '.join(worse)}." if worse else ""
    if top.method == summary.baseline:
        return f"It is the baseline itself.{told}"
    base = summary.row(summary.baseline)
    found = top.to_baseline
    against = f"Against the baseline {base.method}"
    if found is None:
        return f"{against} nothing can be said: they have no problem, or no prompt, in common.{told}"
    surely = "significantly better" if top.is_better else "worse" if top.is_worse else "not a significant difference"
    interval = scale.interval_of_difference(found.interval)
    compared = sum(row.to_baseline is not None for row in summary.rows)
    adjusted = f", after Holm over {compared} methods {equal_to(top.p_adjusted)}" if compared > 1 else ""
    return (
        f"{against} ({scale.score(base.mean.value)}{scale.unit} at {passes(base.nfe)} passes): "
        f"{scale.difference(found.value)}{scale.unit_of_difference} (95 % interval {interval}, over {found.over}; "
        f"{test_in_words(found)}{adjusted}): {surely}.{told}"
    )


def _on_the_knee(summary: Summary, scale: Scale) -> str:
    found = summary.knee
    if found is None or len(summary.rows) < 2:
        return ""
    if found.method == summary.best:
        return _on_cheaper(summary, found.nfe or 0.0)
    apart = summary.difference(found.method, summary.best)
    top = summary.row(summary.best)
    share = f", {top.nfe / found.nfe:.1f} times fewer" if top.nfe and found.nfe else ""
    by = (
        "" if apart is None else f" ({scale.difference(apart.value)}{scale.unit_of_difference}; {test_in_words(apart)})"
    )
    return (
        f"Fewest passes that are not shown to be worse than the best: {found.method}, "
        f"{scale.score(found.mean.value)}{scale.unit} at {passes(found.nfe)} passes{share}{by}."
    )


def _on_cheaper(summary: Summary, nfe: float) -> str:
    """Why none of the methods with fewer passes than the best takes its place."""
    cheaper = [row for row in summary.rows if row.nfe is not None and row.nfe < nfe]
    apart = [row.method for row in cheaper if summary.difference(row.method, summary.best) is None]
    if not cheaper:
        return "None takes fewer passes."
    told = f" Not to be compared with it: {', '.join(apart)}." if apart else ""
    return (f"Methods with fewer passes are significantly worse.{told}" if len(apart) < len(cheaper) else told).strip()


def _on_the_front(summary: Summary, scale: Scale) -> str:
    found = sorted((row for row in summary.rows if row.on_front), key=lambda row: row.nfe or 0.0)
    if len(found) < 2:
        return ""
    places = [f"{row.method} ({scale.score(row.mean.value)}{scale.unit} at {passes(row.nfe)})" for row in found]
    return f"Best for their passes or fewer (Pareto front): {', '.join(places)}."


def _on_prompts(summary: Summary) -> str:
    if not summary.by_prompt or len(summary.rows) < 2:
        return ""
    known = [tau for tau in summary.agreement.values() if tau is not None]
    ends = list(dict.fromkeys(f"{tau:.2f}" for tau in (min(known), max(known)))) if known else []
    taus = f" Kendall's tau between the prompts' rankings: {' to '.join(ends)}." if ends else ""
    if summary.best == summary.baseline:
        return taus.strip().replace("-", "−")
    ahead, both = summary.ahead(summary.best, summary.baseline)
    return f"The best is ahead of the baseline with {ahead} of {both} prompts.{taus.replace('-', '−')}"


def _cautions(summary: Summary) -> list[str]:
    said = []
    fewest = min(row.mean.num_problems for row in summary.rows)
    if fewest < FEW:
        said.append(f"Some methods have no more than {fewest} problems with samples: few differences can be shown.")
    apart = [row for row in summary.rows if row.to_baseline and row.to_baseline.left_out]
    if apart:
        most = max(row.to_baseline.left_out for row in apart if row.to_baseline)
        said.append(f"Methods were not run on the same problems; up to {most} are left out of a comparison.")
    other = [row.method for row in summary.rows if row.to_baseline and row.to_baseline.other_prompts]
    if other:
        said.append(
            f"Asked in other words than the baseline: {', '.join(other)}; the prompt is part of that difference."
        )
    return said

"""Options that do nothing in a run, because none of its requests is of the kind that they act on."""

from collections.abc import Iterator, Sequence

from .likelihoods import ScoreReader
from .run import Run


def without_effect(run: Run, scores: ScoreReader, decoding: Sequence[str], likelihood: Sequence[str]) -> Iterator[str]:
    """A line for the options that act on no request of the run's tasks; none before the tasks have made them.

    Args:
        run: Under way.
        scores: Knows which options act on likelihoods.
        decoding: Names of the decoding options in model_args.
        likelihood: Names of the likelihood options there.
    """
    requests = [request for task in run.started.tasks for request in task.instances or ()]
    pairs = [request for request in requests if request.request_type == "loglikelihood"]
    num_texts = sum(request.request_type == "generate_until" for request in requests)
    if not requests:
        return
    if num_texts == len(requests):
        if likelihood:
            yield f"{_named(likelihood)} in --model_args has no effect in this run: no task of it asks for likelihoods."
        return
    if num_texts:
        return
    acting = scores.effective(any(map(run.wants_greedy, pairs)), run)
    idle = [name for name in decoding if name not in acting]
    if idle:
        yield (
            f"{_named(idle)} in --model_args has no effect in this run: its tasks ask for likelihoods alone, by "
            f"likelihood={acting['likelihood']}."
        )
    if run.started.gen_kwargs:
        yield (
            f"{_named(list(run.started.gen_kwargs))} in --gen_kwargs has no effect in this run: its tasks ask for "
            f"likelihoods alone, on which options in --model_args act."
        )


def _named(names: Sequence[str]) -> str:
    return ", ".join(names)

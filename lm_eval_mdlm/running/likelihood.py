"""Log-likelihoods in Python: pairs of contexts and texts as token ids in, scores out. Needs no lm_eval."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.record import Score
from ..errors import UsageError
from ..options import values
from ..options.decoding import DecodingConfig
from ..options.foreign_names import instead_of
from ..options.likelihood import LikelihoodConfig
from .in_common import answer_in_common
from .planning import fitted_to
from .processes import ProcessGroup
from .scoring import ScoreRequest, Text


def loglikelihood(
    backbone: Backbone,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    greedy: bool = False,
    batch_size: int | str = "auto",
    group: ProcessGroup | None = None,
    progress: bool = False,
    journal: str | None = None,
    **options: Any,
) -> list[Score]:
    """Score one text after each context.

    Args:
        backbone: From `load_backbone`.
        pairs: Token ids of a context and of the text to be scored after it, at least one each, as lists, arrays or
            tensors.
        greedy: Also find out whether greedy decoding, by the sampler's options, gives the text.
        batch_size: Canvases per pass, or `auto` to pack by tokens; changes no result.
        group: Shares the work under a launcher: every process passes the same pairs and options and gets all scores.
        progress: Show requests done and passes per second.
        journal: A folder that keeps finished requests; those that it has are not run again.
        **options: Of `LikelihoodConfig`, such as `likelihood="elbo", mc_num=128`, and of `DecodingConfig`, of which
            `likelihood="path"`, `greedy`, `cfg_scale`, `max_length` and `seed` use some.

    Returns:
        One score per pair, in the order given. Under `mc_se` each pair is sampled for itself. A pair for which the
        network returned no numbers has `failed`, with a log-probability of NaN, unless all have.

    Raises:
        UsageError: For options that are unknown, out of range, or do not fit the backbone, before any pass is run.
    """

    def checked() -> list[ScoreRequest]:
        if not len(pairs):
            raise UsageError("pairs must hold at least one pair, got none.")
        config, likelihood = _configs(options)
        config = fitted_to(backbone, config)
        requests = [ScoreRequest(texts=(_text(pair, greedy),), config=config, likelihood=likelihood) for pair in pairs]
        for request in requests:
            request.plan(backbone)
        return requests

    records = answer_in_common(
        backbone,
        checked,
        what="pairs and options",
        batch_size=batch_size,
        group=group or ProcessGroup(alone=True),
        progress=progress,
        journal=journal,
    )
    return [record.scores[0] for record in records]


def _configs(options: Mapping[str, Any]) -> tuple[DecodingConfig, LikelihoodConfig]:
    own, of_decoding = LikelihoodConfig.names(), DecodingConfig.names()
    for name in options:
        if name not in (*own, *of_decoding):
            known = (*own, *of_decoding)
            hint = instead_of(name) or values.closest(name, known)
            raise UsageError(f"unknown option {name!r}.{hint} Known: {', '.join(known)}.")
    likelihood = LikelihoodConfig.from_options({name: value for name, value in options.items() if name in own})
    return DecodingConfig.from_options({n: v for n, v in options.items() if n not in own}), likelihood


def _text(pair: Any, greedy: bool) -> Text:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise UsageError(f"each pair must be a context and a text, got {pair!r:.60}; give the token ids of both.")
    context, text = pair
    return Text(
        context_ids=values.token_ids("context", "a list of token ids", context),
        text_ids=values.token_ids("text", "a list of token ids", text),
        wants_greedy=greedy,
    )

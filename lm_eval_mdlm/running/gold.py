"""Which tokens of a gold answer are scored, at which its probability is read while a row is decoded."""

from dataclasses import dataclass

from ..backbones.backbone import Backbone
from ..options.decoding import DecodingConfig
from .planning import Answer, answer_ids, forbidden_ids


@dataclass(frozen=True)
class Gold:
    """A gold answer beside the answer segment of a row."""

    token_ids: tuple[int, ...]
    """That are scored, at the segment's first positions; none where there is no score."""
    unscored: str | None = None
    """Why there is no score; None where there is one."""


def gold_of(backbone: Backbone, config: DecodingConfig, answer: Answer | None) -> Gold:
    """The tokens of a gold answer, and one end-of-text behind them if the segment has room and it may be proposed.

    Args:
        backbone: Encodes text.
        config: With a template of exactly one answer segment.
        answer: A text, which is tokenised by itself without special tokens, or token ids; None if there is none.
    """
    if answer is None:
        return Gold((), "no gold answer")
    token_ids, forbidden = answer_ids(backbone, answer), forbidden_ids(backbone, config)
    template = config.resolved_template()
    (length,) = (s.length for s in (template.segments if template else ()) if s.kind == "answer")
    if not token_ids:
        return Gold((), "an empty gold answer")
    if len(token_ids) > length:
        return Gold((), "a gold answer that is longer than its segment")
    if not forbidden.isdisjoint(token_ids):
        return Gold((), "a gold answer with a suppressed token")
    ends = backbone.end_token_ids[:1] if len(token_ids) < length else ()
    return Gold((*token_ids, *(end for end in ends if end not in forbidden)))

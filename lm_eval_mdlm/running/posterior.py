"""Posterior traces: reasoning that was filled in between a prompt and its gold answer, as lines of training data.

docs/semantics.md says what a line holds.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..canvas.text import Markers, TextRule
from ..engine.record import Generation
from ..engine.trace_scoring import TraceScore
from .generation import RowRequest
from .known import identity_of
from .planning import answer_ids
from .trace_scoring import TraceScoreRequest, reasoning_of


@dataclass(frozen=True, kw_only=True)
class WantedTrace:
    """One trace of one document."""

    task: str
    doc_id: int
    prompt: str
    """As the harness wrote it; `row` has its tokens."""
    gold: str
    row: RowRequest
    """The answer given; its repeat is the number of the trace among the document's."""

    def excess(self, backbone: Backbone) -> str | None:
        """In words, if the answer has more tokens than the template's answer segment."""
        template = self.row.config.resolved_template()
        lengths = [s.length for s in template.segments if s.kind == "answer"] if template else []
        needed = len(answer_ids(backbone, self.gold))
        if len(lengths) != 1 or needed <= lengths[0]:
            return None
        return f"{self.doc_id} ({needed} tokens for {lengths[0]})"

    def score_request(self, backbone: Backbone, generation: Generation) -> TraceScoreRequest:
        """Asks for the gold answer's log-probability after the whole reasoning."""
        return TraceScoreRequest(
            prompt_ids=self.row.prompt_ids,
            config=self.row.config,
            reasoning_ids=reasoning_of(self.row.plan(backbone).region, generation.token_ids),
            answer=self.gold,
        )

    def line(self, backbone: Backbone, generation: Generation, score: TraceScore, run: str) -> dict[str, Any]:
        """What is written of the finished trace."""
        options, plan = self.row.config.effective(), self.row.plan(backbone)
        return {
            "task": self.task,
            "doc_id": self.doc_id,
            "trace": self.row.repeat,
            "prompt": self.prompt,
            "solution": _solution(plan.text_rule, generation),
            "answer": self.gold,
            "text": generation.text,
            "reasoning_tokens": reasoning_of(plan.region, generation.token_ids),
            "answer_logprob": score.log_probs[-1],
            "nfe": generation.nfe,
            "tokens": generation.tokens,
            "truncated": generation.truncated,
            "seed": options.pop("seed"),
            "template": options.pop("template"),
            "options": options,
            "run": run,
        }


def _solution(rule: TextRule, generation: Generation) -> str:
    """The text from the first reasoning segment to the last, by the rules of the whole text."""
    places = [i for i, span in enumerate(rule.spans) if span.kind == "reasoning"]
    spans = rule.spans[places[0] : places[-1] + 1]
    alone = dataclasses.replace(rule, spans=spans, until=Markers(), think_end=Markers())
    return alone.read(generation.token_ids).text


def digest_of_run(backbone: Backbone, wanted: Sequence[WantedTrace]) -> str:
    """Names everything that determines the lines: the network, and of every trace its prompt, answer and options.

    How they are decoded, in batches or by several processes, is not part of it, since it changes no line.
    """
    digest = hashlib.blake2b(json.dumps(identity_of(backbone), sort_keys=True).encode(), digest_size=16)
    for one in wanted:
        own = [one.task, one.doc_id, one.prompt, one.gold, one.row.content()]
        digest.update(json.dumps(own, sort_keys=True).encode() + b"\0")
    return digest.hexdigest()

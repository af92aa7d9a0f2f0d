"""Scores of a file of traces (`lm-eval-mdlm score`): every line put back on its canvas, and its answer scored."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backbones.backbone import Backbone
from ..canvas.encoding import TextEncoder
from ..checkpoints.load import load_backbone
from ..engine.trace_scoring import TraceScore
from ..errors import UsageError
from ..options import values
from ..options.decoding import DecodingConfig
from ..options.loading import LoadingConfig, split_options
from ..running.in_common import answer_in_common
from ..running.known import identity_of
from ..running.output import RUN, check_output, is_complete, write_lines
from ..running.processes import ProcessGroup
from ..running.trace_scoring import LIKELIHOODS, OPTIONS, TraceScoreRequest
from ..traces.plot import can_plot, plot
from ..traces.prefixes import DEFAULT, Prefixes, Reasoning, Shares, parse_at
from ..traces.summary import Scored, summarise
from ..traces.trace import LAYOUT, TEXTS, Trace, read_traces
from .arguments import options_of
from .chat import ChatTokenizer


logger = logging.getLogger("lm_eval.mdlm")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What is asked for on the command line."""

    traces: Path
    output: Path
    model_args: Sequence[str] = ()
    gen_kwargs: Sequence[str] = ()
    at: str = DEFAULT
    likelihood: str = "one_pass"
    labels: str | None = None
    journal: str | None = None
    batch_size: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class _Asked:
    """A trace and what is asked about it."""

    trace: Trace
    reasoning: Reasoning
    request: TraceScoreRequest

    def scored(self, score: TraceScore) -> Scored:
        """The answer, with how far each prefix goes."""
        own = self.reasoning.own
        shares = [sum(place < number for place in own) / len(own) if own else 1.0 for number in score.prefix_tokens]
        return Scored(trace=self.trace, prefix_tokens=score.prefix_tokens, log_probs=score.log_probs, shares=shares)


def score_file(options: ScoreOptions) -> str | None:
    """Score all traces and write the file, its summary and, with labels, a figure; collective.

    Returns:
        A summary in one line; None in all processes but the first.

    Raises:
        UsageError: For whatever cannot be; wherever possible before the checkpoint is loaded, and always before the
            first forward pass.
    """
    at = parse_at(options.at)
    values.choice("--likelihood", options.likelihood, LIKELIHOODS)
    check_output(options.output)
    traces = read_traces(options.traces, needs=(*TEXTS, *LAYOUT))
    if options.labels is not None:
        _check_labels(traces, options.labels)
    loading, base, gen_kwargs = _options(options)
    configs = [_config(trace, base, gen_kwargs) for trace in traces]
    group = ProcessGroup()
    backbone = load_backbone(**loading.for_backbone(group.device(loading.device)))
    asked = [_asked(backbone, trace, config, at, options) for trace, config in zip(traces, configs, strict=True)]
    return _finished(backbone, group, asked, at, loading, options)


def _check_labels(traces: Sequence[Trace], name: str) -> None:
    """Before anything is computed."""
    known = [label for trace in traces if (label := trace.label(name)) is not None]
    if not known:
        raise UsageError(f"--labels {name}: says nothing of any trace; name another label, or leave it out.")


def _options(options: ScoreOptions) -> tuple[LoadingConfig, DecodingConfig, dict[str, Any]]:
    given: dict[str, Any] = {"batch_size": "auto", **options_of("--model_args", options.model_args)}
    for name in ("journal", "batch_size", "device"):
        value = getattr(options, name)
        if value is not None:
            given[name] = value
    loading, decoding, likelihood = split_options(given)
    if likelihood:
        raise UsageError(f"{next(iter(likelihood))} in --model_args is no option of score; write --likelihood.")
    if loading.get("record_steps") is not None:
        raise UsageError("record_steps in --model_args is no option of score, which decodes nothing; leave it out.")
    gen_kwargs = options_of("--gen_kwargs", options.gen_kwargs)
    return LoadingConfig.from_options(loading), DecodingConfig.from_options(decoding), gen_kwargs


def _config(trace: Trace, base: DecodingConfig, gen_kwargs: Mapping[str, Any]) -> DecodingConfig:
    """The model's options, under those that the trace was made with, under the command line's."""
    own = trace.record.get("options") or {}
    if not isinstance(own, Mapping):
        raise trace.refused(f"'options' must be an object, got {own!r:.60}.")
    # The template of a line is as long as it was; a length beside it would say so twice.
    made_with = {name: own[name] for name in OPTIONS if name in own and name not in ("template", "gen_length")}
    try:
        config = DecodingConfig.from_options({**made_with, "template": trace.get("template")}, base=base)
        config = DecodingConfig.from_options(gen_kwargs, base=config)
        config.resolved_template()
        return config
    except UsageError as error:
        raise trace.refused(str(error)) from None


def _asked(backbone: Backbone, trace: Trace, config: DecodingConfig, at: Prefixes, options: ScoreOptions) -> _Asked:
    template, tokenizer = config.resolved_template(), backbone.tokenizer
    assert tokenizer is not None  # `for_backbone` requires one
    reasoning = Reasoning(
        trace.get("reasoning_tokens"),
        [segment.length for segment in (template.segments if template else ()) if segment.kind == "reasoning"],
        backbone.end_token_ids,
    )
    chat = ChatTokenizer(TextEncoder(tokenizer, backbone.mask_token_id), {})
    request = TraceScoreRequest(
        prompt_ids=chat.encode(trace.get("prompt"), config.add_bos_token, rendered=False).token_ids,
        config=config,
        reasoning_ids=reasoning.token_ids,
        answer=trace.get("answer"),
        prefixes=at.of(reasoning, lambda ids: tokenizer.decode(ids, skip_special_tokens=True)),
        likelihood=options.likelihood,
    )
    return _Asked(trace, reasoning, request)


def _finished(
    backbone: Backbone,
    group: ProcessGroup,
    asked: Sequence[_Asked],
    at: Prefixes,
    loading: LoadingConfig,
    options: ScoreOptions,
) -> str | None:
    """Answer and write, unless that has been done."""
    is_first = group.rank == 0
    run = _digest(backbone, asked, options.labels)
    if group.everyones(lambda: is_first and is_complete(options.output, run, len(asked)))[0]:
        return f"{options.output} was complete already" if is_first else None

    def checked() -> list[TraceScoreRequest]:
        for one in asked:
            try:
                one.request.plan(backbone)
            except UsageError as error:
                raise one.trace.refused(str(error)) from None
        return [one.request for one in asked]

    scores: list[TraceScore] = answer_in_common(
        backbone,
        checked,
        what="traces and options",
        batch_size=loading.batch_size,
        group=group,
        progress=True,
        journal=loading.journal,
    )
    scored = [one.scored(score) for one, score in zip(asked, scores, strict=True)]
    shares = at.shares if isinstance(at, Shares) else None
    said = group.everyones(lambda: _write(scored, scores, run, shares, options) if is_first else None)
    return said[0] if is_first else None


def _write(
    scored: Sequence[Scored],
    scores: Sequence[TraceScore],
    run: str,
    shares: Sequence[float] | None,
    options: ScoreOptions,
) -> str:
    """The lines, the summary and the figure; a line for the user."""
    counts = {"likelihood": options.likelihood, "nfe": sum(score.nfe for score in scores)}
    counts |= {"truncated": sum(score.truncated for score in scores)}
    summary = {**counts, **summarise(scored, shares, options.labels)}
    options.output.with_name(f"{options.output.name}.summary.json").write_text(
        json.dumps(summary, indent=2) + "\n", encoding="utf-8"
    )
    if options.labels is not None:
        if can_plot():
            plot(summary, options.output.with_name(f"{options.output.name}.png"))
        else:
            logger.warning("no figure is drawn without matplotlib; pip install 'lm-eval-mdlm[report]'.")
    write_lines(options.output, [_line(one, score, run) for one, score in zip(scored, scores, strict=True)])
    areas = [f"{one['auc']:.3f} at {one['share']:g}" for one in summary.get("at", ()) if one["auc"] is not None]
    told = f"; AUC {', '.join(areas)}" if areas else ""
    mean = f"mean score {summary['mean_score']:.3f} nats"
    return f"{options.output}: {len(scored)} traces, {mean}, nfe {counts['nfe']}{told}"


def _line(scored: Scored, score: TraceScore, run: str) -> dict[str, Any]:
    own = {
        "prefix_tokens": list(score.prefix_tokens),
        "prefix_logprobs": list(score.log_probs),
        "score": score.log_probs[-1],
    }
    return {**scored.trace.record, **own, RUN: run}


def _digest(backbone: Backbone, asked: Sequence[_Asked], labels: str | None) -> str:
    """Names everything that determines the lines and their summary."""
    head = json.dumps([identity_of(backbone), labels], sort_keys=True)
    digest = hashlib.blake2b(head.encode(), digest_size=16)
    for one in asked:
        own = [dict(one.trace.record), one.request.content()]
        digest.update(json.dumps(own, sort_keys=True).encode() + b"\0")
    return digest.hexdigest()

"""Diagnosis of a recording (`lm-eval-mdlm diagnose`): figures of the folder, and of the network at its states."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backbones.backbone import Backbone
from ..checkpoints.load import load_backbone
from ..errors import UsageError
from ..options import values
from ..options.loading import LoadingConfig, split_options
from ..recordings.diagnosis import Diagnosis, Group, WithModel, diagnosed, groups_of, told
from ..recordings.joint import factorisation_of, tightness_of
from ..recordings.reading import Recording
from ..recordings.stability import at_equal_steps, stability_of
from ..recordings.states import drawn, masked_answer, open_answers, parallel_steps
from ..recordings.steps import Steps
from ..running.diagnosis import ChainsRequest, ForesightRequest
from ..running.in_common import answer_in_common
from ..running.known import identity_of
from ..running.processes import ProcessGroup
from ..running.question import Question
from ..showing.private import public
from .arguments import options_of
from .kept_file import check_kept_file


RULES: tuple[tuple[str, float | None], ...] = (
    *(("entropy", gamma) for gamma in (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0)),
    *(("confidence", threshold) for threshold in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)),
    ("logit_gap", None),
    *(("stable", float(passes)) for passes in (1, 2, 3, 4, 6, 8, 12, 16)),
)
"""Exits that are tried; those of the paper's gamma and its neighbours' values among them."""
MUST_AGREE = (
    *("family", "grid_block", "fingerprint", "tokenizer", "adapter"),
    *("mask_token_id", "end_token_ids", "vocab_size"),
)
"""Entries of a network's identity without which a recording is another network's; dtype and device may differ."""
KIND = "mdlm_diagnosis"


@dataclass(frozen=True, kw_only=True)
class DiagnoseOptions:
    """What is asked for on the command line."""

    folder: Path
    model_args: Sequence[str] = ()
    output: Path | None = None
    states: int = 1000
    samples: int = 16
    journal: str | None = None
    batch_size: str | None = None
    device: str | None = None


def diagnose(options: DiagnoseOptions) -> list[str]:
    """Read the folder, ask the network if one is named, write the file; collective.

    Returns:
        What it says, in lines; none in all processes but the first.

    Raises:
        UsageError: For whatever cannot be; wherever possible before the checkpoint is loaded.
    """
    values.integer("--states", options.states, minimum=1)
    values.integer("--samples", options.samples, minimum=2)
    check_kept_file(options.output, KIND)
    loading = _loading(options)
    recording = Recording(options.folder)
    groups = groups_of(recording.rows())
    group = ProcessGroup()
    measured: list[WithModel | None] = [None] * len(groups)
    if loading is not None:
        backbone = load_backbone(**loading.for_backbone(group.device(loading.device)))
        _check_network(options.folder, recording.header.network, identity_of(backbone))
        measured = [_measured(backbone, own, options, loading, group) for own in groups]
    if group.rank:
        return []
    found = [diagnosed(own, with_model) for own, with_model in zip(groups, measured, strict=True)]
    if options.output is not None:
        _write(options.output, found, recording.header.network, options)
    return [line for own in found for line in told(own)]


def _loading(options: DiagnoseOptions) -> LoadingConfig | None:
    """The options of the network; None if none is named."""
    if not options.model_args:
        for name in ("journal", "batch_size", "device"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} has no effect without --model_args, by which a model is asked; add it.")
        return None
    given: dict[str, Any] = {"batch_size": "auto", **options_of("--model_args", options.model_args)}
    given |= {n: value for n in ("journal", "batch_size", "device") if (value := getattr(options, n)) is not None}
    loading, decoding, likelihood = split_options(given)
    for name in (*decoding, *likelihood, *(["record_steps"] if "record_steps" in loading else [])):
        raise UsageError(
            f"{name} in --model_args is no option of diagnose, whose rows have the options that they were recorded "
            f"with; leave it out."
        )
    return LoadingConfig.from_options(loading)


def _check_network(folder: Path, recorded: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for name in MUST_AGREE:
        if recorded.get(name) != ours.get(name):
            raise UsageError(
                f"{folder} was recorded with another network: {name} is {recorded.get(name)!r:.40} there and "
                f"{ours.get(name)!r:.40} here; name the checkpoint of that run."
            )


def _measured(
    backbone: Backbone, group: Group, options: DiagnoseOptions, loading: LoadingConfig, processes: ProcessGroup
) -> WithModel:
    """All that the network says of one group."""
    answered = [row for row in group.rows if len(row.answer_positions)]
    rules = (*_own_rule(group.options), *RULES)
    foreseen: list[Question] = [ForesightRequest.of_row(row, rules) for row in answered]
    steps = drawn(parallel_steps(group.rows), options.states)
    exits, others = open_answers(answered)
    exits = drawn(exits, options.states)
    states = [*exits, *drawn(others, options.states - len(exits))]
    asked = [
        *foreseen,
        *(_of_commits(row, step, options.samples) for row, step in steps),
        *(_of_answer(row, step, options.samples) for row, step in states),
    ]
    if not asked:
        return WithModel(factorisation=None, tightness=None, nfe=0)
    records = answer_in_common(
        backbone,
        lambda: asked,
        what="recordings and options",
        batch_size=loading.batch_size,
        group=processes,
        progress=True,
        journal=loading.journal,
    )
    found, records = records[: len(foreseen)], records[len(foreseen) :]
    ends = group.rows[0].end_token_ids
    stability = stability_of(found, rules, ends) if found else []
    own = stability[: len(rules) - len(RULES)]
    rest = stability[len(own) :]
    return WithModel(
        factorisation=factorisation_of(records[: len(steps)], [_stated(row, step) for row, step in steps]),
        tightness=tightness_of(records[len(steps) :], len(exits)),
        stability=tuple(rest),
        own_exit=own[0] if own else None,
        at_equal_steps=tuple(at_equal_steps(rest)),
        nfe=sum(record.nfe for record in (*found, *records)),
    )


def _own_rule(options: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """The exit that the rows were decoded with, if any."""
    rule, threshold = options.get("exit_rule"), options.get("exit_threshold")
    return [] if rule is None and threshold is None else [(rule or "entropy", threshold)]


def _of_commits(row: Steps, step: int, num_samples: int) -> ChainsRequest:
    own = row.of_step(step)
    order = np.argsort(row.positions[own])
    given = row.tokens[own][order].tolist()
    return ChainsRequest.of_step(row, step, row.positions[own][order].tolist(), num_samples=num_samples, given=given)


def _of_answer(row: Steps, step: int, num_samples: int) -> ChainsRequest:
    return ChainsRequest.of_step(row, step, masked_answer(row, step).tolist(), num_samples=num_samples)


def _stated(row: Steps, step: int) -> float | None:
    """What the sampler's threshold promises of a pass, nats."""
    own = row.entropy[row.of_step(step)]
    if row.options["sampler"] == "entropy_bound":
        return float(row.options["entropy_bound"])
    return float(row.options["entropy_threshold"]) * len(own) if row.options["sampler"] == "med" else None


def _write(path: Path, found: Sequence[Diagnosis], network: Mapping[str, Any], options: DiagnoseOptions) -> None:
    content = {
        KIND: 1,
        "recording": public(str(options.folder)),
        "network": dict(network),
        "states": options.states,
        "samples": options.samples,
        "groups": [own.to_plain() for own in found],
    }
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {path} cannot be written ({error.strerror}); name another.") from error

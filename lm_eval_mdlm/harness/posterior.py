"""Posterior traces of one task's documents: an evaluation's prompts, answered with the gold answers in place."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from ..errors import UsageError
from ..running.output import check_output, is_complete, write_lines
from ..running.posterior import WantedTrace, digest_of_run
from .arguments import options_of
from .failed import failed_documents
from .gold import gold_answer
from .model import MDLM
from .one_task import Split, load_task, set_seeds
from .prompts import Prompting, prompts_of


logger = logging.getLogger("lm_eval.mdlm")
MOST_LISTED = 20
"""Documents that one line names."""


@dataclass(frozen=True, kw_only=True)
class PosteriorOptions:
    """What is asked for on the command line, whose help explains each."""

    task: str
    output: Path
    model_args: Sequence[str] = ()
    gen_kwargs: Sequence[str] = ()
    metadata: Sequence[str] = ()
    split: Split = "train"
    limit: int | None = None
    include_path: str | None = None
    num_fewshot: int | None = None
    chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    """Unset: with a chat template, as in an evaluation."""
    system_instruction: str | None = None
    num_traces: int = 1
    only_failed: Sequence[Path] = ()
    metric: str = "acc"
    skip_long: bool = False
    journal: str | None = None
    batch_size: str | None = None
    device: str | None = None


def make_traces(options: PosteriorOptions, manager: TaskManager | None = None) -> str | None:
    """Sample the traces and write the file; collective.

    Args:
        options: What is wanted.
        manager: Knows the tasks; made from `include_path` and `metadata` if None.

    Returns:
        A summary in one line; None in all processes but the first.

    Raises:
        UsageError: For whatever cannot be; wherever possible before the checkpoint is loaded, and always before the
            first forward pass.
    """
    check_output(options.output)
    set_seeds()
    model_args = _model_args(options)
    gen_kwargs = options_of("--gen_kwargs", options.gen_kwargs)
    if manager is None:
        metadata = model_args | options_of("--metadata", options.metadata)
        manager = TaskManager(include_path=options.include_path, metadata=metadata)
    task = load_task(manager, options.task, options.split, num_fewshot=options.num_fewshot, gen_kwargs=gen_kwargs)
    _check_template(task, model_args)
    golds = _golds(task, options)
    model = MDLM.create_from_arg_obj(model_args, {"device": options.device})
    prompting = Prompting(
        gen_kwargs=gen_kwargs,
        chat_template=options.chat_template,
        fewshot_as_multiturn=options.fewshot_as_multiturn,
        system_instruction=options.system_instruction,
    )
    prompts = prompts_of(model, task, list(golds), prompting)
    documents = [
        WantedTrace(
            task=str(task.config.task),
            doc_id=doc_id,
            prompt=prompt,
            gold=gold,
            row=dataclasses.replace(row, answer=gold),
        )
        for (doc_id, gold), (prompt, row) in zip(golds.items(), prompts, strict=True)
    ]
    fitting = _that_fit(model, documents, skip_long=options.skip_long)
    return _finished(model, _repeated(model, fitting, options.num_traces), options, len(documents) - len(fitting))


def _model_args(options: PosteriorOptions) -> dict[str, Any]:
    given = options_of("--model_args", options.model_args)
    for name, value in (("journal", options.journal), ("batch_size", options.batch_size)):
        if value is not None and str(given.setdefault(name, value)) != value:
            raise UsageError(f"--{name} {value} and {name}={given[name]} in --model_args differ; leave one out.")
    return {"batch_size": "auto", **given}


def _check_template(task: Any, model_args: Mapping[str, Any]) -> None:
    """Early, on the template as it is written; what is wrong inside it is found when it is read."""
    template = (task.get_config("generation_kwargs") or {}).get("template", model_args.get("template"))
    if template in (None, "null", "none", "None"):
        raise UsageError(
            f"{task.config.task} has no template, so there is no place for a given answer; add one with --gen_kwargs, "
            f"or name a task that has one."
        )
    if not isinstance(template, list):
        return
    kinds = [kind for segment in template if isinstance(segment, Mapping) for kind in segment]
    for kind, rule in (("answer", "exactly one"), ("reasoning", "at least one")):
        number = kinds.count(kind)
        if number == 0 or (kind == "answer" and number > 1):
            raise UsageError(
                f"{task.config.task}: a posterior trace needs {rule} {kind} segment in the template, and this one has "
                f"{number}; change the template."
            )


def _golds(task: Any, options: PosteriorOptions) -> dict[int, str]:
    """The gold answers of the documents to make traces of, by number, ascending."""
    docs = task.eval_docs
    name = str(task.config.task)
    chosen: Sequence[int] = range(len(docs))
    if options.only_failed:
        chosen = failed_documents(options.only_failed, options.metric, name, docs)
        if not chosen:
            raise UsageError(f"--only_failed: no document has {options.metric} 0 in these files; nothing to do.")
    found = {doc_id: gold_answer(task, docs[doc_id]) for doc_id in chosen[: options.limit]}
    if without := [doc_id for doc_id, gold in found.items() if gold is None]:
        raise UsageError(
            f"{name}: {len(without)} of {len(found)} documents have no gold answer ({_listed(without)}); name it in "
            f'the task\'s YAML or by --metadata: {{"gold_answer": "{{{{answer}}}}"}}.'
        )
    return {doc_id: gold for doc_id, gold in found.items() if gold is not None}


def _that_fit(model: MDLM, wanted: Sequence[WantedTrace], *, skip_long: bool) -> list[WantedTrace]:
    """Those whose answers fit their segment; UsageError if others are not to be left out."""
    excess = {one.doc_id: words for one in wanted if (words := one.excess(model.backbone))}
    fitting = [one for one in wanted if one.doc_id not in excess]
    if not excess:
        return fitting
    what = (
        f"{wanted[0].task}: the answers of {len(excess)} of {len(wanted)} documents do not fit the template's answer "
        f"segment: {_listed(list(excess.values()))}"
    )
    if not skip_long or not fitting:
        raise UsageError(f"{what}; make the segment longer, or leave them out with --skip_long.")
    if model.rank == 0:
        logger.warning("%s; they are left out.", what)
    return fitting


def _repeated(model: MDLM, wanted: Sequence[WantedTrace], num_traces: int) -> list[WantedTrace]:
    """All traces of every document, which is planned once with its answer."""
    for one in wanted:
        try:
            one.row.plan(model.backbone)
        except UsageError as error:
            raise UsageError(f"{one.task}, document {one.doc_id}: {error}") from None
    if num_traces > 1 and not wanted[0].row.config.draws and model.rank == 0:
        logger.warning("all traces of a document are the same, since nothing is drawn; set a temperature above 0.")
    return [
        dataclasses.replace(one, row=dataclasses.replace(one.row, repeat=number))
        for one in wanted
        for number in range(num_traces)
    ]


def _finished(model: MDLM, wanted: Sequence[WantedTrace], options: PosteriorOptions, skipped: int) -> str | None:
    """Answer, score and write, unless that has been done."""
    processes = model.processes
    runs = processes.everyones(lambda: digest_of_run(model.backbone, wanted))
    if any(run != runs[0] for run in runs):
        raise UsageError("the processes were given different documents, options or checkpoints; start all alike.")
    is_first = model.rank == 0
    done = processes.everyones(lambda: is_first and is_complete(options.output, runs[0], len(wanted)))[0]
    nfe = 0
    if not done:
        generations = model.answered_together([one.row for one in wanted])
        asked = [one.score_request(model.backbone, own) for one, own in zip(wanted, generations, strict=True)]
        scores = model.answered_together(asked)
        lines = (
            one.line(model.backbone, own, score, runs[0])
            for one, own, score in zip(wanted, generations, scores, strict=True)
        )
        processes.everyones(lambda: write_lines(options.output, lines) if is_first else None)
        nfe = sum(own.nfe for own in (*generations, *scores))
    documents = len({one.doc_id for one in wanted})
    left_out = f", {skipped} left out as their answers do not fit" if skipped else ""
    state = "was complete already" if done else f"nfe {nfe}"
    summary = f"{options.output}: {len(wanted)} traces of {documents} documents of {wanted[0].task}{left_out}; {state}"
    return summary if is_first else None


def _listed(items: Sequence[Any]) -> str:
    more = len(items) - MOST_LISTED
    return ", ".join(map(str, items[:MOST_LISTED])) + (f" and {more} more" if more > 0 else "")

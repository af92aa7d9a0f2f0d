"""The tasks of a run as it would set them up, and all that they ask of the model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.tasks import TaskManager

from ...backbones.one_line import in_one_line
from ...errors import UsageError
from ...running.question import Question
from ..model import MDLM
from ..one_task import set_up
from ..prompts import Prompting
from ..run import Run


@dataclass(frozen=True, kw_only=True)
class Asked:
    """All requests of one task and of one type."""

    task: Any
    kind: str
    requests: Sequence[Any]
    questions: Sequence[Question]
    documents: int
    options: Mapping[str, Any]
    """That have an effect, as the results file will have them."""
    writing_seconds: float
    """That its documents took to become requests."""
    checking_seconds: float
    """That the requests took to become questions; a run counts it among its answers' time."""

    @property
    def name(self) -> str:
        """Of the task."""
        return str(self.task.config.task)


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What the command line says of tasks."""

    prompting: Prompting
    limit: float | None
    num_fewshot: int | None
    runs_unsafe_code: bool


def loaded(manager: TaskManager, name: str, settings: TaskSettings) -> list[Any]:
    """A task, or those of a group or tag, set up as in an evaluation.

    Raises:
        UsageError: If a task cannot be loaded, for whatever reason its code or its data give, or would be refused.
    """
    try:
        tasks = list(manager.load([name])["tasks"].values())
    except UsageError:
        raise
    except Exception as error:  # of the task's own code, its data set's or the hub's
        raise UsageError(f"--tasks {name} cannot be loaded: {in_one_line(error)}") from error
    for task in tasks:
        set_up(task, num_fewshot=settings.num_fewshot, gen_kwargs=settings.prompting.gen_kwargs)
        if getattr(task, "UNSAFE_CODE", False) and not settings.runs_unsafe_code:
            raise UsageError(f"{task.config.task} runs code that the model wrote; add --confirm_run_unsafe_code.")
    return tasks


def asked(model: MDLM, run: Run, task: Any, settings: TaskSettings, clock: Callable[[], float]) -> Iterator[Asked]:
    """What a task asks, by type of request; the clock times how long it takes to find out.

    Raises:
        UsageError: If its documents, prompts or options cannot be.
    """
    started = clock()
    _build(model, task, settings)
    took = clock() - started
    by_kind: dict[str, list[Any]] = {}
    for request in task.instances:
        by_kind.setdefault(request.request_type, []).extend([request] * (request.repeats or 1))
    documents = len({request.doc_id for request in task.instances})
    for kind, requests in by_kind.items():
        started = clock()
        posed = model.posed(requests, run)
        yield Asked(
            task=task,
            kind=kind,
            requests=[requests[one.indices[0]] for one in posed],
            questions=[one.question for one in posed],
            documents=documents,
            options=run.record()["decoding_by_task"].get(str(task.config.task), {}),
            writing_seconds=took,
            checking_seconds=clock() - started,
        )
        took = 0.0


def _build(model: MDLM, task: Any, settings: TaskSettings) -> None:
    prompting = settings.prompting
    source, multiturn = prompting.chat_template, prompting.fewshot_as_multiturn
    try:
        task.build_all_requests(
            limit=_number(settings.limit, task),
            system_instruction=prompting.system_instruction,
            apply_chat_template=bool(source),
            fewshot_as_multiturn=bool(source) if multiturn is None else multiturn,
            chat_template=model.apply_chat_template if source else None,
        )
    except UsageError:
        raise
    except Exception as error:  # of the task's own code
        raise UsageError(f"{task.config.task}: its requests cannot be written: {in_one_line(error)}") from error


def _number(limit: float | None, task: Any) -> int | None:
    """Documents, as the harness reads `--limit`: below 1 it is a share."""
    if limit is None:
        return None
    return math.ceil(len(task.eval_docs) * limit) if limit < 1 else int(limit)

"""The examination: checks in the order in which a run would fail, each of them whatever became of the others."""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from ...errors import UsageError
from ...running.processes import ProcessGroup
from ...running.sizes import Size, Sizes
from ..evaluation import Started, evaluating
from ..kept_file import check_kept_file
from ..model import MDLM
from ..provenance import device_name
from .asking import Asked, TaskSettings, asked, loaded
from .estimate import KIND, Estimate, duration
from .findings import Findings
from .fitting import tell_golds, tell_prompts
from .machine import tell_device, tell_versions
from .measuring import Trying, kinds_of, measured
from .network import tell_detected, tell_figures, tell_kernels
from .preparing import DoctorOptions, Found, check_names, load, read_options


def examine(
    options: DoctorOptions,
    say: Callable[[str], None] = print,
    clock: Callable[[], float] = time.perf_counter,
) -> bool:
    """Look at everything that can be looked at.

    Args:
        options: What is wanted.
        say: Takes each line as it is found.
        clock: Gives the seconds by which everything is timed.

    Returns:
        Whether a run with these options would get to its results.

    Raises:
        UsageError: For what no run would be asked: an output that cannot be written, more than one process.
    """
    check_kept_file(options.output, KIND)
    if ProcessGroup().world_size > 1:
        raise UsageError("doctor runs in one process; start it without a launcher.")
    findings, found = Findings(say), Found(clock)
    with findings.section("versions"):
        tell_versions(findings)
    with findings.section("options"):
        read_options(findings, options, found)
    if options.tasks:
        with findings.section("tasks"):
            check_names(findings, options, found)
    with findings.section("checkpoint"):
        load(findings, options, found)
    if found.model is not None:
        _tell_model(findings, found.model)
        if options.tasks and found.options_are_good and found.settings and found.manager:
            _examine_tasks(findings, options, found, found.model)
    if findings.failed:
        say("A run would fail for what is marked `fail`.")
    return not findings.failed


def _tell_model(findings: Findings, model: MDLM) -> None:
    backbone = model.backbone
    with findings.section("device"):
        tell_device(findings, backbone.device)
    with findings.section("kernels"):
        tell_kernels(findings, backbone)
    with findings.section("detected"):
        tell_detected(findings, backbone)
    with findings.section("probe"):
        tell_figures(findings, backbone)


def _examine_tasks(findings: Findings, options: DoctorOptions, found: Found, model: MDLM) -> None:
    settings, manager = found.settings, found.manager
    assert settings is not None and manager is not None
    tasks: list[Any] = []
    with findings.section("data of the tasks"):
        names = [name for name in options.tasks if name in manager.all_tasks or Path(name).is_file()]
        for name in names:
            tasks += _loaded(findings, manager, name, settings, {str(task.config.task) for task in tasks})
    started = Started(
        gen_kwargs=settings.prompting.gen_kwargs,
        chat_template=settings.prompting.chat_template,
        tasks=tuple(tasks),
    )
    all_asked: list[Asked] = []
    sizes: dict[int, list[Size]] = {}
    with _evaluation(findings, model, started) as run:
        for task in tasks if run is not None else ():
            with findings.section(f"task {task.config.task}"):
                for one in asked(model, run, task, settings, found.clock):
                    sizes[len(all_asked)] = _tell_asked(findings, model, one)
                    all_asked.append(one)
    if all_asked:
        with findings.section("time and memory of a whole run"):
            _estimate(findings, options, found, model, all_asked, sizes)


def _loaded(
    findings: Findings, manager: TaskManager, name: str, settings: TaskSettings, known: Container[str]
) -> list[Any]:
    """Tasks of this name that are not known yet; none, and a line, where they cannot be loaded."""
    try:
        tasks = loaded(manager, name, settings)
    except UsageError as error:
        findings.fail(str(error))
        return []
    findings.ok(f"{name}: {', '.join(str(task.config.task) for task in tasks)}")
    return [task for task in tasks if str(task.config.task) not in known]


@contextmanager
def _evaluation(findings: Findings, model: MDLM, started: Started) -> Iterator[Any]:
    """A run; None, and a line, where it cannot be begun."""
    try:
        opened = evaluating(model, started)
        run = opened.__enter__()
    except UsageError as error:
        findings.fail(str(error))
        yield None
        return
    try:
        yield run
    finally:
        opened.__exit__(None, None, None)


def _tell_asked(findings: Findings, model: MDLM, one: Asked) -> list[Size]:
    of = Sizes(model.backbone)
    sizes = [of.of(question) for question in one.questions]
    findings.ok(f"{one.documents} documents, {len(one.questions)} requests, {one.kind}")
    if sizes:
        tell_prompts(findings, model.backbone, one, sizes)
        tell_golds(findings, model.backbone, one)
    return sizes


def _estimate(
    findings: Findings,
    options: DoctorOptions,
    found: Found,
    model: MDLM,
    all_asked: Sequence[Asked],
    sizes: Mapping[int, Sequence[Size]],
) -> None:
    kinds = kinds_of(all_asked, sizes)
    trying = Trying(number=options.sample, most_seconds=options.seconds, clock=found.clock)
    bill = measured(findings, model, kinds, trying)
    backbone = model.backbone
    estimate = Estimate(
        tasks=bill.tasks,
        load_seconds=found.load_seconds,
        prepare_seconds=sum(one.writing_seconds for one in all_asked),
        answer_seconds=bill.seconds + sum(one.checking_seconds for one in all_asked),
        relative_error=bill.relative_error,
        passes=bill.passes,
        peak_bytes=bill.peak,
        peak_of="GPU" if backbone.device.type == "cuda" else "process",
        batch_size=model.loading.batch_size,
        device_name=device_name(backbone.device),
        fingerprint=str(backbone.description["fingerprint"]),
    )
    findings.ok(
        f"answers: {duration(estimate.answer_seconds)} ± {estimate.relative_error:.0%} in {estimate.passes} passes "
        f"(batch_size={estimate.batch_size}, one process)"
    )
    findings.ok(
        f"before them: loading {duration(estimate.load_seconds)}, writing requests "
        f"{duration(estimate.prepare_seconds)}; the start of Python and the scoring of answers come on top"
    )
    if options.output is not None:
        estimate.write(options.output)
        findings.ok(f"kept in {options.output}: after the run, doctor --compare {options.output} --results DIR")

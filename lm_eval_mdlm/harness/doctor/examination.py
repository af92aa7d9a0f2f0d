"""The examination: checks in the order in which a run would fail, each of them whatever became of the others."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from ...errors import UsageError
from ...options.decoding import DecodingConfig
from ...options.likelihood import LikelihoodConfig
from ...options.loading import LoadingConfig, split_options
from ...running.processes import ProcessGroup
from ...running.trial import Size, Sizes
from ..arguments import options_of
from ..evaluation import Started, evaluating
from ..model import MDLM
from ..one_task import check_known, set_seeds
from ..prompts import Prompting
from ..provenance import device_name
from .asking import Asked, TaskSettings, asked, loaded
from .estimate import Estimate, check_output, duration
from .findings import Findings
from .fitting import tell_golds, tell_prompts
from .machine import tell_device, tell_versions
from .measuring import kinds_of, measured
from .network import tell_detected, tell_figures, tell_kernels


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What is asked for on the command line, whose help explains each."""

    model_args: Sequence[str]
    tasks: Sequence[str] = ()
    gen_kwargs: Sequence[str] = ()
    metadata: Sequence[str] = ()
    batch_size: str | None = None
    device: str | None = None
    num_fewshot: int | None = None
    limit: float | None = None
    include_path: str | None = None
    chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    confirm_run_unsafe_code: bool = False
    sample: int | None = None
    seconds: float = 60.0
    output: Path | None = None


@dataclass
class _Found:
    """What later checks need of earlier ones; None where those have failed."""

    given: dict[str, Any] = field(default_factory=dict)
    settings: TaskSettings | None = None
    manager: TaskManager | None = None
    model: MDLM | None = None
    load_seconds: float = 0.0
    options_are_good: bool = False
    can_load: bool = False


def examine(options: DoctorOptions, say: Callable[[str], None] = print) -> bool:
    """Look at everything that can be looked at; says each line as it is found.

    Returns:
        Whether a run with these options would get to its results.

    Raises:
        UsageError: For what no run would be asked: an output that cannot be written, more than one process.
    """
    check_output(options.output)
    if ProcessGroup().world_size > 1:
        raise UsageError("doctor runs in one process; start it without a launcher.")
    findings, found = Findings(say), _Found()
    with findings.section("versions"):
        tell_versions(findings)
    with findings.section("options"):
        _read_options(findings, options, found)
    if options.tasks:
        with findings.section("tasks"):
            _check_names(findings, options, found)
    with findings.section("checkpoint"):
        _load(findings, options, found)
    if found.model is not None:
        _tell_model(findings, found.model)
        if options.tasks and found.options_are_good and found.settings and found.manager:
            _examine_tasks(findings, options, found, found.model)
    if findings.failed:
        say("A run would fail for what is marked `fail`.")
    return not findings.failed


def _read_options(findings: Findings, options: DoctorOptions, found: _Found) -> None:
    found.given = options_of("--model_args", options.model_args)
    harness = {"batch_size": options.batch_size, "device": options.device}
    found.given = {**{name: value for name, value in harness.items() if value is not None}, **found.given}
    names = LoadingConfig.__dataclass_fields__
    checked = LoadingConfig.from_options({n: value for n, value in found.given.items() if n in names})
    found.can_load = True
    gen_kwargs = options_of("--gen_kwargs", options.gen_kwargs)
    found.settings = TaskSettings(
        prompting=Prompting(
            gen_kwargs=gen_kwargs,
            chat_template=options.chat_template,
            fewshot_as_multiturn=options.fewshot_as_multiturn,
            system_instruction=options.system_instruction,
        ),
        limit=options.limit,
        num_fewshot=options.num_fewshot,
        runs_unsafe_code=options.confirm_run_unsafe_code,
    )
    _, decoding, likelihood = split_options(found.given)
    config = DecodingConfig.from_options(decoding)
    LikelihoodConfig.from_options(likelihood).scorer(config)
    found.options_are_good = True
    findings.ok(", ".join(f"{name}={value}" for name, value in found.given.items()))
    for line in checked.without_effect(config):
        findings.warn(line)


def _check_names(findings: Findings, options: DoctorOptions, found: _Found) -> None:
    metadata = found.given | options_of("--metadata", options.metadata)
    manager = TaskManager(include_path=options.include_path, metadata=metadata)
    for name in options.tasks:
        try:
            check_known(manager, name)
        except UsageError as error:
            findings.fail(str(error))
        else:
            findings.ok(f"{name} is known")
            found.manager = manager


def _load(findings: Findings, options: DoctorOptions, found: _Found) -> None:
    """With the options of loading alone where others are wrong, which has been said already."""
    if not found.can_load:
        findings.warn("not looked at, since the options do not say how to load it")
        return
    set_seeds()
    given: Mapping[str, Any] = found.given
    if not found.options_are_good:
        names = LoadingConfig.__dataclass_fields__
        given = {name: value for name, value in given.items() if name in names}
    # A journal or a recording would be begun, and neither says anything here.
    given = {name: value for name, value in given.items() if name not in ("journal", "record_steps")}
    started = time.perf_counter()
    found.model = MDLM.create_from_arg_obj(dict(given))
    found.load_seconds = time.perf_counter() - started
    description = found.model.backbone.description
    findings.ok(f"{description['pretrained']} was loaded in {duration(found.load_seconds)}")


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


def _examine_tasks(findings: Findings, options: DoctorOptions, found: _Found, model: MDLM) -> None:
    settings, manager = found.settings, found.manager
    assert settings is not None and manager is not None
    tasks: list[Any] = []
    with findings.section("data of the tasks"):
        names = [name for name in options.tasks if name in manager.all_tasks or Path(name).is_file()]
        tasks = loaded(manager, names, settings)
        findings.ok(f"{len(tasks)} tasks were loaded: {', '.join(str(task.config.task) for task in tasks)}")
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
                for one in asked(model, run, task, settings):
                    sizes[len(all_asked)] = _tell_asked(findings, model, one)
                    all_asked.append(one)
    if all_asked:
        with findings.section("time and memory of a whole run"):
            _estimate(findings, options, found, model, all_asked, sizes)


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
    found: _Found,
    model: MDLM,
    all_asked: Sequence[Asked],
    sizes: Mapping[int, Sequence[Size]],
) -> None:
    kinds = kinds_of(all_asked, sizes)
    bill = measured(findings, model, kinds, number=options.sample, most_seconds=options.seconds)
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

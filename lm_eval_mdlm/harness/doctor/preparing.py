"""What every later check needs: options, the names of tasks, the model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from ...errors import UsageError
from ...options.decoding import DecodingConfig
from ...options.likelihood import LikelihoodConfig
from ...options.loading import LoadingConfig, split_options
from ..arguments import options_of
from ..model import MDLM
from ..one_task import check_known, set_seeds
from ..prompts import Prompting
from .asking import TaskSettings
from .estimate import duration
from .findings import Findings


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
class Found:
    """What later checks need of earlier ones; None where those have failed."""

    clock: Callable[[], float]
    given: dict[str, Any] = field(default_factory=dict)
    settings: TaskSettings | None = None
    manager: TaskManager | None = None
    model: MDLM | None = None
    load_seconds: float = 0.0
    options_are_good: bool = False
    can_load: bool = False


def read_options(findings: Findings, options: DoctorOptions, found: Found) -> None:
    """All of them; UsageError for the first that is wrong."""
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


def check_names(findings: Findings, options: DoctorOptions, found: Found) -> None:
    """Of the tasks; nothing of theirs is loaded."""
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


def load(findings: Findings, options: DoctorOptions, found: Found) -> None:
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
    started = found.clock()
    found.model = MDLM.create_from_arg_obj(dict(given))
    found.load_seconds = found.clock() - started
    description = found.model.backbone.description
    findings.ok(f"{description['pretrained']} was loaded in {duration(found.load_seconds)}")

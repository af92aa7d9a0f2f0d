"""Runs every cell of a sweep with one model, and keeps what each gave: results and samples as lm_eval writes them."""

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from ..errors import UsageError
from ..files import only_a_file
from ..options.decoding import DecodingConfig
from ..options.values import number
from ..running.room import check_takes
from ..showing.private import public
from ..showing.visible import visible
from .cells import write_table
from .model import MDLM
from .sweep_config import Cell, Prompt, SweepConfig, ways_of_one_seed


logger = logging.getLogger("lm_eval.mdlm")
IDENTITY_FILE = "sweep.json"
UNFINISHED = ".part"
JOURNAL = "journal"
"""Folder of a sweep's finished requests."""


@dataclass(frozen=True)
class Outcome:
    """What became of a sweep."""

    finished: int
    """Cells whose results are there, those of earlier runs included."""
    failed: Mapping[str, str]
    """Names of the others, and why."""
    is_told_here: bool = True
    """Whether this process, of several, is the one that says so."""


@dataclass(frozen=True)
class Share:
    """Every n-th cell of a sweep, so that n runs at a time, on machines that share a disk or not, make all of them."""

    number: int = 1
    """From 1 on."""
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(f"--share must be from 1/{self.of} to {self.of}/{self.of}, got {self.number}/{self.of}.")

    @property
    def journal(self) -> str:
        """Name of the folder for its finished requests."""
        return JOURNAL if self.of == 1 else f"{JOURNAL}_{self.number}_of_{self.of}"


WHOLE = Share()


def run_sweep(config: SweepConfig, output: Path, share: Share = WHOLE) -> Outcome:
    """Run all cells that are not finished, and write `cells.csv` and `cells.parquet` of those that are.

    Under a launcher it is collective. A run that was ended goes on where it was.

    Args:
        config: The sweep.
        output: Its folder, new or of the same sweep.
        share: The cells that this run is for. Less than the whole writes no table: others may be at work.

    Raises:
        UsageError: If the folder is another sweep's, a task is not known, or a wording does not fit its documents.
    """
    manager = TaskManager(include_path=config.include_path, metadata={**config.model_args, **config.metadata})
    _check_tasks(config, manager)
    model = MDLM.create_from_arg_obj(
        {"journal": str(output / share.journal), **config.model_args},
        {"batch_size": config.batch_size, "device": config.device},
    )
    model.processes.everyones(lambda: _claim(config, output) if model.rank == 0 else None)
    tasks_draw = _have_temperature(config, manager)
    cells = config.cells(lambda options: _draws(model.config, options, tasks_draw))[share.number - 1 :: share.of]
    failed: dict[str, str] = {}
    # As process 0 sees it: the others may look at another disk.
    done = model.processes.everyones(lambda: [cell for cell in cells if cell.folder(output).is_dir()])[0]
    if model.rank == 0 and len(config.seeds) > 1 and (same := ways_of_one_seed(cells)):
        logger.warning("%d ways to decode draw nothing and run with seed %d alone.", same, config.seeds[0])
    # A damaged one is told before any pass is run.
    has_table = model.rank == 0 and share == WHOLE
    model.processes.everyones(lambda: write_table(output, done) if has_table and done else None)
    progress = _Progress(len(cells), len(done))
    for cell in cells:
        if cell not in done:
            progress.begins(cell, shown=model.rank == 0)
            try:
                _run_cell(config, manager, model, cell, cell.folder(output))
            except Exception as error:  # whatever ends one cell is told, and the others go on
                model.processes.fail_with(error)  # a task's code may have raised in this process alone
                failed[cell.name] = f"{type(error).__name__}: {error}".splitlines()[0]
                logger.error("cell %s failed: %s", cell.name, visible(failed[cell.name]))
            progress.ended(shown=model.rank == 0)
    if has_table and len(failed) < len(cells):
        write_table(output, [cell for cell in cells if cell.name not in failed])
    return Outcome(len(cells) - len(failed), failed, is_told_here=model.rank == 0)


def _claim(config: SweepConfig, output: Path) -> None:
    """Make the folder this sweep's; UsageError if it is another's, or takes nothing, begun or not."""
    own = public(json.loads(json.dumps(config.identity)))
    file = output / IDENTITY_FILE
    begun = file.is_file()
    if begun:
        try:
            theirs = json.loads(file.read_text())
        except (OSError, ValueError, RecursionError):
            raise UsageError(f"--output {output}: {IDENTITY_FILE} is damaged; name another folder.") from None
        different = [name for name in own if not isinstance(theirs, dict) or public(theirs.get(name)) != own[name]]
        if different:
            raise UsageError(f"--output {output} belongs to a sweep with another {different[0]}; name another folder.")
    # Another share may be about to claim it.
    elif output.is_dir() and any(found.suffix != UNFINISHED for found in output.iterdir()):
        raise UsageError(f"--output {output} holds something, and no sweep; name another folder, or an empty one.")
    check_takes(output, f"--output {output}")
    if begun:
        return
    try:
        unfinished = file.with_suffix(f".{os.getpid()}{UNFINISHED}")
        unfinished.write_text(json.dumps(own, indent=1))
        unfinished.replace(file)
    except OSError as error:
        raise UsageError(
            f"--output {output} cannot be written: {error.strerror}; make room, or name another."
        ) from None


def _check_tasks(config: SweepConfig, manager: TaskManager) -> None:
    """UsageError for a task that is not known, or a wording that its documents cannot fill in."""
    for name in config.tasks:
        if name not in manager.all_tasks:
            raise UsageError(f"tasks: {name} is not known; correct it, or add its folder by include_path.")
    for prompt in config.prompts:
        for name in prompt.by_task:
            task = _worded(manager, prompt, name)
            try:
                task.doc_to_text(next(iter(task.eval_docs)))
            except Exception as error:  # an expression in a template may raise whatever Python can
                raise UsageError(
                    f"prompts, {prompt.name}: the documents of {name} cannot fill in the wording: {error}; correct it."
                ) from None


def _have_temperature(config: SweepConfig, manager: TaskManager) -> bool:
    """Whether a task samples by its own settings."""
    for name, task in manager.load(list(config.tasks))["tasks"].items():
        own = task.get_config("generation_kwargs") or {}
        if number(f"{name}, temperature", own.get("temperature") or 0) > 0:
            return True
    return False


def _draws(base: DecodingConfig, options: Mapping[str, Any], tasks_draw: bool) -> bool:
    """Whether seeds can matter, as far as options and tasks tell beforehand."""
    return DecodingConfig.from_options(options, base).draws or (tasks_draw and "temperature" not in options)


def _run_cell(config: SweepConfig, manager: TaskManager, model: MDLM, cell: Cell, folder: Path) -> None:
    """One run of the harness. Its folder appears as a whole once all its files are written."""
    unfinished = folder.with_name(f"{folder.name}{UNFINISHED}")
    shutil.rmtree(unfinished, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(unfinished))
    model_args = dict(config.model_args)
    if steps := model_args.get("record_steps"):  # a recording is of one run, and every cell is one
        model_args["record_steps"] = str(Path(str(steps)) / cell.name)
        model.loading = replace(model.loading, record_steps=model_args["record_steps"])
    results = simple_evaluate(
        model=model,
        model_args=model_args,
        tasks=[_worded(manager, cell.prompt, name) if name in cell.prompt.by_task else name for name in config.tasks],
        num_fewshot=cell.num_fewshot,
        limit=config.limit,
        # A temperature that the sweep names is meant; without this it has no effect on tasks with `do_sample: false`.
        gen_kwargs={**({"do_sample": True} if cell.options.get("temperature") else {}), **cell.options},
        task_manager=manager,
        system_instruction=cell.prompt.system_instruction,
        apply_chat_template=config.apply_chat_template,
        torch_random_seed=cell.seed,
        log_samples=True,
        evaluation_tracker=tracker,
        confirm_run_unsafe_code=config.confirm_run_unsafe_code,
    )
    # Process 0 alone has them and writes. Where it cannot, the cell has failed in all: they go on to the next together.
    model.processes.everyones(lambda: None if results is None else _keep(results, cell, tracker, unfinished, folder))


def _keep(results: dict[str, Any], cell: Cell, tracker: EvaluationTracker, unfinished: Path, folder: Path) -> None:
    samples = results.pop("samples")
    results["mdlm_cell"] = public(cell.content)
    tracker.save_results_aggregated(results=results, samples=samples)
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])
    # The harness says of a full disk no more than a line, and leaves what it could write.
    wanted = [1, sum(len(samples[name]) for name in results["configs"])]
    if [_whole(unfinished, "results_*.json"), _whole(unfinished, "samples_*.jsonl", lines=True)] != wanted:
        raise UsageError(f"results could not be written to {unfinished}; make room there and run it again.")
    if failed := results["config"]["mdlm"]["failed_rows"]:
        raise UsageError(
            f"the network returned no numbers for {failed} rows: what there is stands in {unfinished}, and the same "
            f"command runs them again."
        )
    unfinished.replace(folder)


def _whole(folder: Path, pattern: str, *, lines: bool = False) -> int:
    """How many whole values of JSON stand in the files, one in each or one on each line."""
    try:
        texts = [only_a_file(path).read_text(encoding="utf-8") for path in folder.rglob(pattern)]
        parts = [part for text in texts for part in (text.split("\n") if lines else [text])]
        return len([json.loads(part) for part in parts if part])
    except (OSError, ValueError):
        return 0


def _worded(manager: TaskManager, prompt: Prompt, name: str) -> Any:
    """The task with the prompt's wording, in its shots too; UsageError for a group."""
    tasks = list(manager.load([name])["tasks"].values())
    if len(tasks) != 1:
        raise UsageError(
            f"prompts, {prompt.name}: {name} holds {len(tasks)} tasks, and a wording is one task's; list them as tasks."
        )
    (task,) = tasks
    text = prompt.by_task[name]
    if task.fewshot_cfg.doc_to_text == task.config.doc_to_text:
        task.fewshot_cfg.doc_to_text = text
    task.set_config(key="doc_to_text", value=text)
    return task


class _Progress:
    """A line when a cell begins: how many there are, and how long all will take."""

    def __init__(self, num_cells: int, num_done: int) -> None:
        self._all, self._done, self._seconds = num_cells, num_done, list[float]()

    def begins(self, cell: Cell, *, shown: bool) -> None:
        self._started = time.monotonic()
        left = self._all - self._done
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else None
        about = "" if mean is None else f", about {mean * left / 60:.0f} min left"
        if shown:
            print(f"cell {self._done + 1} of {self._all}{about}: {cell.name}", flush=True)

    def ended(self, *, shown: bool) -> None:
        self._seconds.append(time.monotonic() - self._started)
        self._done += 1

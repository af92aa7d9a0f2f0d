"""One base and all that is made of it: every stage is found on disk or computed."""

import dataclasses
import functools
import json
import logging
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...backbones.backbone import Backbone
from ...checkpoints.load import load_backbone
from ...harness.trace_scores import ScoreOptions, score_file
from ...training.config import TrainingConfig
from ...training.run import RECORD, train
from ..prepare import write_lines
from .arms import Arm, Material
from .data import data_settings, prepare, read_lines
from .parts import AREAS, BASE, arm_of, tuning_of
from .settings import DECODING, Settings
from .solving import solve, traces
from .stages import Stages


KINDS = {"posterior": True, "own": False}
"""Files of traces, and whether the answer was given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """A base in a folder of its own."""

    settings: Settings
    seed: int
    folder: Path
    cpu: bool
    workers: int
    """Processes that prepare batches of the base; the arms, with fewer rows a step, have one at most."""

    def run(self, part: str) -> None:
        """Compute one part, unless it is there; `BASE` has to come before the others."""
        if part == BASE:
            self._make_base()
        elif part == AREAS:
            self._stages.result(AREAS, self._until_traces, self._find_areas)
        else:
            arm = arm_of(part)
            tuning = tuning_of(self.settings, arm)
            known = {**self._until_traces, "tuning": tuning}
            self._stages.result(part, known, lambda: self._run_arm(arm, tuning))

    @functools.cached_property
    def _stages(self) -> Stages:
        return Stages(self.folder)

    @property
    def _data(self) -> dict[str, Any]:
        """What the data depend on, and so on below."""
        return data_settings(self.settings, self.seed)

    @property
    def _until_traces(self) -> dict[str, Any]:
        return {**self._data, "base": dict(self.settings.base), "decoding": DECODING}

    def _make_base(self) -> None:
        self._stages.result("data", self._data, lambda: prepare(self.settings, self.seed, self.folder))
        start = {"from_scratch": str(self.folder / "start"), "data": str(self.folder / "corpus.jsonl")}
        options = {**start, **self.settings.base}
        self._stages.result(
            BASE, {**self._data, "base": dict(self.settings.base)}, lambda: self._trained(BASE, options)
        )
        self._stages.result("greedy", self._until_traces, self._solve_greedily)
        self._stages.result("traces", self._until_traces, self._sample_traces)

    def _trained(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Train into a folder, or go on there."""
        out = self.folder / name
        resume = (out / RECORD).exists()
        if out.exists() and not resume:
            shutil.rmtree(out)
        workers = self.workers if name == BASE else min(self.workers, 1)
        config = TrainingConfig(out=str(out), seed=self.seed, cpu=self.cpu, workers=workers, resume=resume, **options)
        return {name: round(value, 4) for name, value in train(config).items()}

    @functools.cached_property
    def _backbone(self) -> Backbone:
        return self._loaded("base")

    def _loaded(self, name: str) -> Backbone:
        logging.getLogger("lm_eval_mdlm").setLevel(logging.ERROR)
        return load_backbone(str(self.folder / name), device="cpu" if self.cpu else None)

    def _solve_greedily(self) -> dict[str, Any]:
        """The problems, of which some will fail, and those that the gate looks at."""
        found = {name: solve(self._backbone, self._read(name)) for name in ("problems", "development")}
        write_lines(self.folder / "greedy.jsonl", found["problems"])
        return {name: _shares(one) for name, one in found.items()}

    def _sample_traces(self) -> dict[str, Any]:
        """Traces of all problems; and how many are right, of all and of those that greedy decoding fails."""
        problems = self._read("problems")
        failed = [not one["hit"] for one in self._read("greedy")]
        shares: dict[str, Any] = {"failed": sum(failed)}
        for name, given in KINDS.items():
            lines = traces(self._backbone, problems, given=given, seed=self.seed)
            of_failed = [line for line, was in zip(lines, failed, strict=True) if was]
            write_lines(self.folder / f"{name}.jsonl", lines)
            write_lines(self.folder / f"{name}_of_failed.jsonl", of_failed)
            shares[name] = {"all": _shares(lines), "failed": _shares(of_failed)}
        return shares

    def _find_areas(self) -> dict[str, Any]:
        """How well the answer's score tells right traces from wrong ones, of problems that the base failed."""
        return {name: self._area(name) for name in KINDS}

    def _area(self, name: str) -> list[dict[str, Any]]:
        """At every share of the trace the area under the ROC curve with its interval; nothing without a trace."""
        path, output = self.folder / f"{name}_of_failed.jsonl", self.folder / f"{name}_scored.jsonl"
        if not read_lines(path):
            return []
        model = {"pretrained": str(self.folder / "base"), **({"device": "cpu"} if self.cpu else {})}
        score_file(ScoreOptions(traces=path, output=output, model_args=[json.dumps(model)], labels="right"))
        summary = json.loads(output.with_name(f"{output.name}.summary.json").read_text(encoding="utf-8"))
        return [{key: one[key] for key in ("share", "auc", "low", "high")} for one in summary["at"]]

    def _run_arm(self, arm: Arm, tuning: Mapping[str, Any]) -> dict[str, Any]:
        """Train on the arm's lines, if it has any, and solve the test problems."""
        material = Material(**{name: self.folder / f"{file}.jsonl" for name, file in _MATERIAL.items()})
        path = self.folder / f"train-{arm.name}.jsonl"
        number = arm.write(material, path)
        name = f"tuned-{arm.name}" if number else "base"
        if number:
            start = {"pretrained": str(self.folder / "base"), "data": str(path)}
            self._trained(name, {**start, **tuning})
        return {"lines": number, **_shares(solve(self._loaded(name), self._read("test")))}

    def _read(self, name: str) -> list[dict[str, Any]]:
        return read_lines(self.folder / f"{name}.jsonl")


_MATERIAL = {"gold": "problems", "posterior": "posterior", "own": "own"}


def _shares(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of whatever flags the lines have, in percent; their number alone if there are none."""
    flags = ("hit", "right", "consistent")
    return {
        "n": len(found),
        **{flag: 100 * statistics.fmean(one[flag] for one in found) for flag in flags if found and flag in found[0]},
    }

"""How far `lm-eval-mdlm doctor` is off: its estimate of a run of lm_eval, and that run, turn by turn.

Times are the clock's and, as other programs take cores away from both in unequal parts, the processor's own.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.evaluator import simple_evaluate

from benchmarks.report import Measurement, Report, Value
from lm_eval_mdlm import register
from lm_eval_mdlm.harness.doctor.estimate import Estimate
from lm_eval_mdlm.harness.doctor.examination import examine
from lm_eval_mdlm.harness.doctor.preparing import DoctorOptions
from lm_eval_mdlm.harness.model import MDLM


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
CASES: dict[str, dict[str, Any]] = {
    "k = 4": {"sampler": "fixed_k", "k": 4},
    "MED": {"sampler": "med"},
    "MED + exit": {"sampler": "med", "exit_threshold": 0.1},
    "likelihood": {"mc_num": 16},
}
ANSWERS = ("generate_until", "loglikelihood", "loglikelihood_rolling")


def main(arguments: Sequence[str] | None = None) -> None:
    made = argparse.ArgumentParser(prog="python -m benchmarks.doctor", description=__doc__)
    made.add_argument("--pretrained", default="demo")
    made.add_argument("--task", default="mdlm_demo")
    made.add_argument("--include_path")
    made.add_argument("--cases", nargs="+", choices=CASES, default=["k = 4", "MED", "MED + exit"])
    made.add_argument("--batch", nargs="+", default=["1", "8"], help="values of batch_size")
    made.add_argument("--limit", type=int, default=300)
    made.add_argument("--repeats", type=int, default=1)
    made.add_argument("--device", default="cpu")
    made.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    options = made.parse_args(arguments)
    register()
    rows = [row(options, name, batch) for name in options.cases for batch in options.batch]
    command = f"python -m benchmarks.doctor {' '.join(arguments or sys.argv[1:])}".strip()
    Report(name="doctor", command=command, rows=rows, device=torch.device(options.device)).write(options.out)


def row(options: argparse.Namespace, case: str, batch: str) -> dict[str, Value]:
    """Estimates and runs of one way to decode."""
    given = {"pretrained": options.pretrained, "device": options.device, "batch_size": batch, **CASES[case]}
    foreseen: dict[str, list[float]] = {name: [] for name in CLOCKS}
    taken: dict[str, list[float]] = {name: [] for name in CLOCKS}
    nfe: list[tuple[float, float]] = []
    for _ in range(options.repeats):
        for name, clock in CLOCKS.items():
            estimate = estimated(options, given, clock)
            foreseen[name].append(estimate.answer_seconds)
        seconds, found = run(options, given)
        for name in CLOCKS:
            taken[name].append(seconds[name])
        nfe.append((sum(own.nfe for own in estimate.tasks.values()) / len(estimate.tasks), found))
    times = {name: Measurement(tuple(values)) for name, values in foreseen.items()}
    runs = {name: Measurement(tuple(values)) for name, values in taken.items()}
    return {
        "case": case,
        "batch_size": batch,
        "documents": options.limit,
        **{f"run, {name} s": runs[name] for name in CLOCKS},
        **{f"foreseen / run, {name}": times[name].over(runs[name]) for name in CLOCKS},
        "NFE foreseen / run": Measurement(tuple(ours / theirs for ours, theirs in nfe)),
    }


def estimated(options: argparse.Namespace, given: dict[str, Any], clock: Callable[[], float]) -> Estimate:
    """By the command itself, timed by this clock."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "estimate.json"
        wanted = DoctorOptions(
            model_args=[",".join(f"{name}={value}" for name, value in given.items())],
            tasks=[options.task],
            limit=options.limit,
            include_path=options.include_path,
            output=output,
        )
        assert examine(wanted, lambda line: None, clock), "doctor says that a run would fail"
        return Estimate.read(output)


def run(options: argparse.Namespace, given: dict[str, Any]) -> tuple[dict[str, float], float]:
    """The harness's own evaluation: seconds that its answers took by every clock, and mean NFE."""
    model: Any = MDLM(**given)
    seconds = dict.fromkeys(CLOCKS, 0.0)
    for name in ANSWERS:
        setattr(model, name, _timed(getattr(model, name), seconds))
    results = simple_evaluate(model=model, tasks=[options.task], limit=options.limit, bootstrap_iters=0)
    (own,) = results["results"].values()
    return seconds, next(value for key, value in own.items() if key.startswith("nfe,"))


def _timed(answer: Callable[..., Any], seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        before = {name: clock() for name, clock in CLOCKS.items()}
        answers = answer(*args, **kwargs)
        for name, clock in CLOCKS.items():
            seconds[name] += clock() - before[name]
        return answers

    return timed


if __name__ == "__main__":
    main()

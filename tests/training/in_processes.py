"""Runs trainings in the processes of a launcher; started by test_processes.py, one JSON list of options per run."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from lm_eval_mdlm.training import resuming, saving
from lm_eval_mdlm.training.config import TrainingConfig
from lm_eval_mdlm.training.launch import end_processes
from lm_eval_mdlm.training.run import train
from lm_eval_mdlm.training.trainer import DiffusionTrainer


def kill_at(moment: str) -> None:
    """End this process as `kill -9` does, at one moment of a run of six steps that saves after every second one."""

    def die(*unused: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    step = DiffusionTrainer.training_step
    if moment == "step 4":
        calls: list[int] = []

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return die() if len(calls) == 4 else step(*args, **kwargs)

        DiffusionTrainer.training_step = counted
    elif moment == "checkpoint 4":
        mark = resuming.mark_complete
        resuming.mark_complete = lambda folder: die() if folder.name == "checkpoint-4" else mark(folder)
    elif moment == "final save":
        saving._write = die


def main() -> None:
    rank = int(os.environ["RANK"])
    for run in json.loads(Path(sys.argv[1]).read_text()):
        if rank == 1:
            time.sleep(run.pop("late", 0))
        else:
            run.pop("late", None)
        kill_at(run.pop("kill", ""))
        seen: dict[str, int] = {}
        begin = DiffusionTrainer._prepare_inputs

        def look(self: DiffusionTrainer, inputs: Any, seen: dict[str, int] = seen, begin: Any = begin) -> Any:
            weights = list(self.model.parameters())
            local = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]
            now = sum(weight.numel() for weight in local)
            seen["weights here"] = min(seen.get("weights here", now), now)  # some stay gathered after an evaluation
            seen["states here"] = sum(
                (value.to_local() if isinstance(value, DTensor) else value).numel()
                for state in self.optimizer.state.values()
                for name, value in state.items()
                if name != "step" and isinstance(value, torch.Tensor)
            )
            return begin(self, inputs)

        DiffusionTrainer._prepare_inputs = look
        losses = train(TrainingConfig(**run))
        DiffusionTrainer._prepare_inputs = begin
        if rank == 0:
            Path(run["out"], "seen.json").write_text(json.dumps(seen | losses))
    end_processes()


if __name__ == "__main__":
    main()

"""This package's command line, where every request and every step of training that is begun adds a line to a file.

`MDLM_TEST_BEGUN=FILE python -m tests.begun sweep ...`
"""

import os
from typing import Any

from lm_eval_mdlm.__main__ import main as command_line
from lm_eval_mdlm.running.generation import RowRequest
from lm_eval_mdlm.running.scoring import ScoreRequest
from lm_eval_mdlm.running.trace_scoring import TraceScoreRequest
from lm_eval_mdlm.training.trainer import DiffusionTrainer


def logged(kind: Any, name: str) -> None:
    """Let a method of a class note each call."""
    original = getattr(kind, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        with open(os.environ["MDLM_TEST_BEGUN"], "a") as file:
            file.write(f"{kind.__name__}\n")
        return original(*args, **kwargs)

    setattr(kind, name, noted)


if __name__ == "__main__":
    for kind in (RowRequest, ScoreRequest, TraceScoreRequest):
        logged(kind, "work")
    logged(DiffusionTrainer, "training_step")
    command_line()

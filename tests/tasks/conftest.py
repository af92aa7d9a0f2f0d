"""A few hand-written documents in the benchmarks' formats, and a model that answers by a script."""

import gzip
import json
from contextlib import contextmanager

import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from lm_eval_mdlm import TASKS_DIR
from lm_eval_mdlm.harness.run import Run
from lm_eval_mdlm.harness.task import counted


QUESTIONS = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(1, 5)]
PROBLEMS = [
    {"problem": "What is $1/2$?", "solution": r"It is $\boxed{\frac{1}{2}}$.", "answer": r"\frac{1}{2}"},
    {"problem": "Solve $x+1=3$.", "solution": r"So $x=\boxed{2}$.", "answer": "2"},
]
FUNCTIONS = [
    {
        "task_id": f"Own/{n}",
        "prompt": f'def add_{n}(x):\n    """Add {n}."""\n',
        "canonical_solution": f"    return x + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
        "entry_point": f"add_{n}",
    }
    for n in range(2)
]
LINES = [
    {**doc, "task_id": f"SingleLineInfilling/{doc['task_id']}/L0", "suffix": suffix}
    for doc, suffix in zip(FUNCTIONS, ["", "# end\n"], strict=True)
]


class Scripted(LM):
    """Answers with `script(task name, document)`, a text and its NFE; keeps the requests it saw."""

    def __init__(self, script):
        super().__init__()
        self.script, self.seen = script, []

    @contextmanager
    def evaluation(self, started):
        self.run = Run(
            started=started,
            seed=0,
            world_size=1,
            task_stats=True,
            chat_template_source=None,
            rendered=(),
            effective_of=lambda raw, run: {},
        )
        with counted(started.tasks):
            yield self.run

    def generate_until(self, requests, disable_tqdm=False):
        self.seen += [(request.task_name, *request.args) for request in requests]
        answers = [self.script(request.task_name, request.doc) for request in requests]
        for request, (_, nfe) in zip(requests, answers, strict=True):
            self.run.count(request, {"nfe": float(nfe), "tokens": 1})
        return [text for text, _ in answers]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


@pytest.fixture
def data_dir(tmp_path):
    for name, rows in {
        "gsm8k_train.jsonl": QUESTIONS[::-1],
        "gsm8k_test.jsonl": QUESTIONS,
        "math500_test.jsonl": PROBLEMS,
    }.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, FUNCTIONS)))
    with gzip.open(tmp_path / "HumanEval-SingleLineInfilling.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, LINES)))
    return tmp_path


@pytest.fixture
def manager(data_dir):
    return TaskManager(include_path=TASKS_DIR, include_defaults=False, metadata={"data_dir": str(data_dir)})

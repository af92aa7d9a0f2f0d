"""lm_eval's own tasks of likelihoods, unchanged, over made-up documents in the format of their data.

    python -m tests.harness.stock_likelihoods run --model mdlm ...

is the command line of this package with these documents; other data sets are read as always. Where the environment
names a file as `MDLM_TEST_BEGUN`, each request that is begun (and not found in a journal) adds a line to it.
"""

import os
import random
import sys
from typing import Any

import datasets
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.running.generation import RowRequest
from lm_eval_mdlm.running.scoring import ScoreRequest
from tests.few_tasks import STOCK, index_only


TASKS = ("arc_easy", "hellaswag", "piqa", "winogrande", "mmlu_anatomy", "lambada_openai", "wikitext")
FOLDERS = ("arc", "hellaswag", "piqa", "winogrande", "mmlu/default", "lambada", "wikitext")
"""Of lm_eval, with these tasks."""
THINGS = ("pens", "red loaves", "a baker", "the morning", "12 equations", "ink", "numbers")
NUM_DOCUMENTS = 6


def manager(*include: str) -> TaskManager:
    """Knows the stock tasks of `FOLDERS`, and those of further folders."""
    return TaskManager(include_path=[*(str(STOCK / name) for name in FOLDERS), *include], include_defaults=False)


def words(n: int, num: int) -> str:
    return " ".join(THINGS[(n + i * i) % len(THINGS)] for i in range(num))


def choices(n: int, num: int) -> list[str]:
    return [words(n + i, 1 + (n + i) % 3) for i in range(num)]


def arc(n: int) -> dict[str, Any]:
    labels = ["A", "B", "C", "D"] if n % 2 else ["1", "2", "3", "4"]
    of = {"text": choices(n, 4), "label": labels}
    return {"id": str(n), "question": f"What has {words(n, 2)}?", "choices": of, "answerKey": labels[n % 4]}


def hellaswag(n: int) -> dict[str, Any]:
    endings = [f"sells {text} [step] at once." for text in choices(n, 4)]
    ctx = {"ctx_a": f"{words(n, 2)} [header] is here.", "ctx_b": "then she" if n % 2 else ""}
    return {"activity_label": "Baking", **ctx, "endings": endings, "label": str(n % 4)}


def piqa(n: int) -> dict[str, Any]:
    return {"goal": f"To sell {words(n, 2)}", "sol1": words(n, 3), "sol2": words(n + 1, 2), "label": n % 2}


def winogrande(n: int) -> dict[str, Any]:
    return {
        "sentence": f"Ann sold {words(n, 1)} to Bob because _ had {words(n, 2)}.",
        "option1": "Ann",
        "option2": "Bob",
        "answer": str(1 + n % 2),
    }


def mmlu(n: int) -> dict[str, Any]:
    return {"question": f" Which is {words(n, 2)}? ", "choices": choices(n, 4), "answer": n % 4, "subject": "any"}


def lambada(n: int) -> dict[str, Any]:
    return {"text": f"She had {words(n, 4)} and then {words(n, 3)} therefore"}


def wikitext(n: int) -> dict[str, Any]:
    return {"page": f" = {words(n, 1)} = \n The {words(n, 10 + 60 * (n == 1))} @-@ old , he 's here . \n"}


FORMATS = {
    "allenai/ai2_arc": arc,
    "Rowan/hellaswag": hellaswag,
    "baber/piqa": piqa,
    "allenai/winogrande": winogrande,
    "cais/mmlu": mmlu,
    "EleutherAI/lambada_openai": lambada,
    "EleutherAI/wikitext_document_level": wikitext,
}


def made(path: str, shuffled: int | None = None) -> datasets.DatasetDict:
    """The splits of a data set; test documents in another order where a seed says so."""
    order = list(range(NUM_DOCUMENTS))
    if shuffled is not None:
        random.Random(shuffled).shuffle(order)
    rows = [FORMATS[path](n) for n in order]
    shots = datasets.Dataset.from_list([FORMATS[path](n) for n in range(20, 25)])
    here = datasets.Dataset.from_list(rows)
    return datasets.DatasetDict(train=shots, dev=shots, validation=here, test=here)


_real = datasets.load_dataset


def load_dataset(path: str, name: str | None = None, **kwargs: Any) -> Any:
    return made(path) if path in FORMATS else _real(path, name, **kwargs)


def _log_begun(path: str) -> None:
    for kind in (RowRequest, ScoreRequest):

        def work(self: Any, backbone: Any, own: Any = kind.work) -> Any:
            with open(path, "a") as file:
                file.write(f"{type(self).__name__} {self.content()!r}\n")
            return own(self, backbone)

        kind.work = work  # type: ignore[method-assign]


def main() -> None:
    datasets.load_dataset = load_dataset
    index_only(FOLDERS)
    if path := os.environ.get("MDLM_TEST_BEGUN"):
        _log_begun(path)
    from lm_eval_mdlm.__main__ import main as command_line

    sys.exit(command_line())


if __name__ == "__main__":
    main()

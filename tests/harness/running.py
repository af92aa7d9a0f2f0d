"""Runs of the harness inside this process, as its Python users make them."""

from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager


def evaluate(
    checkpoint: str, tasks: str, names: list[str], *, gen_kwargs: Any = None, **options: Any
) -> dict[str, Any]:
    """Results of `simple_evaluate` with `--model mdlm`; harness arguments are given as `run_...`."""
    run = {name.removeprefix("run_"): options.pop(name) for name in list(options) if name.startswith("run_")}
    manager = TaskManager(include_path=tasks, include_defaults=False)
    model_args = {"pretrained": checkpoint, "gen_length": 16, "block_length": 8, **options}
    results = simple_evaluate(
        **{
            "model": "mdlm",
            "model_args": model_args,
            "tasks": names,
            "task_manager": manager,
            "device": "cpu",
            "gen_kwargs": gen_kwargs,
            "bootstrap_iters": 2,
            **run,
        }
    )
    assert results is not None
    return results


def outcomes(results: dict[str, Any], task: str) -> dict[int, tuple[Any, ...]]:
    """Text and counts of every document, by its number."""
    names = ("nfe", "tokens", "tokens_per_forward", "early_exit", "exit_step", "truncated")
    return {
        line["doc_id"]: (line["resps"], *(line[name] for name in names), line.get("answer_entropy"))
        for line in results["samples"][task]
    }

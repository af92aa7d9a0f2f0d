"""Results folders with known scores, in lm_eval's layout."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


DATE = "2026-11-28T18-32-14.522400"


def write_run(
    folder: Path,
    scores: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    nfe: float | Sequence[float] | None = 8.0,
    task: str = "sums",
    metric: str = "acc",
    documents: Sequence[str] | None = None,
    readings: Sequence[Any] | None = None,
    texts: Sequence[str] | None = None,
    prompt: str = "{{question}}",
    gen_kwargs: Mapping[str, Any] | None = None,
    effective: Mapping[str, Any] | None = None,
    higher: bool = True,
    keep_samples: bool = True,
    numbers: Mapping[str, Sequence[Any]] | None = None,
    config: Mapping[str, Any] | None = None,
    date: str = DATE,
    model: str = "mdlm",
) -> Path:
    """A run of one task; scores by filter, or of the filter `none`. Returns the results file."""
    by_filter = scores if isinstance(scores, Mapping) else {"none": scores}
    n = len(next(iter(by_filter.values())))
    passes = list(nfe) if isinstance(nfe, Sequence) else [nfe] * n
    reported: dict[str, Any] = {"alias": task}
    lines = []
    for own_filter, own in by_filter.items():
        reported[f"{metric},{own_filter}"] = sum(own) / n
        reported[f"{metric}_stderr,{own_filter}"] = 0.1 if n > 1 else "N/A"
        if nfe is not None:
            reported[f"nfe,{own_filter}"] = sum(passes) / n
        for i, score in enumerate(own):
            line = _line(i, documents[i] if documents else f"document {i}", prompt, own_filter)
            line["resps"] = [[texts[i] if texts else f"text {i}"]]
            line["filtered_resps"] = [readings[i] if readings else f"reading {i}"]
            line |= {metric: score, **({} if nfe is None else {"nfe": passes[i]})}
            lines.append(json.dumps(line | {name: values[i] for name, values in (numbers or {}).items()}))
    given = {"model": model, "model_args": {"pretrained": "demo"}, "gen_kwargs": dict(gen_kwargs or {})}
    if effective is not None:
        record = {"decoding_by_task": {task: dict(effective)}, "loading": {"pretrained": "demo"}, "dtype": "float32"}
        given["mdlm"] = record
    plain = {
        "results": {task: reported},
        "configs": {task: {"task": task, "doc_to_text": prompt, "metric_list": [{"metric": metric}]}},
        "higher_is_better": {task: {metric: higher}},
        "n-shot": {task: 0},
        "config": {**given, "torch_seed": 1234, **(config or {})},
        "model_source": model,
        "model_name": "demo",
        "model_name_sanitized": "demo",
        "lm_eval_version": "0.4.13",
    }
    inside = folder / "demo"
    inside.mkdir(parents=True, exist_ok=True)
    if keep_samples:
        (inside / f"samples_{task}_{date}.jsonl").write_text("\n".join(lines) + "\n")
    path = inside / f"results_{date}.json"
    path.write_text(json.dumps(plain))
    return path


def _line(doc_id: int, document: str, prompt: str, own_filter: str) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": {"question": document},
        "target": str(doc_id),
        "arguments": {"gen_args_0": {"arg_0": f"{prompt} {document}", "arg_1": {"until": []}}},
        "filter": own_filter,
        "doc_hash": f"hash of {document}",
        "prompt_hash": f"{prompt} {document}",
    }

"""Recordings made by hand."""

from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_mdlm.recordings.members import SUFFIX, Header, packed, row_line
from lm_eval_mdlm.recordings.steps import Steps


MASK = 99
HEADER = Header(run="r" * 32, network={"family": "toy", "fingerprint": "f"}, package="0")


def steps(commits: list[dict[str, Any]], *, length: int = 6, **more: Any) -> Steps:
    """A row from one mapping per step: positions, and where they matter tokens, entropy, log_prob, bound, remasked."""
    flat: dict[str, list[Any]] = {name: [] for name in ("positions", "tokens", "entropy", "confidence", "log_prob")}
    for step in commits:
        n = len(step["positions"])
        flat["positions"] += step["positions"]
        flat["tokens"] += step.get("tokens", [7] * n)
        flat["entropy"].extend(step.get("entropy", [0.0] * n))
        flat["confidence"].extend(step.get("confidence", [1.0] * n))
        flat["log_prob"].extend(step.get("log_prob", [0.0] * n))
    remasked = [step.get("remasked", []) for step in commits]
    own: dict[str, Any] = {
        "key": "k",
        "task": "pens",
        "doc_id": 0,
        "repeat": 0,
        "prompt_ids": np.array([1, 2, 3]),
        "num_cut": 1,
        "region_ids": np.array([MASK] * length),
        "segments": (("reasoning", 0, length),),
        "mask_token_id": MASK,
        "end_token_ids": (0,),
        "options": {"sampler": "med", "entropy_threshold": 0.2},
        "nfe": len(commits),
        "nfe_partial": 0,
        "stop": "complete",
        "ends": np.cumsum([0, *(len(step["positions"]) for step in commits)]),
        "answer_entropy": np.array([step.get("bound", np.nan) for step in commits], dtype=np.float64),
        "partial": np.array([False] * len(commits), dtype=bool),
        "remasked_ends": np.cumsum([0, *map(len, remasked)]),
        "remasked": np.array([position for step in remasked for position in step], dtype=np.int64),
        **{name: np.array(flat[name], dtype=np.int64) for name in ("positions", "tokens")},
        **{name: np.array(flat[name], dtype=np.float32) for name in ("entropy", "confidence", "log_prob")},
    }
    return Steps(**{**own, **more})


def write(folder: Path, rows: list[Steps], *, name: str = "a", header: Header = HEADER) -> Path:
    """One file of a recording; the numbers of its rows are their ids."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}{SUFFIX}"
    members = [packed(row_line(row_id(row), row.to_plain())) for row in rows]
    path.write_bytes(b"".join([header.member(), *members]))
    return path


def row_id(row: Steps) -> str:
    return f"{row.doc_id or 0:032x}"

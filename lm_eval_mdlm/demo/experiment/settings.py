"""All numbers of the experiment, fixed before it is run."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import UsageError


REASONING_LENGTH, ANSWER_LENGTH = 48, 4
DELIMITER = "\nThe answer is "
TEMPLATE: list[dict[str, Any]] = [{"reasoning": REASONING_LENGTH}, {"text": DELIMITER}, {"answer": ANSWER_LENGTH}]
BLOCK_LENGTH = 13
DECODING: dict[str, Any] = {"template": TEMPLATE, "sampler": "fixed_k", "k": 1, "block_length": BLOCK_LENGTH}
"""One token a pass; greedy in evaluations, at temperature 1 for traces."""

_TRAINING: dict[str, Any] = {
    "template": json.dumps(TEMPLATE),
    "free_share": 0.0,
    "block_share": 0.3,
    "block_length": BLOCK_LENGTH,
    "deterministic": True,
    "log_every": 500,
}
_BASE: dict[str, Any] = {
    **_TRAINING,
    "steps": 4000,
    "batch_size": 512,
    "learning_rate": 2e-3,
    "warmup_steps": 300,
    "decay_share": 0.4,
    "weight_decay": 0.05,
    "average_decay": 0.998,
    "compile": True,
    "save_every": 2000,
}
_TUNING: dict[str, Any] = {
    **_TRAINING,
    "steps": 300,
    "batch_size": 128,
    "learning_rate": 5e-4,
    "warmup_steps": 20,
    "save_every": 0,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is run. Mappings of training options have the names of `TrainingConfig`."""

    bases: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Seeds; each decides a world, a corpus, a base and everything that is made of it."""
    gate: float = 0.4
    """Least greedy accuracy on development problems of a base that counts in the means."""
    world: Mapping[str, Any] = field(
        default_factory=lambda: {
            "misread_share": 0.35,
            "majority": 0.8,
            "largest_amount": 9,
            "gold_manner_share": 0.1,
        }
    )
    sizes: Mapping[str, int] = field(
        default_factory=lambda: {"d_model": 192, "n_layers": 6, "n_heads": 6, "mlp_hidden_size": 512}
    )
    num_documents: int = 200_000
    num_problems: int = 500
    """Training problems that have gold answers."""
    num_development: int = 500
    num_test: int = 2000
    base: Mapping[str, Any] = field(default_factory=lambda: dict(_BASE))
    tuning: Mapping[str, Any] = field(default_factory=lambda: dict(_TUNING))
    answers_only: Mapping[str, Any] = field(default_factory=lambda: {"learning_rate": 3e-4})
    """Laid over `tuning` for the arm without reasoning."""

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """With some values replaced, in mappings one by one.

        Raises:
            UsageError: For a name that is none of these.
        """
        known = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        if unknown := sorted(changes.keys() - known.keys()):
            raise UsageError(f"unknown setting {unknown[0]!r}; known are {', '.join(known)}.")
        laid_over: dict[str, Any] = {
            name: {**known[name], **value} if isinstance(known[name], Mapping) else value
            for name, value in changes.items()
        }
        if "bases" in laid_over:
            laid_over["bases"] = tuple(laid_over["bases"])
        return dataclasses.replace(self, **laid_over)


FULL = Settings()
SMALL = FULL.changed(
    {
        "bases": [1, 2],
        "sizes": {"d_model": 32, "n_layers": 2, "n_heads": 2, "mlp_hidden_size": 64},
        "num_documents": 400,
        "num_problems": 24,
        "num_development": 8,
        "num_test": 8,
        "base": {"steps": 40, "batch_size": 16, "warmup_steps": 4, "compile": False, "save_every": 10},
        "tuning": {"steps": 4, "batch_size": 8, "warmup_steps": 1},
    }
)
"""Every stage in a few minutes on a CPU; its figures mean nothing."""
SCALES = {"full": FULL, "small": SMALL}

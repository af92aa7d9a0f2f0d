"""An adapter's folder in the layout of peft: where it is, what its configuration says, and which base it belongs to.

Read without peft: a low-rank adapter is two small matrices beside a weight, and an option of peft that would make it
more than that is refused by name.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, as_a_name
from ..showing.visible import visible
from .checkpoint import Checkpoint, commit_of, fetch, is_hub_id
from .fingerprint import fingerprint, fingerprint_of_files
from .inside import read_object, refuse_what_leads_outside
from .raw_config import MOST_OF_NUMBERS
from .weights import has_weights


logger = logging.getLogger(__name__)
CONFIGURATION, WEIGHTS, BASE_RECORD = "adapter_config.json", "adapter_model.safetensors", "base_checkpoint.json"
MERGE = "merge it by `lm-eval-mdlm merge`, which leaves that to peft, and load the result"
ACCEPTED: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian"),  # others change the base's weights too
}
"""Options with the values at which an adapter is two matrices beside a weight."""
READ = ("r", "lora_alpha", "use_rslora", "target_modules", "base_model_name_or_path", "layers_to_transform")
WITHOUT_EFFECT = (
    *("task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "lora_dropout", "megatron_core"),
    *("layers_pattern", "exclude_modules", "qalora_group_size", "runtime_config", "ensure_weight_tying"),
    "fan_in_fan_out",  # of layers that these networks do not have; peft sets it right itself
    "rank_pattern",  # the matrices have their ranks
)
"""Of training, of the choice of layers, which the stored matrices show, or of parts that are refused if they are on."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Low-rank adapters as they lie in a folder; no weight has been read."""

    name: str
    """As the user wrote it."""
    folder: Path
    config: Mapping[str, Any]
    """Of adapter_config.json."""

    @classmethod
    def open(cls, name: str) -> "Adapter":
        """Of a folder, or of a hub repository, as `owner/name` or `owner/name@revision`.

        Raises:
            UsageError: If it is neither, holds no adapter, or one of a kind that is not merged here.
        """
        folder = Path(name).expanduser()
        if not folder.is_dir():
            repository, _, revision = name.partition("@")
            if not is_hub_id(repository) or folder.exists():
                raise UsageError(
                    f"peft must be a folder or a hub id (owner/name or owner/name@revision), got {name!r}."
                )
            folder = fetch(repository, revision or None, (CONFIGURATION, WEIGHTS), option="peft")
        for file in (CONFIGURATION, WEIGHTS):
            if not (folder / file).is_file():
                raise UsageError(
                    f"peft={name} must hold an adapter, got no {file}; give the folder OUT/adapter of a run."
                )
        refuse_what_leads_outside(folder)
        adapter = cls(name=name, folder=folder, config=_configuration(folder / CONFIGURATION))
        adapter._refuse_what_is_not_merged()
        return adapter

    @property
    def description(self) -> dict[str, Any]:
        """Of the record of a run, and of what results depend on."""
        return {
            "peft": self.name,
            "peft_commit_hash": commit_of(self.folder),
            "adapter": fingerprint_of_files([self.folder / CONFIGURATION, self.folder / WEIGHTS]),
        }

    @property
    def file(self) -> Path:
        """Of the weights."""
        return self.folder / WEIGHTS

    def scaling(self, rank: int) -> float:
        """What the product of two matrices of this rank is multiplied by; rsLoRA: arXiv:2312.03732."""
        alpha = self.config.get("lora_alpha")
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not abs(alpha) <= MOST_OF_NUMBERS:
            raise UsageError(f"{self.folder / CONFIGURATION}: lora_alpha must be a number, got {alpha!r}.")
        return float(alpha / math.sqrt(rank)) if self.config.get("use_rslora") else alpha / rank

    def _refuse_what_is_not_merged(self) -> None:
        for option, value in self.config.items():
            known = option in (*READ, *WITHOUT_EFFECT)
            # What is off does nothing, also where it is an option of a later peft.
            if value in ACCEPTED[option] if option in ACCEPTED else known or not value:
                continue
            shown = f"{as_a_name(option)}={value!r}"
            raise UsageError(f"peft={self.name}: adapters with {shown} are not merged while loading; {MERGE}.")

    def refuse_another_base(self, checkpoint: Checkpoint) -> None:
        """UsageError if the adapter was trained on another checkpoint; a line where that cannot be found out.

        Args:
            checkpoint: With its weights there.
        """
        base, given = self.config.get("base_model_name_or_path"), checkpoint.pretrained
        recorded = _recorded_base(self.folder)
        if (
            recorded is None
            and isinstance(base, str)
            and (Path(base) / "config.json").is_file()
            and has_weights(Path(base))
        ):
            recorded = fingerprint(Path(base))
        is_other = base != given if recorded is None else recorded != fingerprint(checkpoint.folder)
        if is_other and (recorded is not None or (checkpoint.on_hub and isinstance(base, str) and is_hub_id(base))):
            raise UsageError(
                f"peft={self.name} was trained on {base}, and pretrained={given} is another checkpoint; give the "
                f"pretrained that it was trained on."
            )
        if is_other:
            logger.warning(
                "peft=%s was trained on %s; whether pretrained=%s is the same is not known.",
                *(self.name, visible(str(base)), given),
            )


def record_base(folder: Path, checkpoint: Checkpoint) -> None:
    """Write beside an adapter which weights it was trained on, so that it is known wherever both are moved."""
    content = json.dumps({"fingerprint": fingerprint(checkpoint.folder)}) + "\n"
    (folder / BASE_RECORD).write_text(content, encoding="utf-8")


def _recorded_base(folder: Path) -> str | None:
    path = folder / BASE_RECORD
    return str(_configuration(path).get("fingerprint")) if path.is_file() else None


def _configuration(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} must be a JSON object, got {error}; copy or fetch the adapter again.") from None

"""Whether the files of a checkpoint are its own: none leads out of its folder, and none is beyond all measure."""

import json
from pathlib import Path
from typing import Any

from ..errors import UsageError


TEMPLATES = "additional_chat_templates"
"""The one folder within a checkpoint's that transformers looks into."""
SMALL_FILES = (
    *("*.json", "*.txt", "*.jinja", "*.model", "*.codes", "*.spm", "*.tiktoken", "*.tokenizer"),
    f"{TEMPLATES}/*.jinja",
)
"""All that a configuration and the tokenizers of transformers are read from."""
VERSIONS = "fast_tokenizer_files"
"""Option of tokenizer_config.json: files of one tokenizer for several versions of transformers."""
WEIGHT_FILES = ("*.safetensors",)
MOST_BYTES = 2**28
"""Of a file other than weights; the largest tokenizers have an eighth of it."""


def refuse_what_leads_outside(folder: Path) -> None:
    """UsageError unless every file of a checkpoint is a file of its folder, and is read within reason.

    Links are followed inside the folder, and from a snapshot of the hub client's cache to the blobs beside it.
    """
    _refuse_outside(folder, folder / TEMPLATES)
    for pattern in (*SMALL_FILES, *WEIGHT_FILES):
        for path in sorted(folder.glob(pattern)):
            _refuse_outside(folder, path)
            if not path.is_dir():
                _refuse_unlike_a_file(path, None if pattern in WEIGHT_FILES else MOST_BYTES)
    _refuse_tokenizers_elsewhere(folder / "tokenizer_config.json")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("brackets within brackets without end") from None
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} and no object")
    return found


def shard_in(folder: Path, name: Any) -> Path:
    """A weight file that an index names; ValueError unless it is a plain name, so that it lies in the folder."""
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors") or "\0" in name:
        raise ValueError(f"the shard {name!r:.80}, which is no name of a safetensors file in the same folder")
    return folder / name


def _refuse_tokenizers_elsewhere(path: Path) -> None:
    """UsageError unless the names that transformers picks a tokenizer's file from are plain names of JSON files."""
    try:
        names = read_object(path).get(VERSIONS, [])
    except (OSError, ValueError):
        return  # there is none, or the tokenizer's own reader tells what is wrong with it
    for name in names if isinstance(names, list) else [names]:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".json") or "\0" in name:
            raise UsageError(
                f"{path}: {VERSIONS} must be names of JSON files in the same folder, got {name!r:.80}; correct it."
            )


def _refuse_outside(folder: Path, path: Path) -> None:
    own = folder.resolve()
    allowed = [own, (own.parent.parent / "blobs").resolve()] if own.parent.name == "snapshots" else [own]
    target = path.resolve()
    if not any(target.is_relative_to(place) for place in allowed):
        raise UsageError(
            f"{path} must be a file of its own folder, got a link to {target}; copy the file there, or name the folder "
            f"that it lies in."
        )


def _refuse_unlike_a_file(path: Path, most: int | None) -> None:
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} must be a file, got a pipe or a device; fetch the checkpoint again.")
    if most is not None and path.is_file() and (size := path.stat().st_size) > most:
        raise UsageError(f"{path} must have at most {most} bytes, got {size}; fetch the checkpoint again.")

"""Where the checkpoint lies that comes with the package; `demo/` tells what it can do."""

from pathlib import Path


DEMO = "demo"
"""The name of the packaged checkpoint in `pretrained=`."""


def checkpoint_dir() -> Path:
    """Its folder, in the layout of LLaDA's."""
    return Path(__file__).resolve().parents[1] / "demo" / "checkpoint"

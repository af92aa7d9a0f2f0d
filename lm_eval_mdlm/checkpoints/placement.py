"""Where a network goes and in which precision: the options `device`, `device_map` and `dtype`, checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UsageError


DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
"""Values of `device_map` by which accelerate works out a map itself."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A device for every part of a network, and the dtype of its weights."""

    device: torch.device
    """Takes inputs and gives results; the one device, or the first that computes."""
    device_map: str | Mapping[str, Any]
    """As transformers takes it."""
    dtype: torch.dtype

    @classmethod
    def of(cls, *, dtype: str | torch.dtype, device: str | None, device_map: Any) -> "Placement":
        """Check the three options and fill in what is unset; UsageError for a value that cannot be."""
        if device is not None and device_map is not None:
            raise UsageError(
                f"device and device_map exclude each other, got {device!r} and {device_map!r}; leave one unset."
            )
        if isinstance(device_map, str) and device_map not in STRATEGIES:
            device, device_map = device_map, None  # as in transformers, the name of one device
        if device_map is None:
            main = _existing(device if device is not None else _default(), "device")
            return cls(device=main, device_map={"": main}, dtype=_dtype(dtype, main))
        if isinstance(device_map, str):
            main = _existing(_default(), "device_map")
        elif not isinstance(device_map, Mapping):
            raise UsageError(
                f"device_map must be one of {', '.join(STRATEGIES)}, or map parts of the network to devices, got "
                f"{device_map!r}."
            )
        else:
            places = [place for place in device_map.values() if place != "disk"]
            devices = [_existing(place, "device_map") for place in places] or [torch.device("cpu")]
            # Parts on the CPU wait there, and on disk likewise, for the GPU to take them in.
            main = next((found for found in devices if found.type != "cpu"), devices[0])
        return cls(device=main, device_map=device_map, dtype=_dtype(dtype, main))

    def refuse_gaps(self, names: Iterable[str]) -> None:
        """UsageError if a device map leaves out a weight of the network."""
        if isinstance(self.device_map, str):
            return
        names, parts = list(names), list(self.device_map)
        left_out = [name for name in names if not any(_belongs(name, part) for part in parts)]
        if left_out:
            raise UsageError(
                f"device_map must place every part of the network, got none for {left_out[0]} and {len(left_out) - 1} "
                f"other weights; add the part, or '' for all the rest."
            )


def _belongs(name: str, part: str) -> bool:
    return part == "" or name == part or name.startswith(part + ".")


def _default() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _existing(name: Any, option: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it computes nothing")
        return torch.empty(0, device=device).device  # the only test that covers every kind of device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ImportError) as error:
        reason = str(error).split("\n")[0][:120]
        raise UsageError(
            f"{option} must be a device of this machine, got {name!r} ({reason}); use {_default()!r} or leave it unset."
        ) from None


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise UsageError(f"dtype must be one of auto, {', '.join(DTYPES)}, got {name!r}.")
    return DTYPES[name]

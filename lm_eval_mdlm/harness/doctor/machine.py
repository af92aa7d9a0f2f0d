"""Lines on versions and on the device."""

import importlib.util
import platform
import re
from pathlib import Path

import torch

from ...running.memory_use import all_bytes
from ..provenance import versions
from .findings import Findings


DRIVER = Path("/proc/driver/nvidia/version")


def tell_versions(findings: Findings) -> None:
    """Of this package and what it stands on."""
    findings.ok(", ".join(f"{name} {number or 'not installed'}" for name, number in versions().items()))
    if torch.version.cuda is None:
        findings.ok(f"torch is built without CUDA, on {platform.system()} {platform.machine()}")
    else:
        findings.ok(f"CUDA {torch.version.cuda} (torch's), driver {_driver()}")
    triton = "installed" if importlib.util.find_spec("triton") else "not installed; only GPUs have use for it"
    findings.ok(f"Triton is {triton}")


def tell_device(findings: Findings, device: torch.device) -> None:
    """Where the network runs."""
    if device.type != "cuda":
        threads = torch.get_num_threads()
        findings.ok(f"{device}: {platform.processor() or platform.machine()}, {threads} threads of torch")
        if torch.cuda.is_available():
            findings.warn("there is a GPU, and it is not used; leave out device, or name it as device=cuda:0")
        return
    major, minor = torch.cuda.get_device_capability(device)
    free, total = torch.cuda.mem_get_info(device)[0], all_bytes(device) or 0
    name = torch.cuda.get_device_name(device)
    findings.ok(f"{device}: {name}, compute capability {major}.{minor}")
    findings.ok(f"{_gb(free)} of {_gb(total)} are free beside the weights")


def _driver() -> str:
    """The version that the kernel's module gives of itself."""
    try:
        found = re.search(r"Module\s+(?:for \S+\s+)?(\d[\d.]+)", DRIVER.read_text(encoding="utf-8"))
    except OSError:
        return "not found"
    return found[1] if found else "of unknown version"


def _gb(number: int) -> str:
    return f"{number / 2**30:.1f} GB"

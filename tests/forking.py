"""Programs in processes of their own, which begin as forks of one that has imported what they need."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch


ROOT = Path(__file__).parents[1]
ON_CPU = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def torchrun(module: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m module` in two processes on the CPU, by the launcher itself."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
    command += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", "-m", module, *arguments]
    environment = {**os.environ, **ON_CPU, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    returncode: int
    stdout: str
    stderr: str


class Forks:
    """Runs `python -m module`, in one process or in several as `torchrun` does."""

    def __init__(self) -> None:
        environment = {**os.environ, **ON_CPU, "PYTHONPATH": str(ROOT)}
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._environment = environment

    def close(self) -> None:
        self._zygote.kill()
        self._zygote.communicate()

    def __call__(
        self, module: str, *arguments: str, processes: int = 1, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> list[Ended]:
        """What became of each process, by rank, once all have ended."""
        environment = {**self._environment, **(env or {})}
        if processes > 1:  # the launcher, rather than one of its processes, has the store by which they meet
            store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(processes)}
            environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
            environment |= {"LOCAL_WORLD_SIZE": str(processes)}
        with tempfile.TemporaryDirectory() as folder:
            programs = []
            for rank in range(processes):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
                files = {name: str(Path(folder, f"{rank}.{name}")) for name in ("out", "err")}
                programs.append({"module": module, "arguments": arguments, "env": environment | own, **files})
                programs[-1]["cwd"] = str(cwd)
            print(json.dumps(programs), file=self._zygote.stdin, flush=True)
            codes = json.loads(self._zygote.stdout.readline())
            return [
                Ended(code, Path(program["out"]).read_text(), Path(program["err"]).read_text())
                for code, program in zip(codes, programs, strict=True)
            ]

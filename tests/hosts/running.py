"""The command of README over two hosts, and what it writes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.test_stock_likelihoods import written
from tests.hosts.namespaces import INTERFACE, Hosts
from tests.killing import children, kill_with_children


ROOT = Path(__file__).parents[2]
PORT = "29500"
ROWS = 24
OURS = "lm_eval_mdlm: "


README = "sampler=med,exit_threshold=0.1"
"""How README's first command decodes."""


def evaluation(folder: Path, decoding: str = README) -> list[str]:
    """Arguments of `python`: the first command of README, or another way to decode, with a journal and files."""
    args = f"pretrained=demo,{decoding},device=cpu,journal={folder / 'journal'}"
    command = ["-m", "lm_eval", "--model", "mdlm", "--model_args", args, "--tasks", "mdlm_demo"]
    return [*command, "--limit", str(ROWS), "--output_path", str(folder / "output"), "--log_samples"]


def by_torchrun(hosts: Hosts, rank: int, per_host: int) -> list[str]:
    """What goes between `python` and its arguments on one of the hosts."""
    command = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", str(per_host)]
    return [*command, "--node_rank", str(rank), "--master_addr", hosts.both[0].address, "--master_port", PORT]


def by_rendezvous(hosts: Hosts, rank: int, per_host: int) -> list[str]:
    """The same where the hosts number themselves."""
    command = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", str(per_host)]
    return [*command, "--rdzv_backend", "c10d", "--rdzv_endpoint", f"{hosts.both[0].name}:{PORT}", "--rdzv_id", "demo"]


def by_accelerate(hosts: Hosts, rank: int, per_host: int) -> list[str]:
    """The same for `accelerate launch`."""
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "2", "--machine_rank", str(rank)]
    command += ["--num_processes", str(2 * per_host), "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*command, "--main_process_ip", hosts.both[0].address, "--main_process_port", PORT]


Launcher = Callable[[Hosts, int, int], list[str]]


def environment(**more: str) -> dict[str, str]:
    """Of a host without GPUs that can reach no hub."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    given = {**os.environ, **own, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": INTERFACE, **more}
    return {name: value for name, value in given.items() if value}


@dataclass
class Part:
    """What runs on one host: a launcher with its processes."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def kill(self) -> None:
        """As if the host lost its power."""
        kill_with_children(self.process)

    def stop(self) -> None:
        """All stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `stop`."""
        self._signal(signal.SIGCONT)

    def end(self, seconds: float) -> int:
        """Exit code; TimeoutExpired after so many seconds."""
        return self.process.wait(seconds)

    def lines(self) -> list[str]:
        """Those of ours, of all processes of this host."""
        found = self.log.read_text(errors="replace").splitlines()
        return [line[line.index(OURS) :] for line in found if OURS in line]

    def _signal(self, number: int) -> None:
        for pid in (self.process.pid, *children(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass
class Runs:
    """Starts commands in a folder, and ends what is left of them."""

    folder: Path
    started: list[Part] = field(default_factory=list)

    def start(self, command: Sequence[str], **more: str) -> Part:
        self.folder.mkdir(exist_ok=True)
        log = self.folder / f"{len(self.started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment(**more), cwd=self.folder, stdout=file, stderr=file, start_new_session=True
            )
        self.started.append(Part(process, log))
        return self.started[-1]

    def on_hosts(
        self,
        hosts: Hosts,
        launcher: Launcher,
        arguments: Sequence[str],
        *,
        per_host: int = 1,
        names: Path | None = None,
        **more: str,
    ) -> list[Part]:
        """Start it on both; `names` as in `Host.command`."""
        return [
            self.start(
                host.command([sys.executable, *launcher(hosts, rank, per_host), *arguments], names=names), **more
            )
            for rank, host in enumerate(hosts.both)
        ]

    def alone(self, arguments: Sequence[str]) -> None:
        """Run it in one process, without a launcher, to its end."""
        part = self.start([sys.executable, *arguments])
        assert part.end(300) == 0, part.log.read_text()[-3000:]

    def close(self) -> None:
        for part in self.started:
            if part.process.poll() is None:
                part.kill()


def kept(folder: Path) -> int:
    """Records in the journal."""
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in folder.glob("journal/*"))


def wait_for(happened: Callable[[], Any], seconds: float = 180) -> None:
    """Until something has happened, looked at often."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


OF_THE_RUN = {
    "date",
    "start_time",
    "end_time",
    "total_evaluation_time_seconds",
    "model_args",
    "git_hash",
    "task_hashes",
}
"""In results files: times, the journal's folder, and a digest of the samples in the order of processes."""
OF_THE_PROCESSES = {"nfe_by_process", "totals_of_rank_0", "world_size"}


def outcome(folder: Path) -> Any:
    """Results and samples, without what tells of times, folders and processes."""
    found = written(folder / "output")
    found["samples"] = {
        task: sorted(own, key=lambda line: (line["doc_id"], line["filter"])) for task, own in found["samples"].items()
    }
    # The harness adds up floats in the order of processes.
    found["results"] = {task: {name: _rounded(v) for name, v in own.items()} for task, own in found["results"].items()}
    for name in OF_THE_RUN:
        found.pop(name, None)
        found["config"].pop(name, None)
    for task in found["configs"].values():
        task["metadata"].pop("journal", None)
    record = found["config"]["mdlm"]
    record["loading"].pop("journal")
    for name in OF_THE_PROCESSES:
        record.pop(name)
    return found


def _rounded(value: Any) -> Any:
    return round(value, 9) if isinstance(value, float) else value

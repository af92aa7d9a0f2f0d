"""Two hosts on one machine: network namespaces, a link between them, and names and addresses that only they have."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


INTERFACE = "eth0"


@dataclass(frozen=True)
class Host:
    """One of them. It shares files and processes with this machine, and no network."""

    name: str
    """Its own, which nothing resolves unless it is told to, and that of its namespace."""
    address: str

    def command(self, arguments: Sequence[str], *, names: Path | None = None) -> list[str]:
        """What runs a program there; its process is the one that this starts.

        Args:
            arguments: The program and its arguments.
            names: Stands there in place of /etc/hosts.
        """
        known = "" if names is None else f"mount --bind {shlex.quote(str(names))} /etc/hosts && "
        named = ["unshare", "--uts", "--mount", "--", "sh", "-c", f'{known}hostname "$0" && exec "$@"', self.name]
        return ["ip", "netns", "exec", self.name, *named, *arguments]


@dataclass(frozen=True)
class Hosts:
    """Both."""

    both: tuple[Host, Host]

    def names(self) -> str:
        """What /etc/hosts says of them in most clusters."""
        return "".join(f"{host.address} {host.name}\n" for host in self.both)

    def cut(self) -> None:
        """Take the link between them down; nobody is told."""
        for host in self.both:
            _ip("-n", host.name, "link", "set", INTERFACE, "down")

    def join(self) -> None:
        """Take it up again."""
        for host in self.both:
            _ip("-n", host.name, "link", "set", INTERFACE, "up")


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Made, and removed whatever happens; skips the test where that is not allowed."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("two hosts on one machine need root, ip, unshare and hostname")
    hosts = Hosts((Host(f"mdlm-{os.getpid()}-a", "10.77.0.1"), Host(f"mdlm-{os.getpid()}-b", "10.77.0.2")))
    made: list[Host] = []
    try:
        for host in hosts.both:
            if subprocess.run(["ip", "netns", "add", host.name], capture_output=True, check=False).returncode:
                pytest.skip("this machine makes no network namespaces")
            made.append(host)
        first, second = hosts.both
        _ip("-n", first.name, "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", second.name)
        for host in hosts.both:
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", INTERFACE)
            _ip("-n", host.name, "link", "set", "lo", "up")
        hosts.join()
        yield hosts
    finally:
        for host in made:
            _ip("netns", "delete", host.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)

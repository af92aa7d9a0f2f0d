"""Hosts for the tests of this folder, and one process's results to compare with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.namespaces import Hosts, two_hosts
from tests.hosts.running import README, Runs, evaluation, outcome


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts() as both:
        yield both


@pytest.fixture
def runs(hosts, tmp_path) -> Iterator[Runs]:
    """Ended before the hosts are removed, and the link is there again for the next test."""
    running = Runs(tmp_path / "shared")
    yield running
    running.close()
    hosts.join()


@pytest.fixture(scope="module")
def decoding() -> str:
    """How the runs of a file decode."""
    return README


@pytest.fixture(scope="module")
def alone(tmp_path_factory, decoding) -> Any:
    """Results and samples of one process without a launcher."""
    folder: Path = tmp_path_factory.mktemp("alone")
    running = Runs(folder)
    running.alone(evaluation(folder, decoding))
    return outcome(folder)

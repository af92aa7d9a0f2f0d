"""Two hosts by torchrun and by accelerate: the files of one process."""

import pytest

from tests.harness.test_stock_likelihoods import written
from tests.hosts.running import by_accelerate, by_rendezvous, by_torchrun, evaluation, outcome


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("launcher", "per_host"),
    [
        pytest.param(by_torchrun, 2, id="torchrun"),
        pytest.param(by_accelerate, 1, id="accelerate"),
    ],
)
def test_two_hosts_write_the_files_of_one_process(hosts, runs, alone, launcher, per_host):
    parts = runs.on_hosts(hosts, launcher, evaluation(runs.folder), per_host=per_host)
    assert [part.end(300) for part in parts] == [0, 0], [part.log.read_text()[-3000:] for part in parts]
    assert outcome(runs.folder) == alone
    shared = written(runs.folder / "output")["config"]["mdlm"]["nfe_by_process"]
    assert len(shared) == 2 * per_host and min(shared) > 0


def test_hosts_whose_names_are_known_need_neither_numbers_nor_an_interface(hosts, runs, alone, tmp_path):
    (tmp_path / "names").write_text(hosts.names())
    arguments = evaluation(runs.folder)
    parts = runs.on_hosts(hosts, by_rendezvous, arguments, names=tmp_path / "names", GLOO_SOCKET_IFNAME="")
    assert [part.end(300) for part in parts] == [0, 0], [part.log.read_text()[-3000:] for part in parts]
    assert outcome(runs.folder) == alone

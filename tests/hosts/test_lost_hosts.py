"""A host is lost in the middle of a run: the other one ends and names its process, and the next run completes it."""

import time

import pytest

from tests.hosts.running import ROWS, by_torchrun, evaluation, kept, outcome, wait_for


pytestmark = pytest.mark.slow
SILENCE = 8
PATIENCE = {"LM_EVAL_MDLM_SILENCE_S": str(SILENCE)}
GONE = {0: "process 0 is gone: its store has not answered for 8 s", 1: "process 1 is gone: no sign of life for 8 s"}


@pytest.fixture(scope="module")
def decoding() -> str:
    """So slowly that one host does not finish all rows before it finds that it is alone."""
    return "sampler=fixed_k,k=1"


@pytest.fixture
def begun(hosts, runs, decoding):
    """The parts of a run over both hosts that has finished some rows."""
    parts = runs.on_hosts(hosts, by_torchrun, evaluation(runs.folder, decoding), **PATIENCE)
    wait_for(lambda: kept(runs.folder) >= 2)
    return parts


@pytest.fixture
def completed(hosts, runs, decoding):
    """Runs the command again, which makes no row twice; returns what it wrote."""

    def again():
        known = kept(runs.folder)
        assert known < ROWS  # else nothing was lost
        parts = runs.on_hosts(hosts, by_torchrun, evaluation(runs.folder, decoding), **PATIENCE)
        assert [part.end(300) for part in parts] == [0, 0], [part.log.read_text()[-3000:] for part in parts]
        assert kept(runs.folder) == ROWS
        return outcome(runs.folder)

    return again


def ends_with(part, lost: int, since: float) -> None:
    """A part ends within three times the silence and names the process that it has lost."""
    assert part.end(3 * SILENCE + 10) != 0
    line = f"lm_eval_mdlm: error: {GONE[lost]}, and process {1 - lost} does not go on without it."
    assert part.lines() == [line]
    print(f"told {time.monotonic() - since:.1f} s after the loss: {line}")


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_loses_its_power(begun, alone, completed, lost):
    since = time.monotonic()
    begun[lost].kill()
    ends_with(begun[1 - lost], lost, since)
    assert completed() == alone


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_stands_still_and_goes_on_when_the_run_is_done(begun, alone, completed, lost):
    since = time.monotonic()
    begun[lost].stop()
    ends_with(begun[1 - lost], lost, since)
    if lost == 1:  # host 0 would keep the port of the next run
        assert completed() == alone
    begun[lost].go_on()
    assert begun[lost].end(3 * SILENCE + 10) != 0
    if lost == 0:
        assert completed() == alone


def test_a_link_that_goes_down(hosts, begun, alone, completed):
    since = time.monotonic()
    hosts.cut()
    for lost in (0, 1):
        ends_with(begun[1 - lost], lost, since)
    hosts.join()
    assert completed() == alone


def test_a_link_that_is_down_for_less_than_the_silence(hosts, begun, alone, runs):
    hosts.cut()
    time.sleep(SILENCE / 4)
    hosts.join()
    assert [part.end(120) for part in begun] == [0, 0]
    assert outcome(runs.folder) == alone


def test_hosts_that_name_the_wrong_network_say_so(hosts, runs):
    parts = runs.on_hosts(hosts, by_torchrun, evaluation(runs.folder), GLOO_SOCKET_IFNAME="lo", **PATIENCE)
    assert all(part.end(180) != 0 for part in parts)
    lines = [line for part in parts for line in part.lines()]
    assert any("did not reach the others: Gloo connectFullMesh failed" in line for line in lines), lines
    assert all(line.count("lm_eval_mdlm: error: process ") == 1 for line in lines)

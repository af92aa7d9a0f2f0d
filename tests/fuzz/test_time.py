"""What takes too long is found, whether it computes or waits."""

import signal
import time

import pytest

from tests.fuzz import inputs


def computing():
    while True:
        pass


def test_time_of_the_processor_is_found(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_SECONDS", 0.05)
    with pytest.raises(AssertionError, match="of the processor"), inputs.in_time():
        computing()


def test_a_wait_is_found(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_SECONDS_WAITED", 0.05)
    with pytest.raises(AssertionError, match="by the clock"), inputs.in_time():
        time.sleep(20)


def test_both_clocks_are_stopped_and_their_handlers_are_as_before():
    before = [signal.getsignal(kind) for kind in (signal.SIGPROF, signal.SIGALRM)]
    with inputs.in_time():
        running = [signal.getitimer(clock)[0] for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL)]
    assert running == pytest.approx([inputs.MOST_SECONDS, inputs.MOST_SECONDS_WAITED], abs=2)
    assert signal.getitimer(signal.ITIMER_PROF) == signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert [signal.getsignal(kind) for kind in (signal.SIGPROF, signal.SIGALRM)] == before

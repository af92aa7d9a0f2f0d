"""What silence means: who is gone, who has not come, and who is only not heard."""

from dataclasses import replace

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running.beats import Beats, Patience


LIMIT, MEETING = 30.0, 100.0


def listening(limit: float = LIMIT, ranks=(1, 2), *, formed=True):
    """Beats, and a function that lets seconds pass in which these processes beat; it returns what `loss` says."""
    beats, clock = Beats(ranks, Patience(limit, MEETING), 0.0, "10.0.0.1:29500"), [0.0]
    if formed:
        beats.form(clock[0])
    values = dict.fromkeys(ranks, b"0")

    def after(seconds: int, alive=(), answers=True) -> str | None:
        for _ in range(seconds):
            clock[0] += 1
            values.update({rank: b"%d" % clock[0] for rank in alive})
            if answers:
                beats.hear(values, clock[0])
            if loss := beats.loss(clock[0]):
                return f"{clock[0]:.0f}: {loss}"
        return None

    return beats, after


def test_the_first_second_beyond_the_limit_is_a_loss():
    _, after = listening()
    assert after(100, alive=(1, 2)) is None
    assert after(30, alive=(1,)) is None
    assert after(1, alive=(1,)) == "131: process 2 is gone: no sign of life for 30 s"


def test_one_that_beats_late_is_no_loss_and_one_that_stops_is_one():
    _, after = listening(10)
    assert after(9, alive=(1,)) is None and after(9, alive=(2,)) is None
    assert after(50, alive=(2,)) == "20: process 1 is gone: no sign of life for 10 s"


@pytest.mark.parametrize("limit", [10, 200])
def test_one_that_never_beats_has_not_come_however_long_silence_may_be(limit):
    _, after = listening(limit, formed=False)
    assert after(100, alive=(1,)) is None
    assert after(1, alive=(1,)) == "101: process 2 has not come: no sign of life for 100 s"


def test_one_that_comes_within_its_time_is_then_heard_as_the_others_are():
    _, after = listening(10, formed=False)
    assert after(95, alive=(1,)) is None and after(90, alive=(1, 2)) is None
    assert after(50, alive=(1,)).startswith("196: process 2 is gone")


def test_one_that_was_met_and_never_heard_has_come():
    beats, after = listening(10, formed=False)
    assert after(20, alive=(1,)) is None
    beats.form(20.0)
    assert after(20, alive=(1,)) == "31: process 2 is gone: no sign of life for 10 s"


def test_beats_of_an_earlier_start_are_no_sign_of_life():
    beats, _ = listening(10, formed=False)
    for second in range(1, 101):
        beats.hear({1: b"%d" % second, 2: b"77"}, second)
        assert beats.loss(second) is None
    beats.hear({1: b"101", 2: b"77"}, 101.0)
    assert beats.loss(101.0) == "process 2 has not come: no sign of life for 100 s"


@pytest.mark.parametrize("farewell", [b"done", b"released"])
def test_farewells_of_an_earlier_start_are_none(farewell):
    beats, _ = listening(10, ranks=(0,), formed=False)
    for second in range(1, 101):
        beats.hear({0: farewell}, second)
        assert beats.loss(second) is None and not beats.have_done([0])
    assert beats.loss(101.0) == "process 0 has not come: no sign of life for 100 s"
    for beat in (b"1", b"2", farewell):
        assert not beats.have_done([0])
        beats.hear({0: beat}, 102.0)
    assert beats.have_done([0])


@pytest.mark.parametrize(("come", "told"), [(0, 103), (90, 192)])
def test_all_have_come_and_do_not_reach_each_other(come, told):
    beats, after = listening(formed=False)
    assert after(come, alive=(1,)) is None and after(100, alive=(1, 2)) is None
    # A first value may be an old one: the second says that they have come.
    lost = after(10, alive=(1, 2))
    assert lost.startswith(f"{told}: no network between the processes was found in 100 s")
    beats.form(200.0)
    assert after(1000, alive=(1, 2)) is None


def test_processes_of_one_host_are_lost_together():
    _, after = listening(30, ranks=(1, 2, 3, 4))
    assert after(40, alive=(1, 2, 3, 4)) is None
    assert after(4, alive=(1, 4, 3)) is None  # a last beat of 3 came through
    assert after(50, alive=(1,)) == "71: process 2, with 3, 4, is gone: no sign of life for 30 s"


def test_a_store_without_answers_is_the_loss_of_process_0_and_of_nobody_else():
    _, after = listening(10, ranks=(0, 1))
    assert after(5, alive=(0, 1)) is None and after(3, alive=(0,)) is None
    assert after(50, answers=False) == "19: process 0 is gone: its store has not answered for 10 s"


def test_a_store_that_never_answers_is_told_by_its_address():
    _, after = listening(10, ranks=(0, 1), formed=False)
    assert after(100, answers=False) is None
    lost = "101: process 0 has not come: nothing has answered at 10.0.0.1:29500 for 100 s"
    assert after(1, answers=False) == lost


@pytest.mark.parametrize("farewell", [b"done", b"released"])
def test_who_has_said_farewell_may_be_silent(farewell):
    beats = Beats((1, 2), Patience(10, MEETING), 0.0, "")
    beats.form(0.0)
    for second in range(1, 4):
        beats.hear({1: b"%d" % second, 2: b"%d" % second}, second)
    assert not beats.have_done([1, 2])
    beats.hear({1: farewell}, 3.0)
    assert beats.have_done([1]) and not beats.have_done([1, 2])
    for second in range(4, 200):
        beats.hear({1: farewell, 2: b"%d" % min(second, 150)}, second)
        lost = beats.loss(second)
        assert lost is None if second <= 160 else "process 2 is gone" in lost


def test_who_has_stood_still_itself_gives_the_others_their_full_time_again():
    beats, _ = listening(10)
    for second in range(4):
        beats.hear({1: b"%d" % second, 2: b"%d" % second}, second)
        assert beats.loss(second) is None
    assert beats.loss(1000.0) is None  # suspended meanwhile
    for second in range(1000, 1011):
        beats.hear({2: b"%d" % second}, second)
        assert beats.loss(second) is None
    beats.hear({2: b"over"}, 1011.0)
    assert beats.loss(1011.0).startswith("process 1 is gone")


def test_who_has_stood_still_before_the_others_came_waits_for_them_anew():
    beats, _ = listening(10)
    assert beats.loss(1000.0) is None
    for second in range(1001, 1101):
        assert beats.loss(second) is None
    assert "process 0 has not come" in beats.loss(1101.0)


@pytest.mark.parametrize("name", ["LM_EVAL_MDLM_SILENCE_S", "LM_EVAL_MDLM_MEETING_S"])
@pytest.mark.parametrize("text", ["", "0", "1e-4", "-1", "nan", "inf", "1e15", "soon"])
def test_seconds_that_are_none_are_refused(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(UsageError, match=f"{name} must be a number of seconds from 1 to 31536000, got"):
        Patience.of_environment()


def test_each_number_of_seconds_has_its_own_name(monkeypatch):
    monkeypatch.setenv("LM_EVAL_MDLM_SILENCE_S", "7.5")
    assert Patience.of_environment() == replace(Patience(), silence=7.5)
    monkeypatch.setenv("LM_EVAL_MDLM_MEETING_S", "40")
    assert Patience.of_environment() == Patience(silence=7.5, meeting=40)

"""No text may make a reader fail or take long. The default run is a sample; `-m slow` is the whole."""

import time
from collections.abc import Callable

import pytest

from benchmarks.hostile_texts import LONGEST, hostile_texts
from lm_eval_mdlm.scoring import gsm8k, limited, math500


SECONDS = 5.0
MATH500 = {"answer": r"x \in [-2,7]", "solution": r"So $\boxed{x \in [-2,7]}$."}
GSM8K = {"question": "How many dozens?", "answer": "#### 18"}


def slowest(read: Callable[[str], object], count: int, seed: int) -> tuple[float, str]:
    """Processor time of the slowest text, which another program on the machine does not change, and its beginning."""
    worst = (0.0, "")
    for text in hostile_texts(count, seed):
        started = time.process_time()
        read(text)
        worst = max(worst, (time.process_time() - started, text[:80]))
    return worst


def score_gsm8k(text: str) -> None:
    assert set(gsm8k.process_results(GSM8K, [text]).values()) <= {0.0, 1.0}


def score_math500(text: str) -> None:
    assert set(math500.process_results(MATH500, [text]).values()) <= {0.0, 1.0}


def test_texts_reach_the_longest_length_and_hold_every_kind():
    texts = list(hostile_texts(2000, 0))
    assert LONGEST * 0.9 < max(map(len, texts)) <= LONGEST
    for piece in ("\\frac", "((((", "9999", "\ud800", "answer is answer is", "#### "):
        assert any(piece in text for text in texts)


def test_gsm8k_reads_any_text_in_time():
    assert slowest(score_gsm8k, 300, seed=1)[0] < SECONDS


@pytest.mark.slow
def test_gsm8k_reads_20000_texts_each_in_time():
    assert slowest(score_gsm8k, 20_000, seed=2)[0] < SECONDS


@pytest.mark.parametrize(
    "text",
    [
        *("answer is " * 4000, "answer: " * 5000, "#### " * 8000, "#### 1 or 2 " * 3000, "\\boxed{" * 5700),
        *("\\boxed{}" * 5000, "answer" + " " * 39000, ("answer" + " " * 90) * 400, "9" * 40000, "(" * 40000 + "1"),
        *("1+" * 20000 + "1", "2^" * 20000 + "2", "-" * 40000 + "1", "\\frac" * 8000, "\\text{" * 6000, "1, " * 13000),
        *("answer is " + "(" * 39000 + "1", "\\boxed{" + "1 " * 19000, "** a " * 8000, "{,}" * 13000, "½" * 20000),
    ],
    ids=lambda text: text[:12].replace("\\", ""),
)
def test_long_repetitions_are_read_in_time(text):
    started = time.process_time()
    score_gsm8k(text)
    assert time.process_time() - started < SECONDS


def test_math500_reads_any_text_and_two_questions_fit_into_the_time():
    assert 2 * limited.CPU_SECONDS < SECONDS  # of the children, whose time this process does not see
    assert slowest(score_math500, 12, seed=4)[0] < SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 25))
def test_math500_reads_20000_texts_each_in_time(seed):
    worst = 0.0
    for text in hostile_texts(1000, seed):
        started = time.monotonic()
        score_math500(text)
        worst = max(worst, time.monotonic() - started)
    assert worst < SECONDS  # of wall time: run it on a machine that does nothing else, a process per core

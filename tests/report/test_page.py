"""The page: figures that match the statistics, nothing from elsewhere, and no text that becomes HTML."""

import json
import re

import pytest

from lm_eval_mdlm.report.boards import study_of
from lm_eval_mdlm.report.browser import browser_data
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.front_plot import FrontPlot
from lm_eval_mdlm.report.page import page
from lm_eval_mdlm.report.replays import Replays
from lm_eval_mdlm.report.summary import default_baseline, summarise
from tests.report.by_hand import write_run
from tests.report.reading import Page


pytest.importorskip("matplotlib")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;$x^{$ ]]>"


def read(folder, most_characters=1_000_000):
    found = read_folders([folder])
    study = study_of(found.runs)
    summaries = [summarise(board, default_baseline(board)) for board in study.boards]
    data = browser_data([(one.board, one.best, one.baseline) for one in summaries], most_characters, Replays(0))
    html = page(study, summaries, found.skipped, data)
    return html, Page(html)


def write_ways(folder):
    for name, right, nfe in (("slow", 36, 64.0), ("middle", 35, 16.0), ("fast", 20, 4.0)):
        scores = [1] * right + [0] * (40 - right)
        write_run(folder / name, {"strict": [0] * 40, "flexible": scores}, nfe=nfe, gen_kwargs={"way": name})


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """The page of three ways by two filters, as text and parsed."""
    folder = tmp_path_factory.mktemp("ways")
    write_ways(folder)
    return folder, *read(folder)


def test_page_asks_nothing_of_the_network(ways):
    _, html, parsed = ways
    for tag, own in parsed.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "video", "audio", "base")
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert own.get(name, "#").startswith("#"), (tag, own)
    assert "url(" not in re.sub(r"url\(#", "", html) and "@import" not in html
    assert "default-src 'none'" in html


def test_ids_are_unlike_and_every_link_leads_somewhere(ways):
    _, _, parsed = ways
    assert len(parsed.ids) == len(set(parsed.ids))
    links = {own.get(name) for _, own in parsed.tags for name in ("href", "xlink:href")} - {None}
    assert {link.removeprefix("#") for link in links} <= set(parsed.ids)


def test_figures_of_the_page_are_those_counted_by_hand(ways):
    _, _, parsed = ways
    rows = {row[1].split(" (")[0]: row for row in parsed.tables["sums (flexible): acc against slow"][1:]}
    fast = rows["fast"]
    assert fast[2] == "50.0" and fast[4].startswith("4.0") and fast[5] == "−40.0 (worse)"
    assert fast[9] == "0 / 16" and fast[10] == "40"
    assert "front" in rows["middle"][1] and "knee" in rows["middle"][1]
    assert rows["slow"][5] == "–" and "baseline" in rows["slow"][1]
    assert parsed.tables["Score | NFE"][1] == ["fast", "0.0 | 4.0 (n = 40)", "50.0 | 4.0 (n = 40, worse)"]
    gaps = {row[0]: row[3] for row in parsed.tables["Strict against flexible filters"][1:]}
    assert gaps["fast"] == "50.0 (flagged: form of the answer)"
    assert parsed.tables["sums (flexible): flips"][1] == ["1 fast", "–", "0 / 15 (p < 0.001)", "0 / 16 (p < 0.001)"]
    assert parsed.tables["sums (flexible): flips"][2] == ["2 middle", "15 / 0 (p < 0.001)", "–", "0 / 1 (p = 1.000)"]
    assert parsed.tables["sums (flexible): outcomes"][1][1:3] == ["20 (50.0 %)", "20 (50.0 %)"]
    assert "Fewest passes that are not shown to be worse than the best: middle" in parsed.text
    assert "Significantly worse than the baseline: fast." in parsed.text


def test_front_is_told_from_the_cheapest_on(ways):
    _, _, parsed = ways
    front = "fast (50.0 % at 4.0), middle (87.5 % at 16.0), slow (90.0 % at 64.0)"
    assert f"Best for their passes or fewer (Pareto front): {front}." in parsed.text


def test_scores_stand_by_quarters_of_certainty(tmp_path):
    entropies = [0.8, 0.1, 0.7, 0.2, 0.6, 0.3, 0.5, 0.4]
    scores = [0, 1, 0, 1, 1, 0, 1, 1]
    write_run(tmp_path / "a", scores, numbers={"answer_entropy": entropies})
    _, parsed = read(tmp_path)
    (row,) = parsed.tables["sums: acc % by certainty"][1:]
    by_quarter = [("100.0", 0.2), ("50.0", 0.4), ("100.0", 0.6), ("0.0", 0.8)]
    assert row[1:] == [f"{score} (to {most} nats, n = 2)" for score, most in by_quarter]


def test_attempts_stand_beside_all_the_passes_they_take(tmp_path):
    for seed, scores in ((1, [1, 0]), (2, [0, 0])):
        write_run(tmp_path / str(seed), scores, nfe=12.0, gen_kwargs={"seed": seed})
    _, parsed = read(tmp_path)
    assert parsed.tables["sums: pass@k | NFE of k attempts"][1][1:] == ["25.0 | 12.0", "50.0 | 24.0"]


def test_changed_answers_name_the_better_method(tmp_path):
    write_run(tmp_path / "a", [1, 0, 1, 1], readings=list("abcd"), nfe=9.0, gen_kwargs={"way": 1})
    write_run(tmp_path / "b", [1, 1, 0, 0], readings=list("efgh"), nfe=64.0, gen_kwargs={"way": 2})
    _, parsed = read(tmp_path)
    rows = parsed.tables["sums: changed answers, the first 3"]
    assert rows == [
        ["better", "target", "read from a", "read from b"],
        ["b", "1", "b", "f"],
        ["a", "2", "c", "g"],
        ["a", "3", "d", "h"],
    ]


@pytest.mark.parametrize("higher", [True, False])
def test_a_band_crosses_the_baseline_where_its_interval_holds_nothing(tmp_path, higher):
    write_run(tmp_path / "a", [2.0, 2.5, 3.0, 2.0], nfe=64.0, gen_kwargs={"way": 1}, higher=higher)
    write_run(tmp_path / "b", [4.0, 4.0, 5.5, 4.0], gen_kwargs={"way": 2}, higher=higher)
    (board,) = study_of(read_folders([tmp_path]).runs).boards
    found = summarise(board, "a")
    low, high = FrontPlot(found, {"a": "a", "b": "b"}).band(found.row("b"))
    assert (low + high) / 2 == pytest.approx(found.row("b").mean.value)  # around b's own score
    interval = found.row("b").to_baseline.interval
    assert high - low == pytest.approx(interval.high - interval.low)
    assert (low > found.row("a").mean.value) == (interval.low > 0 or interval.high < 0)


def test_small_gaps_between_filters_are_not_flagged(tmp_path):
    write_run(tmp_path, {"strict": [1] * 19 + [0], "flexible": [1] * 20})
    _, parsed = read(tmp_path)
    assert parsed.tables["Strict against flexible filters"][1][3] == "5.0"


def test_strict_and_flexible_metrics_of_one_filter_are_set_side_by_side(tmp_path):
    path = write_run(tmp_path / "a", [1] * 8 + [0] * 2)
    plain = json.loads(path.read_text())
    more = {"exact_strict,none": 0.3, "exact_flexible,none": 0.7, "exact_flexible_stderr,none": 0.1, "ppl,none": 9.0}
    plain["results"]["sums"] |= more
    path.write_text(json.dumps(plain))
    _, parsed = read(tmp_path)
    (row,) = parsed.tables["Strict against flexible filters"][1:]
    assert row[2] == "acc 80.0; exact_strict 30.0; exact_flexible 70.0"
    assert row[3] == "40.0 (flagged: form of the answer)"


def test_every_method_with_passes_is_a_point_with_its_settings(ways):
    _, html, parsed = ways
    assert sum(bool(re.fullmatch(r"f2-front-point-\d", one)) for one in parsed.ids) == 3
    assert "<title>fast: 50.0 % at 4.0 passes; to the baseline −40.0 points</title>" in html


def test_text_of_models_documents_and_names_stays_text(tmp_path):
    name = HOSTILE.replace("/", "")
    options = {"note": HOSTILE, "way": 1}
    write_run(tmp_path / name, [1, 0], texts=[HOSTILE] * 2, readings=[HOSTILE] * 2, documents=["x", HOSTILE],
              prompt=HOSTILE, gen_kwargs=options, effective=options, config={"batch_size": HOSTILE})  # fmt: skip
    write_run(tmp_path / "plain", [0, 0], documents=["x", HOSTILE], prompt="other", gen_kwargs={"way": 2})
    _, parsed = read(tmp_path)
    assert parsed.count("script") == 2 and parsed.count("img") == 0
    assert not any(attribute.startswith("on") for _, own in parsed.tags for attribute in own)
    assert HOSTILE in parsed.text
    assert HOSTILE in parsed.data["texts"]


def test_browser_has_every_row_of_every_run(tmp_path):
    write_run(tmp_path / "a", [1, 0, 0], documents=["x", "y", "z"], texts=["t1", "t2", "t3"], gen_kwargs={"k": 1})
    write_run(tmp_path / "b", [1, 1], documents=["z", "y"], texts=["t4", "t5"], gen_kwargs={"k": 2})
    _, parsed = read(tmp_path)
    (board,) = parsed.data["boards"]
    texts = parsed.data["texts"]
    assert board["runs"] == ["a", "b"] and board["left_out"] == 0
    rows = {problem["number"]: problem["rows"] for problem in board["problems"]}
    assert [(row[0], texts[row[3]]) if row else None for row in rows[1]] == [(1.0, "t1"), None]
    assert [(row[0], texts[row[3]]) for row in rows[2]] == [(0.0, "t2"), (1.0, "t5")]
    assert [(row[0], texts[row[3]]) for row in rows[3]] == [(0.0, "t3"), (1.0, "t4")]


def test_problems_on_which_runs_agree_are_the_first_to_be_left_out_and_are_counted(tmp_path):
    n = 50
    texts = [f"{place} ".ljust(1000, "x") for place in range(n)]
    write_run(tmp_path / "a", [1] * n, texts=texts, gen_kwargs={"k": 1})
    write_run(tmp_path / "b", [1] * (n - 3) + [0] * 3, texts=texts, gen_kwargs={"k": 2})
    _, parsed = read(tmp_path, most_characters=10_000)
    (board,) = parsed.data["boards"]
    assert {n, n - 1, n - 2} <= {problem["number"] for problem in board["problems"]}
    assert len(board["problems"]) + board["left_out"] == n and board["left_out"] > 30


def test_runs_without_samples_or_passes_have_a_page_too(tmp_path):
    write_run(tmp_path / "ar", [1, 0], nfe=None, model="hf", keep_samples=False)
    _, parsed = read(tmp_path)
    assert parsed.count("svg") == 0
    assert parsed.tables["Score | NFE"][1] == ["ar", "50.0 | – (no samples)"]
    assert parsed.data["boards"] == []


@pytest.mark.parametrize("scores", [[1], [0], [1] * 5, [0] * 5, [0.3]])
def test_extremes_have_a_page(tmp_path, scores):
    for name in ("a", "b"):
        write_run(tmp_path / name, scores, gen_kwargs={"way": name}, numbers={"exit_step": [3.0] * len(scores)})
    _, parsed = read(tmp_path)
    (row,) = [row for row in parsed.tables["sums: acc against a"][1:] if row[1].startswith("b")]
    assert row[5] == "0.0" and row[7].startswith("1.000")


def test_what_was_skipped_stands_on_the_page(tmp_path):
    write_run(tmp_path / "good", [1, 0])
    (tmp_path / "results_2026-01-01T00-00-00.json").write_text("{")
    _, parsed = read(tmp_path)
    assert "results_2026-01-01T00-00-00.json" in parsed.tables["Skipped"][1][0]


def test_equal_runs_make_equal_pages(ways):
    folder, html, _ = ways
    assert read(folder)[0] == html


def test_page_of_many_samples_stays_small_and_whole(tmp_path):
    n = 2000
    texts = [json.dumps({"place": place, "text": "word " * 40}) for place in range(n)]
    for k in (1, 2):
        write_run(tmp_path / str(k), [int(place % k == 0) for place in range(n)], texts=texts, gen_kwargs={"k": k})
    html, parsed = read(tmp_path, most_characters=4_000_000)
    assert len(html) < 2_000_000
    assert len(parsed.data["boards"][0]["problems"]) == n


def test_groups_stand_in_a_table_with_lm_evals_own_numbers(tmp_path):
    for name, acc in (("one", 0.75), ("two", 0.5)):
        path = write_run(tmp_path / name, [1, 0, 1, 1], gen_kwargs={"way": name})
        plain = json.loads(path.read_text())
        own = {"acc,none": acc, "acc_stderr,none": 0.1, "acc,strict": 0.25, "alias": "all", "nfe,none": "N/A"}
        plain["groups"] = {"everything": own} if name == "one" else {"other": own}
        path.write_text(json.dumps(plain))
    write_run(tmp_path / "three", [1, 0, 0, 0], gen_kwargs={"way": "three"})
    _, parsed = read(tmp_path)
    assert parsed.tables["Groups of tasks, as lm_eval reports them"] == [
        ["run", "everything acc", "everything acc (strict)", "other acc", "other acc (strict)"],
        ["one", "0.75", "0.25", "–", "–"],
        ["two", "–", "–", "0.5", "0.25"],
    ]


@pytest.mark.parametrize("count", [24, 25])
def test_of_many_points_those_on_the_front_alone_have_numbers_and_all_can_be_pointed_at(tmp_path, count):
    for i in range(count):
        right = min(3 * (i + 1), 9)  # from the third on no method is better than a cheaper one
        write_run(
            tmp_path / f"way {i}", [1] * right + [0] * (12 - right), nfe=float(i + 2), gen_kwargs={"way": f"w{i}"}
        )
    html, parsed = read(tmp_path)
    assert sum(bool(re.fullmatch(r"f1-front-point-\d+", one)) for one in parsed.ids) == count
    assert ("points of the front alone have theirs" in parsed.text) == (count > 24)
    written = re.findall(r">([\d, ]+)</text>", html[html.index("<figure>") : html.index("<figcaption>")])
    numbers = {number for text in written for number in text.split(", ")}  # of points at one spot in one text
    assert {"1", "2", "3"} <= numbers and ("17" in numbers) == (count <= 24)

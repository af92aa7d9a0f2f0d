"""Recorded decodings on the page: each beside the row that it is of, and step by step what the recording holds."""

import numpy as np
import pytest

from lm_eval_mdlm.report.write import ReportOptions, write_report
from tests.recordings.made import MASK, steps, write
from tests.report.by_hand import write_run
from tests.report.reading import Page


pytest.importorskip("matplotlib")

TEXTS = {4: "four ", 5: "five\n", 6: "</script>", 11: "The answer is "}
REGION = np.array([MASK, MASK, 11, MASK])


def row(doc_id=0, *, texts=TEXTS, **more):
    commits = [
        {"positions": [0, 3], "tokens": [4, 5], "entropy": [0.25, 1 / 3], "bound": 2.5},
        {"positions": [1], "tokens": [6], "remasked": [3], "bound": 0.0},
        {"positions": [0, 3], "tokens": [5, 0], "entropy": [1.0, 2.0]},
    ]
    own = {"task": "sums", "doc_id": doc_id, "region_ids": REGION, "stop": "exit", "texts": texts}
    return steps(commits, length=4, segments=(("reasoning", 0, 4),), **{**own, **more})


def write_recorded(folder, name, rows, *, nfe=3.0, problems=4, **more):
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{name} steps", rows)
    arguments = {"model_args": {"pretrained": "demo", "record_steps": f"elsewhere/{name} steps"}}
    write_run(folder / name, [1] * problems, nfe=nfe, gen_kwargs={"way": name}, config=arguments, **more)


def data_of(folder, **options):
    output = folder / "page.html"
    made = write_report(ReportOptions(folders=[folder], output=output, **options))
    parsed = Page(output.read_text())
    return parsed.data, made


def replays_of(data, board=0):
    """By problem, then by run: the replay that stands beside the row."""
    return {
        problem["number"]: [data["replays"][own[5]] if len(own) > 5 and own[5] is not None else None for own in rows]
        for problem in data["boards"][board]["problems"]
        if (rows := problem["rows"])
    }


def test_a_replay_holds_every_step_of_the_row_it_stands_beside(tmp_path):
    write_recorded(tmp_path, "med", [row(2)])
    data, made = data_of(tmp_path)
    assert replays_of(data)[1] == replays_of(data)[2] == replays_of(data)[4] == [None]
    (length, fixed, own, stop) = replays_of(data)[3][0]
    pieces = data["pieces"]
    spelt = [[[pieces[i] if i >= 0 else i for i in step[1]], *step[2:]] for step in own]
    assert (length, [[place, pieces[i]] for place, i in fixed], stop) == (4, [[2, "The answer is "]], "exit")
    assert [step[0] for step in own] == [[0, 3], [1], [0, 3]]
    assert spelt == [
        [["four ", "five\n"], [0.25, 0.333], [], 2.5],
        [["</script>"], [0.0], [3], 0.0],
        [["five\n", -2], [1.0, 2.0], [], None],
    ]
    assert not made.skipped and data["boards"][0]["replayed"] == 1


def test_recordings_without_texts_show_ids(tmp_path):
    write_recorded(tmp_path, "med", [row(0, texts={})])
    data, _ = data_of(tmp_path)
    assert data["pieces"] == ["#4", "#5", "#6", "#11"]


def test_rows_of_other_runs_tasks_and_repeats_are_left_out(tmp_path):
    rows = [row(0), row(1, nfe=4), row(2, task="others"), row(3, repeat=1), row(9)]
    write_recorded(tmp_path, "med", rows)
    data, made = data_of(tmp_path)
    assert [number for number, found in replays_of(data).items() if found != [None]] == [1]
    assert len(data["replays"]) == 1 and not made.skipped


@pytest.mark.parametrize(("most", "shown"), [(0, 0), (1, 1), (4, 2), (5, 2), (100, 4)])
def test_no_more_rows_are_replayed_than_asked_for_and_never_only_one_runs(tmp_path, most, shown):
    for name in ("one", "two"):
        write_recorded(tmp_path, name, [row(i) for i in range(4)])
    data, _ = data_of(tmp_path, replays=most)
    assert data["boards"][0]["replayed"] == shown
    assert len(data["replays"]) == 2 * shown
    for found in list(replays_of(data).values())[:shown]:
        assert None not in found


def test_filters_of_a_task_share_replays(tmp_path):
    folder = tmp_path / "runs"
    write(tmp_path / "steps", [row(i) for i in range(4)])
    arguments = {"model_args": {"record_steps": str(tmp_path / "steps")}}
    write_run(folder, {"strict": [0] * 4, "flexible": [1] * 4}, nfe=3.0, config=arguments)
    data, _ = data_of(tmp_path)
    assert len(data["boards"]) == 2 and len(data["replays"]) == 4
    assert replays_of(data, 0) == replays_of(data, 1)


def test_a_recording_that_is_gone_is_said_and_a_damaged_one_is_skipped_with_a_line(tmp_path):
    for name in ("gone", "damaged", "sound"):
        write_recorded(tmp_path, name, [row(0)])
    (file,) = (tmp_path / "gone steps").iterdir()
    file.unlink()
    (tmp_path / "gone steps").rmdir()
    (file,) = (tmp_path / "damaged steps").iterdir()
    file.write_bytes(b"no gzip")
    data, made = data_of(tmp_path)
    assert data["boards"][0]["unfound"] == 1 and data["boards"][0]["replayed"] == 1
    assert len(made.skipped) == 1 and "damaged steps" in made.skipped[0]


def test_runs_that_differ_by_their_recording_alone_are_one_method(tmp_path):
    for seed in (0, 1):
        arguments = {"model_args": {"record_steps": f"steps {seed}", "seed": seed}}
        write_run(tmp_path / str(seed), [1, 0, 1, 1], config=arguments)
    data_of(tmp_path)
    assert "1 method, 2 runs" in Page((tmp_path / "page.html").read_text()).text

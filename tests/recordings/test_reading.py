"""The reader returns what was recorded, whatever cut its files off, and never anything else."""

import dataclasses
import gzip
import json
import logging
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from lm_eval_mdlm import read_steps
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.recordings import members
from lm_eval_mdlm.recordings.members import SUFFIX, Header, packed, row_line
from lm_eval_mdlm.recordings.steps import Steps
from tests.recordings.made import HEADER, MASK, steps, write


AWKWARD = np.array([1 / 3, 1e-38, 3.4e38, 0.1, 1.17549435e-38, 16777217, -0.0, 2**-149], dtype=np.float32)
ROWS = [
    steps(
        [
            {"positions": [1, 3], "tokens": [4, 5], "entropy": [0.25, 1 / 3], "bound": 2.5},
            {"positions": [0], "tokens": [6], "bound": 0.1, "remasked": [3]},
            {"positions": [], "bound": 0.1},
            {"positions": [3, 1], "tokens": [8, 2], "bound": 0.0},
        ],
        doc_id=i,
        options={"sampler": "med", "until": ["é\n", '"']},
    )
    for i in range(3)
]


def same(one, other) -> bool:
    return one.to_plain() == other.to_plain()


def test_rows_come_back_with_every_bit(tmp_path):
    row = steps([{"positions": list(range(8)), "entropy": AWKWARD, "log_prob": -AWKWARD}], length=8)
    write(tmp_path, [row])
    (found,) = read_steps(str(tmp_path))
    for name in ("entropy", "log_prob"):
        assert getattr(found, name).tobytes() == getattr(row, name).tobytes()
        assert getattr(found, name).dtype == np.float32
    assert found.positions.dtype == found.prompt_ids.dtype == np.int64 and found.partial.dtype == np.bool_
    assert same(found, row) and np.isnan(found.answer_entropy).all()


def test_texts_of_tokens_come_back_and_rows_without_any_are_read(tmp_path):
    row = steps([{"positions": [0], "tokens": [5]}], texts={5: " é\n", 11: '"'})
    write(tmp_path / "new", [row])
    assert read_steps(tmp_path / "new")[0].texts == {5: " é\n", 11: '"'}
    older = {name: value for name, value in row.to_plain().items() if name != "texts"}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / f"a{SUFFIX}").write_bytes(HEADER.member() + packed(row_line("0" * 32, older)))
    (found,) = read_steps(tmp_path / "old")
    assert found.texts == {} and found.tokens.tolist() == [5]


def test_canvas_follows_commits_replacements_and_new_masks(tmp_path):
    write(tmp_path, ROWS)
    row = read_steps(tmp_path)[0]
    regions = [row.region_before(step).tolist() for step in range(row.num_steps + 1)]
    m = MASK
    assert regions == [
        [m, m, m, m, m, m],
        [m, 4, m, 5, m, m],
        [6, 4, m, m, m, m],
        [6, 4, m, m, m, m],
        [6, 2, m, 8, m, m],
    ]
    assert row.canvas_prompt.tolist() == [2, 3] and row.region_ids.tolist() == [m] * 6


def test_rows_are_ordered_by_task_document_and_repeat(tmp_path):
    write(tmp_path, ROWS[::-1])
    assert [row.doc_id for row in read_steps(tmp_path)] == [0, 1, 2]


def test_any_gzip_reader_reads_the_files_as_lines(tmp_path):
    path = write(tmp_path, ROWS)
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert json.loads(header)["mdlm_steps"] == 1 and len(lines) == 3
    assert json.loads(lines[1])["doc_id"] == 1


def test_every_truncation_leaves_the_whole_rows_and_one_line(tmp_path, caplog):
    path = write(tmp_path, ROWS)
    content = path.read_bytes()
    lengths = [len(HEADER.member())]
    for number in (1, 2, 3):
        lengths.append(len(write(tmp_path / str(number), ROWS[:number]).read_bytes()))
    caplog.set_level(logging.WARNING)
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        caplog.clear()
        whole = sum(cut >= length for length in lengths[1:])
        if whole:
            assert [row.doc_id for row in read_steps(tmp_path)] == list(range(whole))
            assert len(caplog.records) == (cut not in lengths)
        else:
            with pytest.raises(UsageError, match="holds no (recorded|whole) row"):
                read_steps(tmp_path)


def test_damage_before_whole_rows_is_an_error_that_names_the_file(tmp_path):
    path = write(tmp_path, ROWS)
    content = path.read_bytes()
    ends = [len(HEADER.member()), len(write(tmp_path / "1", ROWS[:1]).read_bytes()), len(content)]
    rng = np.random.default_rng(0)
    for place in rng.integers(ends[0], ends[1], size=60).tolist():
        if ends[0] + 4 <= place < ends[0] + 10:
            continue  # a time, flags and a system that gzip's check sum does not cover
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=rf"a{SUFFIX} is damaged at byte {ends[0]}"):
            read_steps(tmp_path)
    path.write_bytes(content[: ends[0]] + content[ends[0] + 30 :])
    with pytest.raises(UsageError, match="is damaged at byte"):
        read_steps(tmp_path)


@pytest.mark.parametrize("begin", [b'{"row":"', b""])
def test_a_row_that_unpacks_without_end_is_refused_before_it_takes_the_memory(tmp_path, monkeypatch, begin):
    row = row_line("0" * 32, ROWS[0].to_plain())
    monkeypatch.setattr(members, "MOST_BYTES", len(row) + 1)
    path = write(tmp_path, [ROWS[0]])
    assert len(read_steps(tmp_path)) == 1  # a row of just so many bytes, and its line end
    with path.open("ab") as file:
        file.write(packed(begin + b"0" * 2**24))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=f"recording {path} has a row of more than {len(row) + 1} bytes"):
            read_steps(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_a_row_that_stands_in_two_files_is_one_row(tmp_path):
    write(tmp_path, ROWS[:2])
    write(tmp_path, ROWS[1:], name="b")
    assert [row.doc_id for row in read_steps(tmp_path)] == [0, 1, 2]
    write(tmp_path, [steps([{"positions": [1]}], doc_id=1)], name="c")
    with pytest.raises(UsageError, match=rf"c{SUFFIX} has other steps for row 00000000 "):
        read_steps(tmp_path)


def test_files_of_two_runs_are_refused(tmp_path):
    write(tmp_path, ROWS)
    write(tmp_path, ROWS, name="b", header=Header(run="s" * 32, network=HEADER.network, package="0"))
    with pytest.raises(UsageError, match="different runs, a.* and b"):
        read_steps(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no recorded row"),
        (b"hello", "does not begin as one"),
        (gzip.compress(b'{"a": 1}\n'), "does not begin as one"),
        (gzip.compress(b"[1]\n"), "does not begin as one"),
        (gzip.compress(b'{"mdlm_steps": 2, "new": 1}\n'), "format 2 of a newer"),
        (gzip.compress(b'{"mdlm_steps": 1}\n'), "does not begin as one"),
        (gzip.compress(b'{"mdlm_steps": 1, "run": "r", "package": "0", "network": 3}\n'), "does not begin as one"),
        (gzip.compress(b"[" * 200_000 + b"\n"), "does not begin as one"),
        (HEADER.member(), "holds no whole row"),
        (HEADER.member() + gzip.compress(b'{"row":"%s","key":%s\n' % (b"0" * 32, b"[" * 200_000)), "no sound steps"),
        (HEADER.member() + gzip.compress(b'{"other": 1}\n'), "is damaged at byte"),
        (HEADER.member() + gzip.compress(b'{"row":"%s"}\n' % (b"0" * 32)), "no sound steps .KeyError"),
    ],
    ids=map(str, range(12)),  # contents of gzip would hold the time
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    (tmp_path / f"x{SUFFIX}").write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_steps(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ends", "tokens", "entropy", "answer_entropy", "remasked_ends"])
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path, name):
    row = ROWS[0]
    object.__setattr__(row := pickle.loads(pickle.dumps(row)), name, getattr(row, name)[:-1])
    write(tmp_path, [row])
    with pytest.raises(UsageError, match="no sound steps .ValueError"):
        read_steps(tmp_path)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Steps)])
@pytest.mark.parametrize(
    "value", [{"a": 1}, [["x"]], 1.5, -1, 10**30, float("inf"), True], ids=lambda one: f"{one!s:.6}"
)
def test_entries_of_another_kind_are_refused_in_one_line(tmp_path, name, value):
    line = row_line("0" * 32, {**ROWS[0].to_plain(), name: value})
    (tmp_path / f"a{SUFFIX}").write_bytes(HEADER.member() + packed(line))
    with pytest.raises(UsageError, match="no sound steps") as caught:
        read_steps(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("positions", [6, 0]),
        ("positions", [-1, 0]),
        ("remasked", [6]),
        ("ends", [1, 2, 2]),
        ("ends", [0, 3, 2]),
        ("segments", [["reasoning", 0, 7]]),
        ("segments", [["thought", 0, 6]]),
    ],
)
def test_places_outside_of_the_region_are_refused(tmp_path, name, value):
    row = steps([{"positions": [3]}, {"positions": [0], "remasked": [3]}])
    write(tmp_path / "sound", [row])
    assert len(read_steps(tmp_path / "sound")) == 1
    line = row_line("0" * 32, {**row.to_plain(), name: value})
    (tmp_path / f"a{SUFFIX}").write_bytes(HEADER.member() + packed(line))
    with pytest.raises(UsageError, match="no sound steps .ValueError"):
        read_steps(tmp_path)


def test_nothing_recorded_is_said(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="no recorded row; name the folder of a run that had record_steps=DIR"):
            read_steps(folder)


def test_reading_needs_no_torch(tmp_path):
    write(tmp_path, ROWS)
    code = f"import sys, lm_eval_mdlm as m; print(len(m.read_steps({str(tmp_path)!r})), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]

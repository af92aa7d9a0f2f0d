"""Files that this package writes and reads again: whatever became of them, what is read is whole, or one line."""

import json
from pathlib import Path

from hypothesis import strategies as st

from lm_eval_mdlm.harness.doctor.comparing import compare
from lm_eval_mdlm.harness.doctor.estimate import Estimate, TaskEstimate
from lm_eval_mdlm.options.frequencies import _read, read_frequencies, write_frequencies
from lm_eval_mdlm.recordings.diagnosis import diagnosed, groups_of, told as words
from lm_eval_mdlm.recordings.members import packed, row_line
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.journal_lines import SUFFIX, header, line_of
from lm_eval_mdlm.training.config import TrainingConfig
from lm_eval_mdlm.training.resuming import MARKER, is_complete
from tests.fuzz.inputs import changed, damaged, fuzz, sizes, told
from tests.recordings import made


VALUES = {f"{i:032x}": {"nfe": i, "text": "é" * i, "more": [i, None, 0.5]} for i in range(4)}
SOUND = header() + b"".join(line_of(key, value) for key, value in VALUES.items())


@sizes(300, 12_000)
def test_a_journal_gives_what_was_stored_or_nothing(number, tmp_path):
    (tmp_path / "j").mkdir()
    path = tmp_path / "j" / f"a{SUFFIX}"

    def check(content):
        path.write_bytes(content)
        journal = told(lambda: Journal.open(tmp_path / "j"))
        if journal is not None:
            with journal:
                found = {key: journal.find(key) for key in VALUES}
            assert all(value is None or value == VALUES[key] for key, value in found.items())

    fuzz(number, check, damaged(SOUND, header(), SOUND[:-20]))
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == [path.name]


@sizes(100, 3_000)
def test_a_journal_whose_lines_are_sealed_and_odd_ends_in_one_line(number, tmp_path):
    path = tmp_path / f"a{SUFFIX}"

    def check(value, key):
        path.write_bytes(header() + line_of(key, value))
        journal = told(lambda: Journal.open(tmp_path))
        if journal is not None:
            with journal:
                journal.find(key)

    fuzz(number, check, changed(VALUES["0" * 32]), st.text(max_size=10))


ROWS = [
    made.steps([{"positions": [0, 1], "remasked": [1]}, {"positions": [1, 2, 3, 4, 5]}], doc_id=0),
    made.steps([{"positions": [2]}, {"positions": [0, 1]}], doc_id=1, segments=(("reasoning", 0, 3), ("answer", 3, 6))),
]


@sizes(150, 6_000)
def test_a_damaged_recording_gives_whole_rows_or_one_line(number, tmp_path):
    path = made.write(tmp_path / "r", ROWS)
    sound = {json.dumps(row.to_plain(), default=str) for row in read_steps(tmp_path / "r")}

    def check(content):
        path.write_bytes(content)
        rows = told(lambda: read_steps(tmp_path / "r"))
        assert {json.dumps(row.to_plain(), default=str) for row in rows or ()} <= sound

    fuzz(number, check, damaged(path.read_bytes()))


@sizes(150, 10_000)
def test_a_recording_with_odd_rows_is_refused_or_diagnosed(number, tmp_path):
    path = made.write(tmp_path / "r", ROWS)
    header_member = made.HEADER.member()

    def check(rows):
        try:
            members = [packed(row_line(f"{i:032x}", row)) for i, row in enumerate(rows) if isinstance(row, dict)]
        except UnicodeEncodeError:
            return
        path.write_bytes(b"".join([header_member, *members]))
        read = told(lambda: read_steps(tmp_path / "r"))
        for group in groups_of(read) if read else ():
            words(diagnosed(group, None))

    sound = [json.loads(json.dumps(row.to_plain())) for row in ROWS]
    fuzz(number, check, st.lists(changed(*sound), min_size=1, max_size=2))


COUNTS = {7: 3, 11: 1, 400: 2**40}


@sizes(40, 4_000)
def test_frequencies_are_counts_or_one_line(number, tmp_path):
    path = tmp_path / "counts.json"
    write_frequencies(path, "digest", COUNTS)
    sound = path.read_bytes()

    def check(content):
        path.write_bytes(content)
        _read.cache_clear()  # two writes may fall into one tick of the disk's clock
        table = told(lambda: read_frequencies(str(path)))
        assert table is None or (0 < table.total == sum(table.counts.values()) and min(table.counts.values()) > 0)

    fuzz(number, check, damaged(sound) | changed(json.loads(sound)).map(lambda own: json.dumps(own).encode()))


ESTIMATE = Estimate(
    tasks={"pens": TaskEstimate(documents=5, requests=5, nfe=8.0, seconds=2.0, options={"k": 2})},
    **{"load_seconds": 1.0, "prepare_seconds": 0.5, "answer_seconds": 2.0, "relative_error": 0.1, "passes": 40},
    **{"peak_bytes": 10**6, "peak_of": "process", "batch_size": 3, "device_name": "cpu", "fingerprint": "abc"},
)
TAKEN = {
    "results": {"pens": {"nfe,none": 8.0, "alias": "pens"}},
    "n-samples": {"pens": {"effective": 5, "original": 5}},
    "total_evaluation_time_seconds": "4.5",
    "config": {
        "mdlm": {
            "totals_of_rank_0": {"seconds": 2.1, "from_cache": 0, "from_journal": 0},
            "decoding_by_task": {"pens": {"k": 2}},
            "loading": {"batch_size": 3},
            **{"world_size": 1, "device_name": "cpu", "backbone": {"fingerprint": "abc"}},
        }
    },
}


@sizes(40, 6_000)
def test_an_estimate_is_held_beside_results_or_there_is_one_line(number, tmp_path):
    estimate, results = tmp_path / "estimate.json", tmp_path / "results_1.json"
    ESTIMATE.write(estimate)
    results.write_text(json.dumps(TAKEN))
    sound = estimate.read_bytes()
    assert compare(estimate, results, lambda line: None)

    def check(own, theirs):
        estimate.write_bytes(own)
        results.write_bytes(theirs)
        lines = []
        told(lambda: compare(estimate, results, lines.append))
        assert all(len(line.splitlines()) <= 1 for line in lines)

    plain = changed(json.loads(sound)).map(lambda own: json.dumps(own).encode())
    others = changed(TAKEN).map(lambda own: json.dumps(own).encode())
    fuzz(number, check, st.just(sound) | damaged(sound) | plain, others | damaged(json.dumps(TAKEN).encode()))


@sizes(40, 4_000)
def test_a_record_of_training_is_of_the_same_options_or_there_is_one_line(number, tmp_path):
    config = TrainingConfig(pretrained="x", data="d.jsonl", out=str(tmp_path))
    path = tmp_path / "training.json"
    config.write(path)
    sound = path.read_bytes()

    def check(content):
        path.write_bytes(content)
        told(lambda: config.check_same(path))

    fuzz(number, check, damaged(sound) | changed(json.loads(sound)).map(lambda own: json.dumps(own).encode()))


@sizes(40, 4_000)
def test_a_checkpoint_of_training_is_whole_only_if_its_mark_lists_its_files(number, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"12")
    sound = {"a.bin": 2}

    def check(content):
        Path(tmp_path / MARKER).write_bytes(content)
        if is_complete(tmp_path):
            listed = json.loads(content)
            assert all(name == "a.bin" and size == 2 for name, size in listed.items())

    fuzz(number, check, damaged(json.dumps(sound).encode()) | changed(sound).map(lambda own: json.dumps(own).encode()))

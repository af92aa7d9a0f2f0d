"""Journals and recordings: whatever became of their files, what is read is what was written, or one line."""

import json

from hypothesis import strategies as st

from lm_eval_mdlm.recordings.diagnosis import diagnosed, groups_of, told as words
from lm_eval_mdlm.recordings.members import packed, row_line
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.journal_lines import SUFFIX, header, line_of
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

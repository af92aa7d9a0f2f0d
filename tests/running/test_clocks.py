"""No result and no decision of a run depends on the time of day, which may jump."""

import ast
from pathlib import Path

import pytest

import lm_eval_mdlm
from lm_eval_mdlm.running import journal_file
from lm_eval_mdlm.running.journal import Journal


PACKAGE = Path(lm_eval_mdlm.__file__).parent
OF_THE_DAY = {("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("datetime", "now"), ("datetime", "today")}
OF_THE_DAY |= {("date", "today"), ("datetime", "utcnow"), ("time", "ctime")}


def test_nothing_but_the_names_of_files_is_made_of_the_time_of_day():
    found = {
        (path.relative_to(PACKAGE).as_posix(), node.attr)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if (node.value.id, node.attr) in OF_THE_DAY or node.attr in ("st_mtime", "getmtime")
    }
    assert found == set()


@pytest.mark.parametrize("times", [["20260101-000000", "19700101-000000"], ["20260101-000000"] * 2], ids=str)
def test_a_journal_written_while_the_clock_goes_back_is_read_as_ever(tmp_path, monkeypatch, times):
    moments = iter(times)
    monkeypatch.setattr(journal_file.time, "strftime", lambda *given: next(moments))
    for number in range(2):
        with Journal.open(tmp_path) as journal:
            assert [journal.find(str(i)) for i in range(number)] == [{"n": i} for i in range(number)]
            journal.add(str(number), {"n": number})
    with Journal.open(tmp_path) as journal:
        assert len(journal) == 2

"""A journal returns what was added, whatever ended the process, and never anything else."""

import contextlib
import json
import os
import pickle
import random
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running import journal_lines
from lm_eval_mdlm.running.journal import Journal


ROOT = Path(__file__).parents[2]
RECORDS = {
    "a": {"text": 'quote " and \\ and \n line', "ids": [1, 2]},
    'odd "key", "value": \\ é': -0.5,
    "b": [None, True],
    "surrogate": "\ud800 é 漢",
    "infinite": float("-inf"),
    "c": {"a": 1, "sum": "00000000"},
}


def written(folder: Path, records=RECORDS) -> Path:
    """The one file of a journal that holds these records."""
    with Journal.open(folder) as journal:
        for key, value in records.items():
            journal.add(key, value)
    (file,) = folder.iterdir()
    return file


def everything(folder: Path, keys=RECORDS) -> dict:
    with Journal.open(folder) as journal:
        return {key: value for key in keys if (value := journal.find(key)) is not None}


def program(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def test_values_come_back_in_this_process_and_in_the_next(tmp_path):
    with Journal.open(tmp_path) as journal:
        assert list(tmp_path.iterdir()) == [] and journal.find("a") is None
        for key, value in RECORDS.items():
            journal.add(key, value)
            assert journal.find(key) == value
        journal.flush()
        assert {key: journal.find(key) for key in RECORDS} == RECORDS
        assert (journal.added, journal.found, len(journal)) == (len(RECORDS), 2 * len(RECORDS), len(RECORDS))
    with Journal.open(tmp_path) as again:
        assert {key: again.find(key) for key in RECORDS} == RECORDS and again.find("d") is None
        assert list(again.find("c")) == ["a", "sum"]
        again.add("a", RECORDS["a"])
        assert (again.added, again.found) == (0, len(RECORDS) + 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_every_line_is_json_with_the_check_sum_of_what_stands_before_it(tmp_path):
    header, *lines = written(tmp_path).read_bytes().splitlines()
    assert json.loads(header)["mdlm_journal"] == 1
    assert [(json.loads(line)["key"], json.loads(line)["value"]) for line in lines] == list(RECORDS.items())
    for line in (header, *lines):
        before, _, after = line.rpartition(b',"sum":')
        assert after == b'"%08x"}' % zlib.crc32(before)


def test_a_file_cut_at_any_byte_gives_its_first_records_and_can_be_carried_on(tmp_path):
    content = written(tmp_path / "whole").read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    folder = tmp_path / "cut"
    for length in range(len(content) + 1):
        folder.mkdir()
        (folder / "x.mdlm-journal").write_bytes(content[:length])
        whole = sum(end <= length for end in ends) - 1
        assert everything(folder) == dict(list(RECORDS.items())[: max(0, whole)]), length
        if length % 9 == 0:
            with Journal.open(folder) as journal:
                for key, value in RECORDS.items():
                    journal.add(key, value)
                assert journal.added == len(RECORDS) - max(0, whole)
            assert everything(folder) == RECORDS, length
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.mark.parametrize("torn", [b"", b'{"key":"d","value":[1,2'], ids=["whole", "torn"])
def test_a_changed_byte_is_an_error_or_changes_nothing(tmp_path, torn):
    records = {key: RECORDS[key] for key in ("b", "a", "c")}
    file = written(tmp_path, records)
    good = file.read_bytes()
    rng = random.Random(0)
    for place in range(len(good)):
        for new in {good[place] ^ 1 << rng.randrange(8), ord("\n")} - {good[place]}:
            file.write_bytes(good[:place] + bytes([new]) + good[place + 1 :] + torn)
            try:
                assert everything(tmp_path) == records, (place, new)
            except UsageError as error:
                assert str(file) in str(error) and "line " in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("new", [b"x", b"}\n", b"\n", b'{"key":"a","value":1}\n'])
def test_lines_that_are_no_records_are_errors_with_their_number(tmp_path, new):
    file = written(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], new, *lines[2:]]))
    with pytest.raises(UsageError, match=r"line 3 is damaged.*[Dd]elete"):
        Journal.open(tmp_path)


@pytest.mark.parametrize("content", [b"notes\n", b"notes", b"{}\n", b"\n", b"\0", b'{"key":"a","value":1}\n'])
def test_foreign_files_with_our_suffix_are_errors_and_others_are_left_alone(tmp_path, content):
    (tmp_path / "README").write_bytes(content)
    Journal.open(tmp_path).close()
    (tmp_path / "x.mdlm-journal").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.mdlm-journal, line 1 is no header"):
        Journal.open(tmp_path)


def test_a_file_without_its_header_is_an_error(tmp_path):
    file = written(tmp_path)
    file.write_bytes(file.read_bytes().partition(b"\n")[2])
    with pytest.raises(UsageError, match="line 1 is no header"):
        Journal.open(tmp_path)


def test_files_of_a_newer_package_are_refused_even_if_their_lines_are_unlike_ours(tmp_path):
    (tmp_path / "x.mdlm-journal").write_bytes(b'{"mdlm_journal":2,"anything":"else"}\nunknown\n')
    with pytest.raises(UsageError, match="format 2 of a newer lm_eval_mdlm.*upgrade"):
        Journal.open(tmp_path)


def test_two_values_under_one_key_are_an_error_that_names_both_files(tmp_path):
    one, two = Journal.open(tmp_path), Journal.open(tmp_path)
    for journal, value in (one, 1), (two, 2):
        journal.add("same", {"a": 1, "b": 2} if value == 1 else {"b": 2, "a": 1})
        journal.add("other", value)
        journal.close()
    files = [str(file) for file in tmp_path.iterdir()]
    with pytest.raises(UsageError, match="two results.*delete") as caught:
        Journal.open(tmp_path)
    assert all(file in str(caught.value) for file in files) and len(files) == 2


@pytest.mark.parametrize("other", [1, 1.0, {"a": True}, None])
@pytest.mark.parametrize("flushed", [False, True])
def test_another_value_or_none_cannot_be_added(tmp_path, other, flushed):
    with Journal.open(tmp_path) as journal:
        journal.add("key", True)
        if flushed:
            journal.flush()
        with pytest.raises((UsageError, TypeError)):
            journal.add("key", other)
        journal.add("key", True)
        assert journal.find("key") is True and journal.added == 1
    assert everything(tmp_path, ["key"]) == {"key": True}


def test_several_writers_at_once_write_files_of_their_own(tmp_path):
    code = """
        import sys
        from lm_eval_mdlm.running.journal import Journal
        folder, rank = sys.argv[1:]
        with Journal.open(folder, rank=int(rank)) as journal:
            print(flush=True)
            input()
            for i in range(300):
                journal.add(f"{i % 2 and rank}/{i}", [i] * 50)  # every second one by all of them
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(program(code, tmp_path, rank), cwd=ROOT, **pipes) for rank in range(3)]
    for writer in writers:
        writer.stdout.readline()  # all have opened before any adds
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate() and writer.returncode for writer in writers] == [0] * 3
    assert sorted(file.name.split("-")[2] for file in tmp_path.iterdir()) == ["rank0", "rank1", "rank2"]
    with Journal.open(tmp_path) as journal:
        assert len(journal) == 150 + 3 * 150
        assert all(journal.find(f"{i % 2 and rank}/{i}") == [i] * 50 for i in range(300) for rank in range(3))


def test_a_record_that_another_process_is_just_writing_is_left_for_later_runs(tmp_path, monkeypatch):
    content = written(tmp_path).read_bytes()
    (file,) = tmp_path.iterdir()
    for length in range(len(content)):
        file.write_bytes(content[:length])

        def lines(length=length):
            with open(file, "rb") as reader:
                yield from reader
                with open(file, "ab") as writer:  # the other process goes on once the end has been met
                    writer.write(content[length:])
                yield from reader

        monkeypatch.setattr(journal_lines, "open", lambda *_: contextlib.nullcontext(lines()), raising=False)
        found = [key for key, _, _ in journal_lines.records_of(file)]
        is_torn = length > 0 and content[length - 1] != ord("\n")
        assert found == list(RECORDS)[: max(0, content[:length].count(b"\n") - 1) if is_torn else None]


def test_forked_children_and_pickled_copies_write_files_of_their_own(tmp_path):
    code = """
        import os, sys
        from lm_eval_mdlm.running.journal import Journal
        with Journal.open(sys.argv[1]) as journal:
            journal.add("before", 1)
            if (child := os.fork()) == 0:
                assert journal.find("before") == 1
                journal.add("child", 2)
                journal.flush()
                sys.exit()  # through the end of the block
            assert os.waitpid(child, 0)[1] == 0
            journal.add("after", 3)
    """
    subprocess.run(program(code, tmp_path), cwd=ROOT, check=True)
    files = {file: file.read_text().count('"key"') for file in tmp_path.iterdir()}
    assert sorted(files.values()) == [1, 2]
    with Journal.open(tmp_path) as journal, pickle.loads(pickle.dumps(journal)) as copy:
        assert [copy.find(key) for key in ("before", "child", "after")] == [1, 2, 3]
        journal.add("ours", 4)
        copy.add("theirs", 5)
    assert len(list(tmp_path.iterdir())) == 4


def test_folders_that_cannot_be_written_are_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(UsageError, match=r"^journal=.*file.* cannot be written: .*; make room, or name another\.$"):
            Journal.open(tmp_path / place)
    folder = tmp_path / "read_only"
    folder.mkdir()
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder.chmod(0o500)
    with pytest.raises(UsageError, match="read_only cannot be written: Permission denied"):
        Journal.open(folder)


def test_a_read_only_mount_is_refused_at_once(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(UsageError, match="Read-only file system"):
            Journal.open(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_large_journal_opens_fast_and_in_little_memory(tmp_path):
    code = """
        import resource, sys, time
        from lm_eval_mdlm.running.journal import Journal
        before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        journal = Journal.open(sys.argv[1])
        seconds = time.process_time() - begin
        assert journal.find("19999".zfill(64)) == {"text": "x" * 2000, "number": 19999}
        print(len(journal), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    written(tmp_path, {str(i).zfill(64): {"text": "x" * 2000, "number": i} for i in range(20000)})
    out = subprocess.run(program(code, tmp_path), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    number, seconds, kilobytes = map(float, out.split())
    assert number == 20000 and seconds < 2 and kilobytes < 15000  # of 41 MB on the disk

"""A journal loses nothing to kills, full disks, failed syncs and signals."""

import errno
import logging
import os
import random
import shutil
import signal
import stat
import subprocess
import time

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running import journal_file
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.journal_lines import records_of
from tests.running.test_journal import ROOT, everything, program


def test_what_was_flushed_survives_kills_at_random_moments(tmp_path):
    code = """
        import sys
        from lm_eval_mdlm.running.journal import Journal
        journal = Journal.open(sys.argv[1])
        for i in range(len(journal), 10**9):
            journal.add(str(i), "x" * (i * 37 % 5000))
            if i % 5 == 0:
                journal.flush()
                print(i, flush=True)
    """
    rng, flushed = random.Random(1), -1
    for _ in range(20):
        child = subprocess.Popen(program(code, tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        first = child.stdout.readline()
        time.sleep(rng.random() * 0.03)
        child.kill()
        flushed = int((first + child.communicate()[0]).split("\n")[-2])
        with Journal.open(tmp_path) as journal:
            assert len(journal) > flushed
            for i in range(len(journal)):
                assert journal.find(str(i)) == "x" * (i * 37 % 5000)
    assert flushed > 100


class Disk:
    """Stands for `os` in the module that writes: a file may hold so many bytes, and syncs may fail and lose data."""

    def __init__(self, capacity: int = 10**9) -> None:
        self.capacity, self.syncs_fail, self.synced = capacity, False, 0

    def __getattr__(self, name: str):
        return getattr(os, name)

    def write(self, fd: int, data) -> int:
        room = self.capacity - os.fstat(fd).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(fd, data[:room])

    def fsync(self, fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return
        if self.syncs_fail:  # and what was not synced before is gone, as kernels do it
            size = os.fstat(fd).st_size
            os.ftruncate(fd, self.synced)
            os.ftruncate(fd, size)
            raise OSError(errno.EIO, "Input/output error")
        self.synced = max(self.synced, os.fstat(fd).st_size)


def test_a_folder_that_vanishes_in_the_midst_of_a_run_loses_nothing_once_it_is_back(tmp_path, caplog):
    folder = tmp_path / "journal"
    journal = Journal.open(folder)
    journal.add("early", 1)
    journal.flush()
    shutil.rmtree(folder)
    with caplog.at_level(logging.WARNING):
        journal.flush()
        journal.add("late", 2)
        journal.flush()
    assert [str(folder) in line and "kept in memory" in line for line in caplog.messages] == [True]
    assert (journal.find("early"), journal.find("late")) == (1, 2)
    folder.mkdir()
    journal.add("last", 3)
    journal.close()
    assert everything(folder, ["early", "late", "last"]) == {"early": 1, "late": 2, "last": 3}


def test_a_folder_that_stays_away_is_told_of_at_the_end(tmp_path, caplog):
    journal = Journal.open(tmp_path / "journal")
    journal.add("a", 1)
    journal.flush()
    shutil.rmtree(tmp_path / "journal")
    journal.close()
    assert "1 records of the journal are not on the disk" in caplog.text


@pytest.mark.parametrize("full", [0, 1, 40, 70, 200, 1111])
def test_a_full_disk_loses_nothing_once_it_has_room(tmp_path, monkeypatch, caplog, full):
    monkeypatch.setattr(journal_file, "os", disk := Disk(full))
    journal = Journal.open(tmp_path)
    for i in range(50):
        journal.add(str(i), {"number": i, "text": "x" * i})
        assert journal.find(str(i)) == {"number": i, "text": "x" * i}
        assert list(everything(tmp_path, map(str, range(i + 1)))) == [str(n) for n in range(len(journal))]
    assert [record.message.split(str(tmp_path))[1] for record in caplog.records] == [
        " cannot be written: No space left on device. Its records are kept in memory until it can."
    ]
    disk.capacity = 10**9
    journal.flush()
    assert len(everything(tmp_path, map(str, range(50)))) == 50
    journal.close()
    assert len(caplog.records) == 1


def test_what_no_disk_took_is_counted_at_the_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(journal_file, "os", disk := Disk())
    with Journal.open(tmp_path) as journal:
        journal.add("a", 1)
        disk.capacity = 0
        journal.add("b", 2)
        journal.add("c", 3)
    assert caplog.records[-1].message.startswith("2 records of the journal are not on the disk")
    assert everything(tmp_path, "abc") == {"a": 1}
    with pytest.raises(ValueError, match="closed"):
        journal.add("d", 4)


def test_data_lost_by_a_failed_sync_is_written_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(journal_file, "os", disk := Disk())
    with Journal.open(tmp_path) as journal:
        journal.add("a", 1)
        journal.flush()
        disk.syncs_fail = True
        journal.add("b", 2)
        for _ in range(3):
            journal.flush()
        journal.add("c", 3)
        assert [journal.find(key) for key in "abc"] == [1, 2, 3]
        disk.syncs_fail = False
        journal.flush()
    assert everything(tmp_path, "abc") == {"a": 1, "b": 2, "c": 3}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_real_full_disk(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        (tmp_path / "ballast").write_bytes(b"x" * 20000)
        with Journal.open(tmp_path) as journal:
            for i in range(60):
                journal.add(str(i), "x" * 300)
            assert 5 < len(journal) < 60
            (file,) = tmp_path.glob("*-rank*")
            assert len(list(records_of(file))) == len(journal)
            with pytest.raises(UsageError, match="cannot be written: No space left on device; make room"):
                Journal.open(tmp_path)
            (tmp_path / "ballast").unlink()
        assert len(everything(tmp_path, map(str, range(60)))) == 60
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_records_reach_the_disk_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_file, "os", disk := Disk())
    monkeypatch.setattr(journal_file, "SYNC_EVERY", 0.05)
    with Journal.open(tmp_path) as journal:
        journal.add("a", 1)
        (file,) = tmp_path.iterdir()
        deadline = time.monotonic() + 2
        while disk.synced < file.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.01)
        assert disk.synced == file.stat().st_size


# Libraries of Python that are interrupted warn of files that they have not closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_signals_that_raise_in_the_midst_of_it_lose_nothing(tmp_path):
    class Alarm(Exception):
        pass

    def raise_alarm(number, frame):
        raise Alarm

    rng, alarms = random.Random(2), 0
    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        with Journal.open(tmp_path) as journal:
            for i in range(1000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.random() * 2e-4)
                    journal.add(str(i), "x" * 200)
                    if i % 3 == 0:
                        journal.flush()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Alarm:
                    alarms += 1
                    journal.add(str(i), "x" * 200)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert alarms > 50
    assert len(everything(tmp_path, map(str, range(1000)))) == 1000

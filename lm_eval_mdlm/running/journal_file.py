"""One process's own file of a store: records are appended, synced, and kept while the disk refuses them."""

import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


logger = logging.getLogger("lm_eval.mdlm")
SYNC_EVERY = 1.0
"""Seconds between two visits of the thread that brings lines to the disk; what is older than two survives a power cut,
unless the disk itself takes longer."""


@dataclass(frozen=True)
class FileKind:
    """What stands in the files of a store."""

    noun: str
    """What the store is called in messages."""
    suffix: str
    """Of the files' names."""
    header: Callable[[], bytes]
    """What every file begins with."""
    records_in: Callable[[bytes], Iterable[tuple[str, bytes]]]
    """From all that stands in a file, header first, to the key and the bytes of every record."""


class JournalFile:
    """Appends to a file that no other process writes, created with the first record, a "line".

    All methods may be called from any thread, and an exception that a signal raises in the midst of them loses nothing:
    the end of the last good line is known, and the file is cut there before the next one is written.

    Args:
        kind: What stands in it.
        directory: Where it is created.
        rank: For its name.
        on_written: Called with key, path, offset and length in bytes of each line that stands in the file.
    """

    def __init__(
        self, kind: FileKind, directory: Path, rank: int, on_written: Callable[[str, Path, int, int], None]
    ) -> None:
        self._kind, self._directory, self._rank, self._on_written = kind, directory, rank, on_written
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        self._lock, self._syncing = threading.RLock(), threading.RLock()
        self._path: Path | None = None
        self._fd: int | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._waiting: dict[str, bytes] = {}
        """Lines that are not in the file yet."""
        self._unsynced: dict[str, bytes] = {}
        """Lines that are in the file and may not be on the disk."""
        self._end = self._synced_end = 0
        """Of the last good line, and of the last one that is on the disk; bytes."""
        self._torn = False
        """Whether something may follow the last good line."""
        self._refused = False
        self._closed = False

    def add(self, key: str, line: bytes) -> None:
        """Append one line, or keep it until the disk takes it."""
        with self._lock:
            if self._closed:
                raise ValueError(f"the {self._kind.noun} is closed.")
            self._waiting[key] = line
            self._write()
            if self._thread is None:
                self._thread = threading.Thread(target=_keep_synced, args=(weakref.ref(self), self._stop), daemon=True)
                self._thread.start()

    def held(self, key: str) -> bytes | None:
        """The line of a key that may not be in the file; None if it is there, or was never added here."""
        return self._waiting.get(key) or self._unsynced.get(key)

    def sync(self) -> None:
        """Bring everything to the disk, as far as it has room."""
        with self._syncing:
            with self._lock:
                self._take_back_if_removed()
                self._write()
                fd, end, written = self._fd, self._end, list(self._unsynced)
            if fd is None or end == self._synced_end:
                return
            try:
                os.fsync(fd)  # without the lock, as it may take long, and rows go on being added meanwhile
            except OSError as error:
                self._distrust_the_unsynced()
                self._warn(error)
                return
            with self._lock:
                self._synced_end, self._refused = end, False
                for key in written:
                    self._unsynced.pop(key, None)

    def close(self) -> None:
        """Bring everything to the disk, and tell how much did not get there. Harmless a second time."""
        if self._closed:
            return
        self._stop.set()
        self.sync()
        with self._syncing, self._lock:
            self._closed = True
            if lost := len(self._waiting):
                logger.warning(
                    "%d records of the %s are not on the disk: %s took no more.", lost, self._kind.noun, self._directory
                )
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def leave_to_the_parent(self) -> None:
        """In a forked child: the parent writes what waits, and the child begins a file of its own."""
        if self._fd is not None:
            os.close(self._fd)
        closed = self._closed
        self._begin_anew()
        self._closed = closed

    def _write(self) -> None:
        try:
            for key, line in list(self._waiting.items()):
                offset = self._append(line)
                self._unsynced[key] = line
                assert self._path is not None
                self._on_written(key, self._path, offset, len(line))
                self._waiting.pop(key, None)
        except OSError as error:
            self._warn(error)

    def _append(self, line: bytes) -> int:
        if self._fd is None:
            self._create()
        assert self._fd is not None
        if self._torn:
            os.ftruncate(self._fd, self._end)
        if self._end == 0:
            self._put(self._fd, self._kind.header())
            os.fsync(self._fd)
            _sync_folder(self._directory)
        return self._put(self._fd, line)

    def _create(self) -> None:
        begun = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        path = self._directory / f"{begun}-rank{self._rank}-{secrets.token_hex(6)}{self._kind.suffix}"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._path = path

    def _put(self, fd: int, line: bytes) -> int:
        """Write a whole line; its offset. What a failure leaves of it is cut off by the next `_append`."""
        self._torn = True
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(fd, rest) :]
        offset = self._end
        self._end += len(line)
        self._torn = False
        return offset

    def _take_back_if_removed(self) -> None:
        """All lines of a file that somebody has removed wait again, for a new file."""
        if self._fd is None or not _is_removed(self._fd):
            return
        with open(self._fd, "rb") as removed:
            removed.seek(0)
            found = dict(self._kind.records_in(removed.read(self._end)))
        self._waiting = {**found, **self._waiting}
        self._unsynced = {}
        self._fd, self._path = None, None
        self._end = self._synced_end = 0
        self._torn = False

    def _distrust_the_unsynced(self) -> None:
        # After a failed fsync the kernel may have dropped the pages: only what an earlier one confirmed is there.
        with self._lock:
            self._torn = True
            self._waiting = {**self._unsynced, **self._waiting}
            self._end = self._synced_end
            self._unsynced = {}

    def _warn(self, error: OSError) -> None:
        if not self._refused:
            self._refused = True
            logger.warning(
                "the %s in %s cannot be written: %s. Its records are kept in memory until it can.",
                self._kind.noun,
                self._directory,
                error.strerror,
            )


_all: "weakref.WeakSet[JournalFile]" = weakref.WeakSet()


def _in_forked_child() -> None:
    for file in list(_all):
        file.leave_to_the_parent()


os.register_at_fork(after_in_child=_in_forked_child)


def _keep_synced(file: "weakref.ref[JournalFile]", stop: threading.Event) -> None:
    while not stop.wait(SYNC_EVERY):
        own = file()
        if own is None:
            return
        own.sync()
        del own


def _is_removed(fd: int) -> bool:
    with suppress(OSError):  # of a file that cannot be asked the next write or sync says more
        return os.fstat(fd).st_nlink == 0
    return False


def _sync_folder(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no such call, and need none
            os.fsync(folder)
    finally:
        os.close(folder)

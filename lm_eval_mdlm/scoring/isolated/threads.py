"""Keeps count of a program's threads: the kernel asks the judge before it makes one (seccomp_unotify(2)).

No other limit binds here: RLIMIT_NPROC counts all processes of the user and does not hold for root, and a thread needs
so little memory that tens of thousands fit into the program's share.
"""

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from .seccomp import install, thread_notice


MAX_THREADS = 64
"""That a program may have at a time."""

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # ioctls with struct seccomp_notif and struct seccomp_notif_resp
_NOTICE_BYTES, _CONTINUE = 80, 1


def hand_over_decision(machine: str, judge: socket.socket) -> bool:
    """In the process to be confined: let the judge decide about each new thread.

    Returns:
        Whether the kernel can do that; if not, nothing has changed.
    """
    try:
        listener = install(thread_notice(machine), listener=True)
    except OSError:
        judge.send(b"none")
        return False
    socket.send_fds(judge, [b"here"], [listener])
    os.close(listener)
    return True


def take_over_decision(program: socket.socket) -> int | None:
    """In the judge: the descriptor at which the kernel asks, or None if it will not."""
    listeners = socket.recv_fds(program, 16, 1)[1]
    return listeners[0] if listeners else None


def decide(listener: int, process: int) -> None:
    """Read one question and answer it: yes while `process` has less than MAX_THREADS threads."""
    notice = bytearray(_NOTICE_BYTES)
    try:
        fcntl.ioctl(listener, _RECEIVE, notice)
        (question,) = struct.unpack_from("=Q", notice)
        full = _num_threads(process) >= MAX_THREADS
        error, flags = (-errno.EAGAIN, 0) if full else (0, _CONTINUE)
        fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", question, 0, error, flags))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINTR):  # whoever asked is gone
            raise


def _num_threads(process: int) -> int:
    """Of a process; MAX_THREADS if that cannot be told."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[17])
    except (OSError, ValueError):
        return MAX_THREADS

"""Says which files a process may open, by Landlock(7), which every user of a Linux kernel >= 5.13 may ask for.

The process reads the interpreter, its libraries and what the kernel tells of the process itself and of the processor;
it writes /dev/null. Names, sizes and dates of other files stay visible: Landlock does not hide them.
"""

import contextlib
import os
import struct
import sys
from collections.abc import Iterable

from .kernel import system_call


_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_ASK_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""What may be done to files, from each version of Landlock on."""
_NET_RIGHTS, _SCOPES = 0b11, 0b11  # from version 4: TCP; from version 6: abstract sockets, signals

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/localtime")
_LOADER = ("/etc/ld.so.cache", "/etc/ld.so.conf")
_KERNEL = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
_DEVICES = ("/dev/zero", "/dev/random", "/dev/urandom")


def version() -> int:
    """The kernel's version of Landlock; 0 where it has none or does not let this process use it."""
    try:
        return system_call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def restrict_files(available: int, libraries: Iterable[str]) -> None:
    """Bind this process, single-threaded and without new privileges, to the rules; OSError if the kernel refuses.

    Args:
        available: What `version` gave, at least 1.
        libraries: Further folders of which everything may be read.
    """
    handled = max((since, rights) for since, rights in _FILE_RIGHTS.items() if since <= available)[1]
    attributes = [handled, *([_NET_RIGHTS] if available >= 4 else []), *([_SCOPES] if available >= 6 else [])]
    rules = system_call(_CREATE_RULESET, struct.pack(f"={len(attributes)}Q", *attributes), 8 * len(attributes), 0)
    own = [os.path.join(prefix, "lib") for prefix in {sys.prefix, sys.base_prefix, sys.base_exec_prefix}]
    linked = filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    for path in {*_SYSTEM, *_LOADER, *_KERNEL, *_DEVICES, *own, *linked, *libraries}:
        _allow(rules, path, _READ_FILE | _READ_DIR)
    _allow(rules, os.devnull, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled)
    system_call(_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # then it is closed anyway
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):
                rights &= ~_READ_DIR
            system_call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)

# ruff: noqa: E501  programs stand on one line
"""What programs try in order to get out of the sandbox: each prints REACHED if that works.

The names in capitals are set before: a process of the same user, the evaluator, a file, and objects of the kernel. Signals
to more than these are 0, which only asks.
"""

import textwrap

from .programs import WRONG


PREAMBLE = """
import ctypes, errno, fcntl, mmap, os, resource, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
def call(x86_64, aarch64, *arguments):
    number = x86_64 if X86 else aarch64
    passed = [a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def each(attempt, cases):
    last = None
    for case in cases:
        try:
            return attempt(case)
        except Exception as error:
            last = error
    raise last
"""

ATTEMPTS = {
    # Signals by way of files
    "F_SETOWN": "r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, VICTIM)",
    "F_SETOWN of a group": "r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, -VICTIM)",
    "F_SETOWN_EX": "r, w = os.pipe(); fcntl.fcntl(r, 15, struct.pack('ii', 1, VICTIM))",
    "F_SETSIG": "r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETSIG, 9)",
    "O_ASYNC": "r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETFL, os.O_NONBLOCK | fcntl.FASYNC)",
    "O_ASYNC when opening": "os.open('/dev/null', os.O_RDONLY | fcntl.FASYNC)",
    "FIOASYNC": "r, w = os.pipe(); fcntl.ioctl(r, 0x5452, struct.pack('i', 1))",
    "FIOSETOWN": "a, b = socket.socketpair(); fcntl.ioctl(a, 0x8901, struct.pack('i', VICTIM))",
    "SIOCSPGRP": "a, b = socket.socketpair(); fcntl.ioctl(a, 0x8902, struct.pack('i', VICTIM))",
    "F_NOTIFY": "fcntl.fcntl(os.open('/usr/lib', os.O_RDONLY), fcntl.F_NOTIFY, 1)",
    "F_SETLEASE": "fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "F_SETPIPE_SZ": "r, w = os.pipe(); fcntl.fcntl(r, 1031, 1 << 20)",
    "F_ADD_SEALS": "r, w = os.pipe(); fcntl.fcntl(r, 1033, 1)",
    "F_SETLK": "fcntl.lockf(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)",
    "flock": "fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)",
    # Signals and limits
    "kill": "os.kill(VICTIM, 9)",
    "signal to the evaluator": "os.kill(EVALUATOR, 0)",
    "kill the parent": "os.kill(os.getppid() or VICTIM, 9)",
    "signal to all": "os.kill(-1, 0)",
    "kill the group": "os.kill(0, 9)",
    "killpg": "os.killpg(os.getpgrp(), 9)",
    "tkill": "call(200, 130, VICTIM, 9)",
    "tgkill": "call(234, 131, VICTIM, VICTIM, 9)",
    "rt_sigqueueinfo": "call(129, 138, VICTIM, 9, bytes(128))",
    "rt_tgsigqueueinfo": "call(297, 240, VICTIM, VICTIM, 9, bytes(128))",
    "pidfd_open": "os.pidfd_open(VICTIM)",
    "pidfd_send_signal": "call(424, 424, 0, 9, 0, 0)",
    "pidfd_getfd": "call(438, 438, 0, 0, 0)",
    "prlimit of another": "resource.prlimit(VICTIM, resource.RLIMIT_CPU, (1, 1))",
    "setpriority": "os.setpriority(os.PRIO_PROCESS, VICTIM, 19)",
    "nice": "os.nice(1)",
    "sched_setaffinity": "os.sched_setaffinity(VICTIM, {0})",
    "sched_setscheduler": "os.sched_setscheduler(VICTIM, os.SCHED_IDLE, os.sched_param(0))",
    "sched_setparam": "call(142, 118, VICTIM, bytes(4))",
    "sched_setattr": "call(314, 274, VICTIM, struct.pack('IIQiIQQQ', 48, 5, 0, 0, 0, 0, 0, 0), 0)",
    "ioprio_set": "call(251, 30, 1, VICTIM, 3 << 13)",
    "migrate_pages": "call(256, 238, VICTIM, 8, bytes(8), bytes(8))",
    "process_madvise": "call(440, 440, 0, 0, 0, 20, 0)",
    "raise the limit of processor time": "resource.setrlimit(resource.RLIMIT_CPU, (900, 900))",
    "raise the limit of memory": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
    "raise the limit of files": "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
    "outlive the judge": "call(157, 167, 1, 0)",
    "become dumpable": "call(157, 167, 4, 1)",
    "let others trace it": "call(157, 167, 0x59616D61, -1)",
    "kcmp": "call(312, 272, os.getpid(), VICTIM, 0, 0, 0)",
    # Processes
    "fork": "os.fork() or os._exit(0)",
    "vfork": "call(58, 220, 17)",
    "clone with shared memory only": "call(56, 220, 0x100 | 17, 0, 0, 0, 0)",
    "clone into a thread of a new namespace": "call(56, 220, 0x3D0F00 | 0x10000000, 0, 0, 0, 0)",
    "clone as a sibling": "call(56, 220, 0x8000 | 17, 0, 0, 0, 0)",
    "clone3": "call(435, 435, struct.pack('8Q', 0, 0, 0, 0, 17, 0, 0, 0), 64)",
    "execve": "os.execv('/bin/true', ['true'])",
    "execveat": "call(322, 281, os.open('/usr/lib', os.O_RDONLY), b'x', 0, 0, 0)",
    "posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "subprocess": "import subprocess; subprocess.run(['true'])",
    "multiprocessing": "import multiprocessing as m; p = m.get_context('fork').Process(target=print); p.start()",
    "setsid": "os.setsid()",
    "setpgid": "os.setpgid(0, 0)",
    "unshare": "call(272, 97, 0x10000000)",
    "setns": "call(308, 268, 0, 0)",
    "ptrace": "call(101, 117, 16, VICTIM, 0, 0) and 1 / 0",
    "process_vm_readv": "call(310, 270, VICTIM, bytes(16), 1, bytes(16), 1, 0)",
    "process_vm_writev": "call(311, 271, VICTIM, bytes(16), 1, bytes(16), 1, 0)",
    "setuid": "os.setuid(os.getuid())",
    "setgroups": "os.setgroups([])",
    "capset": "call(126, 91, struct.pack('=II', 0x20080522, 0), bytes(b'\\\\xff' * 24))",
    "personality": "call(135, 92, 0x0040000)",
    "another filter": "call(317, 277, 1, 0, bytes(16))",
    # Reading what is not its own
    "memory of the evaluator": "open(f'/proc/{EVALUATOR}/mem', 'rb')",
    "environment of the evaluator": "open(f'/proc/{EVALUATOR}/environ', 'rb').read()",
    "descriptors of the evaluator": "os.listdir(f'/proc/{EVALUATOR}/fd')",
    "pipes of the evaluator": "each(lambda n: open(f'/proc/{EVALUATOR}/fd/{n}', 'rb', 0), range(64))",
    "links of the evaluator": "os.readlink(f'/proc/{EVALUATOR}/exe')",
    "command line of the evaluator": "open(f'/proc/{EVALUATOR}/cmdline').read()",
    "environment of the victim": "open(f'/proc/{VICTIM}/environ', 'rb').read()",
    "memory of the victim": "open(f'/proc/{VICTIM}/mem', 'rb')",
    "tasks of the victim": "open(f'/proc/{VICTIM}/task/{VICTIM}/status').read()",
    "list of processes": "os.listdir('/proc')",
    "a file": "open(TARGET).read()",
    "a file through its root": "open('/proc/self/root' + TARGET).read()",
    "a file through its working directory": "os.chdir(os.path.dirname(TARGET)); open(os.path.basename(TARGET)).read()",
    "a folder": "os.listdir(os.path.dirname(TARGET))",
    "O_PATH": "os.open(TARGET, os.O_PATH)",
    "access mode 3": "os.open(TARGET, 3)",
    "openat2": "call(437, 437, -100, TARGET.encode(), struct.pack('3Q', 0, 0, 0), 24)",
    "open_by_handle_at": "call(304, 265, -100, bytes(64), 0)",
    "home folder": "os.listdir(os.path.expanduser('~'))",
    "accounts": "open('/etc/passwd').read()",
    "kernel log": "call(103, 116, 3, bytes(64), 64)",
    "keys": "call(250, 219, 0, -3, 1)",
    "bpf": "call(321, 280, 0, bytes(64), 64)",
    "perf_event_open": "call(298, 241, bytes(128), 0, -1, -1, 0)",
    "userfaultfd": "call(323, 282, 0)",
    # Files
    "open for writing": "open(TARGET, 'w')",
    "append": "open(TARGET, 'a').write('x')",
    "truncate when opening to read": "os.open(TARGET, os.O_RDONLY | os.O_TRUNC)",
    "truncate": "os.truncate(TARGET, 0)",
    "create": "open(os.path.dirname(TARGET) + '/new', 'x')",
    "create in shared memory": "open('/dev/shm/mdlm-attack', 'w')",
    "create in /tmp": "open('/tmp/mdlm-attack', 'w')",
    "O_TMPFILE": "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
    "creat": "call(85, 56, TARGET.encode(), 0o600) if X86 else 1 / 0",
    "memfd_create": "os.memfd_create('x')",
    "memfd_secret": "call(447, 447, 0)",
    "remove": "os.remove(TARGET)",
    "rename": "os.rename(TARGET, TARGET + '2')",
    "link": "os.link(TARGET, TARGET + '2')",
    "symlink": "os.symlink(TARGET, TARGET + '2')",
    "mode": "os.chmod(TARGET, 0)",
    "mode by descriptor": "os.fchmod(os.open(os.__file__, os.O_RDONLY), 0o644)",
    "fchmodat2": "call(452, 452, -100, TARGET.encode(), 0, 0)",
    "owner": "os.chown(TARGET, os.getuid(), os.getgid())",
    "times": "os.utime(TARGET)",
    "times by descriptor": "os.utime(os.open(os.__file__, os.O_RDONLY))",
    "attributes": "os.setxattr(TARGET, 'user.x', b'1')",
    "attributes by descriptor": "os.setxattr(os.open(os.__file__, os.O_RDONLY), 'user.x', b'1')",
    "flags by ioctl": "fcntl.ioctl(os.open(os.__file__, os.O_RDONLY), 0x40086602, struct.pack('l', 0x10))",
    "project by ioctl": "fcntl.ioctl(os.open(os.__file__, os.O_RDONLY), 0x401C5820, bytes(28))",
    "mkdir": "os.mkdir(os.path.dirname(TARGET) + '/new')",
    "mkfifo": "os.mkfifo(TARGET + '3')",
    "mknod": "os.mknod(TARGET + '3')",
    "rmdir": "os.rmdir(os.path.dirname(TARGET))",
    "chroot": "os.chroot('/')",
    "mount": "call(165, 40, b'none', b'/tmp', b'tmpfs', 0, 0)",
    "fsopen": "call(430, 430, b'tmpfs', 0)",
    "sync": "call(162, 81)",
    "fallocate": "os.posix_fallocate(os.open('/dev/null', os.O_RDWR), 0, 1)",
    "write to a device": "open('/dev/tty', 'w')",
    "write to the kernel": "open('/proc/self/oom_score_adj', 'w').write('1000')",
    "write to own memory": "open('/proc/self/mem', 'r+b')",
    "inotify": "call(294, 26, 0)",
    "fanotify": "call(300, 262, 0, 0)",
    "quota": "call(179, 60, 0, 0, 0, 0)",
    # Objects of the kernel
    "shmget": "call(29, 194, 0x4D444C, 4096, 0o1666)",
    "shmctl": "call(31, 195, SHM, 0, 0)",
    "shmat": "call(30, 196, SHM, 0, 0)",
    "semget": "call(64, 190, 0x4D444C, 1, 0o1666)",
    "semctl": "call(66, 191, SEM, 0, 0)",
    "semop": "call(65, 193, SEM, struct.pack('Hhh', 0, 1, 0), 1)",
    "msgget": "call(68, 186, 0x4D444C, 0o1666)",
    "msgctl": "call(71, 187, MSG, 0, 0)",
    "msgsnd": "call(69, 189, MSG, struct.pack('l8s', 1, b'x'), 8, 0)",
    "mq_open": "call(240, 180, b'mdlm-attack', os.O_RDWR | os.O_CREAT, 0o600, 0)",
    "mq_unlink": "call(241, 181, b'mdlm-victim')",
    "io_uring": "call(425, 425, 8, bytes(120))",
    "io_setup": "call(206, 0, 8, bytes(8))",
    "timer_create": "call(222, 107, 0, 0, bytes(8))",
    "eventfd": "call(290, 19, 0, 0)",
    "signalfd": "call(289, 74, -1, bytes(8), 8, 0)",
    "mlock": "call(149, 228, 0, 4096)",
    "mlockall": "call(151, 230, 1)",
    "locked memory": "mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000)",
    "huge pages": "mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)",
    "memory to write and execute": "mmap.mmap(-1, 4096, prot=7)",
    "shared memory": "import multiprocessing.shared_memory as s; s.SharedMemory(create=True, size=64)",
    "named semaphore": "import multiprocessing; multiprocessing.Lock()",
    # Network
    "socket": "socket.socket()",
    "raw socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "unix socket": "socket.socket(socket.AF_UNIX)",
    "datagram pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "packet pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
    "connection": "socket.create_connection(('127.0.0.1', 9), timeout=1)",
    "bind a pair": "a, b = socket.socketpair(); a.bind('\\\\0mdlm-attack')",
    "send to an address": "a, b = socket.socketpair(); a.sendto(b'x', '/dev/log')",
    "connect a pair": "a, b = socket.socketpair(); a.connect('/dev/log')",
    "listen": "a, b = socket.socketpair(); a.listen()",
    "pass a descriptor": "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])",
    "options of a socket": "a, b = socket.socketpair(); a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE, 1 << 30)",
    "resolver": "socket.getaddrinfo('example.org', 80)",
    # Other numberings
    "second numbering": "call(1 << 30 | 41, 1 << 30, 2, 1, 0)",
    "unknown call": "call(9999, 9999)",
    "reboot": "call(169, 142, 0, 0, 0, 0)",
    "settimeofday": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
    "sethostname": "socket.sethostname(socket.gethostname())",
}


def attempt(text: str, **names: object) -> str:
    """A program that says whether `text` works; `names` are the capitals in it."""
    settings = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    body = textwrap.indent(text.replace("\\\\", "\\"), "    ")
    return (
        f"{PREAMBLE}{settings}try:\n{body}\n    print('REACHED')\nexcept Exception as e:\n    print(repr(e))\n{WRONG}"
    )

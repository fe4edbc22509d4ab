"""Runs a program and lets something happen at a system call of your choice.

In: a command, a function that is asked at the entry of each file system call, or of those of one kind, and who wants to see
calls with what they got and gave. Out: how the program ended, what it said, which calls it made. Promises: calls are counted
over all threads, in the order in which they begin (strace counts each thread by itself, so it cannot reach every call of a
program that has two); a call that is failed is not made; the program stops at no others (a seccomp filter picks them), so it
runs about as fast as alone. Linux on x86-64.
"""

import contextlib
import ctypes
import os
import signal
import struct
import time

# What a call gets: the program is killed at its entry; it succeeds without being made; or a number: it fails with that errno.
KILL, FAKE = "kill", "fake"

CALLS = {
    0: "read", 1: "write", 2: "open", 3: "close", 5: "fstat", 8: "lseek", 9: "mmap", 16: "ioctl", 17: "pread64",
    18: "pwrite64", 20: "writev", 72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 82: "rename",
    83: "mkdir", 84: "rmdir", 87: "unlink", 89: "readlink", 196: "flistxattr", 217: "getdents64", 257: "openat",
    258: "mkdirat", 262: "newfstatat", 263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat", 285: "fallocate",
    306: "syncfs", 316: "renameat2", 326: "copy_file_range", 327: "preadv2", 328: "pwritev2", 332: "statx", 437: "openat2",
}

PTRACE_TRACEME, PTRACE_POKEUSER, PTRACE_CONT, PTRACE_SYSCALL = 0, 6, 7, 24
PTRACE_SETOPTIONS, PTRACE_GET_SYSCALL_INFO = 0x4200, 0x420E
# System calls are told apart from signals, execve too; new threads and children are traced; there are stops at what the
# filter picks; they do not outlive us.
OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
PTRACE_EVENT_SECCOMP = 7
ORIG_RAX, RAX = 120, 80
PRCTL, PR_SET_DUMPABLE, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 157, 4, 22, 2
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Ended:
    """How a program ended: its code (negative: the signal), what it said, the calls it made, whether anything happened."""

    def __init__(self, code, out, err, calls, fired):
        self.code, self.out, self.err, self.calls, self.fired = code, out, err, calls, fired


class Filter:
    """Stops a program at these system calls and no others: a seccomp filter, for the process that installs it."""

    LOAD_NUMBER, IF_EQUAL, RETURN, TRACE, ALLOW = 0x20, 0x15, 0x06, 0x7FF00000, 0x7FFF0000

    def __init__(self, numbers):
        tests = [(self.IF_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
        code = [(self.LOAD_NUMBER, 0, 0, 0), *tests, (self.RETURN, 0, 0, self.ALLOW), (self.RETURN, 0, 0, self.TRACE)]
        self.code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
        self.program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(self.code)))

    def install(self):
        libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.program)


def run(argv, env, cwd, decide=lambda calls: None, timeout=60, watch=None, only=None):
    """`decide` gets the calls so far, the last of them about to be made, and answers what becomes of that one; with `only` a
    call, no others are counted. `watch` gets `enter` with thread, call and arguments, and `leave` with what it gave; a call
    at which the program is killed ends not.

    Counted is from where garret's own code begins, which is known by its first call: that forbids core dumps. What it writes
    to its standard output and error is not counted."""
    picked = Filter([PRCTL, *(number for number, call in CALLS.items() if only in (None, call))])
    with os.fdopen(os.memfd_create("out"), "r+b") as out, os.fdopen(os.memfd_create("err"), "r+b") as err:
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(cwd)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                libc.ptrace(PTRACE_TRACEME, 0, 0, None)
                # Until it is traced there is nobody to stop for.
                os.kill(os.getpid(), signal.SIGSTOP)
                picked.install()
                os.execve(argv[0], argv, env)
            finally:
                os._exit(127)
        code, calls, fired = follow(pid, decide, time.monotonic() + timeout, watch)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Ended(code, *texts, calls, fired)


def follow(main, decide, until, watch):
    os.waitpid(main, 0)
    libc.ptrace(PTRACE_SETOPTIONS, main, 0, OPTIONS)
    libc.ptrace(PTRACE_CONT, main, 0, None)
    info = ctypes.create_string_buffer(88)
    known, calls, begun, fired = {main}, [], False, False
    signal.setitimer(signal.ITIMER_REAL, max(0.1, until - time.monotonic()))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(main, signal.SIGKILL))
    try:
        while True:
            tid, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                if tid == main:
                    hangs = os.WIFSIGNALED(status) and time.monotonic() >= until
                    return ("hangs" if hangs else os.waitstatus_to_exitcode(status)), calls, fired
                continue
            passed, how = 0, PTRACE_CONT
            if status >> 16 == PTRACE_EVENT_SECCOMP:
                libc.ptrace(PTRACE_GET_SYSCALL_INFO, tid, len(info), ctypes.addressof(info))
                number, *given = struct.unpack_from("=7Q", info.raw, 24)
                begun = begun or (number == PRCTL and given[0] == PR_SET_DUMPABLE)
                is_output = number == 1 and given[0] in (1, 2)
                if begun and number in CALLS and not is_output:
                    calls.append(CALLS[number])
                    answer = decide(calls)
                    becomes(tid, main, answer)
                    fired = fired or answer is not None
                    if watch:
                        # It may be dead by now, killed at another's call.
                        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                            watch.enter(tid, CALLS[number], given)
                        # It stops again where the call ends.
                        how = PTRACE_SYSCALL
            elif os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
                libc.ptrace(PTRACE_GET_SYSCALL_INFO, tid, len(info), ctypes.addressof(info))
                watch.leave(tid, struct.unpack_from("=q", info.raw, 24)[0])
            elif status >> 16 == 0 and tid in known:
                passed = os.WSTOPSIG(status)
            # A new thread begins with a stop of its own, which is not the program's.
            known.add(tid)
            libc.ptrace(how, tid, 0, passed)
    except BaseException:
        os.kill(main, signal.SIGKILL)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def becomes(tid, main, answer):
    """What was decided of the call that a thread is about to make. One that is not made gives what its register has."""
    if answer == KILL:
        os.kill(main, signal.SIGKILL)
    elif answer is not None:
        libc.ptrace(PTRACE_POKEUSER, tid, ORIG_RAX, ctypes.c_void_p(-1))
        libc.ptrace(PTRACE_POKEUSER, tid, RAX, ctypes.c_void_p(0 if answer == FAKE else -answer))

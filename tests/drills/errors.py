"""Each file system call of a small life fails, once or from then on, with each of nine errors.

Proves: whatever fails, no `create` ends with 0 and an archive that does not restore, no `extract` with 0 and wrong bytes; the
message names a path or an object; nobody is kept waiting for good and nothing panics; and when the disk works again, so does
everything, without a manual step.
"""

import errno
import os
import random
import re
import shutil

import common
import scenario
import tools
import trace

CALLS = ("openat openat2 read pread64 preadv2 write pwrite64 writev pwritev2 fsync fdatasync syncfs renameat renameat2 "
         "linkat unlinkat ftruncate fallocate getdents64 statx newfstatat fstat mmap flock fcntl close mkdirat lseek").split()
ERRORS = "EIO ENOSPC EDQUOT EACCES EMFILE ENOMEM EROFS ESTALE EINTR".split()
# A signal interrupts a call again and again, but not for ever.
STORM = 100
# Rust's library ends a program that gets no memory.
NO_MEMORY = re.compile(r"memory allocation of \d+ bytes failed|failed to allocate an alternative stack")
# Rust's library ends a program that cannot close a directory, which no file system answers; that of the time zones, here.
NO_CLOSING = "unexpected error during closedir"
# A path, an object of the repository, or that no threads could be started, for which no path is to blame.
NAMED = re.compile(r"/|\b(config|README|packs|index|backups|keys|tmp|src)\b|disk\.img|starting threads failed")


def drill(options):
    figures = common.Figures("errors")
    with common.workplace() as work:
        life, steps = scenario.steps(work, options.seed, reads=True)
        cases = []
        for step in steps:
            step.saved.back(life)
            calls = trace.run(step.begin(life), life.tool.env, work).calls
            for call in CALLS:
                for place in range(1, calls.count(call) + 1):
                    cases += [(step, call, place, error, how) for error in ERRORS for how in ("once", "sticky")]
        figures.note("possible", len(cases))
        if options.case:
            cases = [case for case in cases if named(case) == options.case]
        else:
            count = options.count(len(cases), 150)
            cases = random.Random(options.seed).sample(cases, min(count, options.limit or count))
        for case in cases:
            with figures.case(named(case)):
                figures.note(one(life, work, *case))
    return [figures]


def named(case):
    return " ".join([case[0].name, *map(str, case[1:])])


def one(life, work, step, call, place, error, how):
    """One case; how the command ended, in a word."""
    step.saved.back(life)
    number = getattr(errno, error)
    times = 1 if how == "once" else STORM if error == "EINTR" else float("inf")

    def decide(calls):
        is_due = calls[-1] == call and place <= calls.count(call) < place + times
        return number if is_due else None

    ended = trace.run(step.begin(life), life.tool.env, work, decide)
    if ended.code == 0:
        step.done(life)
        if step.name == "extract":
            restored(life)
    shutil.rmtree(life.tool.sources + ".to", ignore_errors=True)
    is_of_rust = {-6: NO_MEMORY.search(ended.err), 101: call == "close" and NO_CLOSING in ended.err}
    if ended.code not in (0, 1) and not is_of_rust.get(ended.code):
        raise common.Wrong(f"exit {ended.code}: {common.begin(ended.err)}")
    if ended.code == 1 and not NAMED.search(ended.err):
        raise common.Wrong(f"the message names nothing: {common.begin(ended.err)}")
    if step.name == "init":
        scenario.init_again(life)
    life.holds()
    return {0: "went well", 1: "told", -6: "out of memory", 101: "not closed"}[ended.code] if ended.fired else "not reached"


def restored(life):
    path = os.path.join(life.tool.sources + ".to", os.path.basename(life.tool.sources), tools.IMAGE)
    with open(path, "rb") as file:
        if file.read() != list(life.must.values())[-1]:
            raise common.Wrong("extract: exit 0, and wrong bytes")

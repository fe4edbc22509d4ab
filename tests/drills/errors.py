"""Each file system call of a small life fails, once or from then on, with each of nine errors.

Proves: whatever fails, no `create` ends with 0 and an archive that does not restore, no `extract` with 0 and wrong bytes, and
none leaves wrong bytes under a file's name; the message names a path or an object; nobody is kept waiting for good and
nothing panics; and when the disk works again, so does everything, without a manual step.

If a program makes no call of that kind after the one that failed once, it runs in the same way if all fail from then on: that
case is not run again (it would be, to the last byte: time and random numbers are the same, `trials.py`).
"""

import errno
import os
import random
import re
import shutil

import common
import tools
import trace
import trials

NEED = trials.NEED
ERRORS = "EIO ENOSPC EDQUOT EACCES EMFILE ENOMEM EROFS ESTALE EINTR".split()
# A signal interrupts a call again and again, but not for ever.
STORM = 100
# Nobody may be kept waiting for so many seconds.
PATIENCE = 20
# Rust's library ends a program that gets no memory.
NO_MEMORY = re.compile(r"memory allocation of \d+ bytes failed|failed to allocate an alternative stack")
# Rust's library ends a program that cannot close a directory, which no file system answers; that of the time zones, here.
NO_CLOSING = "unexpected error during closedir"
# A path, an object of the repository, or that no threads could be started, for which no path is to blame.
NAMED = re.compile(r"/|\b(config|README|packs|index|backups|keys|tmp|src)\b|disk\.img|starting threads failed")


def drill(options):
    with common.workplace() as work:
        failing = Failing(work, options.seed, reads=True)
        cases = [case for number in range(len(failing.steps)) for case in failing.cases(number)]
        if options.case:
            cases = [case for case in cases if failing.named(case) == options.case]
        else:
            count = options.count(len(cases), 150)
            cases = sorted(random.Random(options.seed).sample(cases, min(count, options.limit or count)))
        yield from failing.run("errors", cases)


class Failing(trials.Trials):
    """A case is a call, which one of those it is, the error, and whether it is of this one alone or of all from then on."""

    def cases(self, number):
        calls = self.calls(number)
        for call in sorted(set(calls)):
            for place in range(1, calls.count(call) + 1):
                # Of fcntl it is no error: somebody else has the lock, who is waited for.
                errors = [error for error in ERRORS if (call, error) != ("fcntl", "EACCES")]
                yield from ((number, call, place, error, how) for error in errors for how in ("once", "sticky"))

    # The last case of which the failing call was the last of its kind.
    ended_with = None

    def one(self, step, call, place, error, how):
        life, number, case = self.life, getattr(errno, error), (step.name, call, place, error)
        if how == "sticky" and case == self.ended_with:
            return "the same as once"
        times = 1 if how == "once" else STORM if error == "EINTR" else float("inf")
        ended = trace.run(step.begin(life), self.env, self.live, only=call, timeout=PATIENCE,
                          decide=lambda calls: number if place <= len(calls) < place + times else None)
        self.ended_with = case if how == "once" and len(ended.calls) == place else None
        if ended.code == 0:
            step.done(life)
        if step.name == "extract":
            restored(life, ended.code)
        shutil.rmtree(life.tool.sources + ".to", ignore_errors=True)
        is_of_rust = {-6: NO_MEMORY.search(ended.err), 101: call == "close" and NO_CLOSING in ended.err}
        if ended.code not in (0, 1) and not is_of_rust.get(ended.code):
            raise common.Wrong(f"exit {ended.code}: {common.begin(ended.err)}")
        if ended.code == 1 and not NAMED.search(ended.err):
            raise common.Wrong(f"the message names nothing: {common.begin(ended.err)}")
        if not ended.fired:
            return "not reached"
        return {0: "went well", 1: "told", -6: "out of memory", 101: "not closed"}[ended.code]


def restored(life, code):
    """A file that has its name is exact; if all went well it is there."""
    path = os.path.join(life.tool.sources + ".to", os.path.basename(life.tool.sources), tools.IMAGE)
    if code == 0 or os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() != list(life.must.values())[-1]:
                raise common.Wrong(f"extract: exit {code}, and wrong bytes")

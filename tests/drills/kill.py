"""SIGKILL at the entry of every file system call of a small life: init, create, delete, prune with repack,
compact.

Proves: wherever a program is killed, what was finished restores byte for byte, nothing is damaged, and the next backup and
the next prune work without a manual step.
"""

import common
import trace
import trials

NEED = trials.NEED


def drill(options):
    with common.workplace() as work:
        killed, cases = Killed(work, options.seed), []
        for number in range(len(killed.steps)):
            calls = killed.calls(number)
            cases += [(number, place, calls[place - 1]) for place in options.sample(range(1, len(calls) + 1), 4)]
        yield from killed.run("kill", cases)


class Killed(trials.Trials):
    """A case is the place of a call among all of a step, and its name."""

    def one(self, step, place, _):
        ended = trace.run(step.begin(self.life), self.env, self.live,
                          lambda calls: trace.KILL if len(calls) == place else None)
        if ended.code == 0:
            step.done(self.life)
        elif ended.code != -9:
            raise common.Wrong(f"exit {ended.code}: {common.begin(ended.err)}")
        return "after the end" if ended.code == 0 else "killed"

"""SIGKILL at the entry of every file system call of a small life: init, create, delete, prune with repack.

Proves: wherever a program is killed, what was finished restores byte for byte, nothing is damaged, and the next backup and
the next prune work without a manual step.
"""

import common
import scenario
import trace


def drill(options):
    figures = common.Figures("kill")
    with common.workplace() as work:
        life, steps = scenario.steps(work, options.seed)
        for step in steps:
            step.saved.back(life)
            calls = trace.run(step.begin(life), life.tool.env, work).calls
            places = range(1, len(calls) + 1)
            for place in options.sample(places, 4):
                name = f"{step.name}, call {place} of {len(calls)} ({calls[place - 1]})"
                with figures.case(name):
                    at(life, step, place, work)
            figures.note(f"calls in {step.name}", len(calls))
    return [figures]


def at(life, step, place, work):
    step.saved.back(life)
    ended = trace.run(step.begin(life), life.tool.env, work,
                      lambda calls: trace.KILL if len(calls) == place else None)
    if ended.code == 0:
        step.done(life)
    elif ended.code != -9:
        raise common.Wrong(f"exit {ended.code}: {common.begin(ended.err)}")
    if step.name == "init":
        scenario.init_again(life)
    life.holds()

"""The small life of a repository through which the drills `kill` and `errors` go call by call.

Out: its steps, each with the state before it. One thread works for garret, and one writes: calls come in almost the same
order each time.
"""

import os

import common
import tools

IMAGE_LEN = 300_000


class Step:
    """One command: its name, the state before it, its command line, and what it promises when it returned 0."""

    def __init__(self, name, saved, begin, done=lambda life: None):
        self.name, self.saved, self.begin, self.done = name, saved, begin, done


def create(life):
    return life.begin_create()[1]


def created(life):
    life.created(list(life.may)[-1])


def deleting(life):
    oldest = list(life.must)[0]
    life.may[oldest] = life.must.pop(oldest)
    return life.tool.delete(oldest)


def extracting(life):
    os.makedirs(life.tool.sources + ".to", exist_ok=True)
    return life.tool.extract(list(life.must)[-1], life.tool.sources + ".to")


def steps(work, seed, reads=False, live="."):
    """init, create, create, delete, create, prune with repack, create, compact; with `reads` also extract and check. It is
    lived in the directory `live`; what is saved lies beside that."""
    live = os.path.normpath(os.path.join(work, live))
    os.makedirs(live + "/place")
    tool = tools.Garret(live + "/place", live + "/src")
    tool.threads = ["--threads", "1"]
    life = common.Life(tool, IMAGE_LEN, seed)
    plan = [("init", lambda life: life.tool.init(), None), ("create-1", create, created), ("create-2", create, created),
            ("delete", deleting, None), ("create-3", create, created), ("prune", lambda life: life.begin_prune(), None),
            ("create-4", create, created), ("compact", lambda life: life.tool.compact(), None)]
    if reads:
        plan += [("extract", extracting, None), ("check", lambda life: life.tool.check(), None)]
    found = []
    for name, begin, done in plan:
        if begin is create:
            life.change()
        found.append(Step(name, common.Saved(life, work), begin, done or (lambda life: None)))
        life.do(begin(life), name)
        found[-1].done(life)
        if name in ("delete", "prune"):
            life.may = {}
    return life, found


def init_again(life):
    """What a broken off init left is a repository, or the next init makes one of it."""
    if life.tool.list()[0] != 0:
        life.init()

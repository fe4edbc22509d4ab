"""SIGKILL at random instants of a backup, and of a prune with repack, while somebody else backs up beside it.

Proves: whatever is killed, every archive that was made restores, the one beside too; the killed one is there whole or not at
all; and the next backup and the next prune work without a manual step.
"""

import os

import common
import tools

IMAGE_LEN = 8_000_000


def drill(options, tool=tools.Garret, scale=1.0):
    trials = max(2, round(options.count(500, 10) * scale))
    with common.workplace() as work:
        return [kills(work, tool, what, trials, options.seed) for what in ("create", "prune")]


def kills(work, tool, what, trials, seed):
    figures = common.Figures(f"kill at random, {tool.name}, {what}")
    place = f"{work}/{what}"
    os.makedirs(place)
    life = common.Life(tool(place, work + "/src"), IMAGE_LEN, seed)
    beside = Beside(life, place + "-other")
    life.init()
    life.create()
    instants = common.Instants(figures, life.random)
    for trial in range(trials):
        with figures.case(f"seed {seed}, trial {trial}"):
            kill(life, what, instants, beside)
            life.holds()
            life.may = {}
    figures.note("manual steps", life.manual)
    return figures


class Beside:
    """A second client of the same repository, which backs up another image; it waits while it has to."""

    def __init__(self, life, sources):
        self.life, self.sources = life, sources
        os.makedirs(sources)

    def start(self):
        self.name = f"beside{self.life.count}"
        self.image = self.life.random.randbytes(1_000_000)
        with open(os.path.join(self.sources, tools.IMAGE), "wb") as file:
            file.write(self.image)
        self.process = self.life.tool.start(self.life.tool.create(self.name, self.sources))

    def end(self):
        """Its archive is there if it said so."""
        code = self.process.wait(timeout=120)
        kept = self.life.must if code == 0 else self.life.may
        kept[self.name] = self.image
        return code


def kill(life, what, instants, beside):
    if what == "prune":
        for _ in range(2):
            life.change()
            life.create()
    life.change()
    name, argv = life.begin_create() if what == "create" else (None, life.begin_prune(own=True))
    process = life.tool.start(argv)
    beside.start()
    is_done = instants.wait(what, process)
    life.kill(process)
    if is_done and name:
        life.created(name)
    code = beside.end()
    if code != 0 and life.tool.waits:
        raise common.Wrong(f"the creator beside: exit {code}")
    instants.figures.note("refused beside", int(code != 0))

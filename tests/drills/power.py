"""The power goes: right after a backup said that it is done, or at any instant of a backup or of a prune with repack.

Each file system is on a loop device. A cut is FS_IOC_SHUTDOWN without a flush of the log, then SIGKILL, unmounting, mounting:
the journal is replayed as after a real cut. Repository, cache and what else a client keeps are on that disk. Proves: exit 0
means on disk; nothing else of an interrupted run is ever seen; nothing has to be done by hand. The control shows that the
drill can tell: a program whose syncs do nothing loses what it said to be done.
"""

import os

import common
import tools
import trace

NEED = {"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs"}
IMAGE_LEN = 6_000_000
SYNCS = {"fsync", "fdatasync", "syncfs"}


def drill(options, tool=tools.Garret, scale=1.0):
    found = []
    with common.workplace() as work:
        def count(full, short):
            return max(2, round(options.count(full, short) * scale))

        found.append(after_success(work, tool, "ext4", count(100, 5), options.seed))
        found.append(after_success(work, tool, "xfs", count(50, 2), options.seed))
        for kind, trials in (("ext4", count(300, 5)), ("xfs", count(50, 2)), ("btrfs", count(50, 2))):
            found.append(at_random(work, tool, kind, trials, options.seed))
        if tool is tools.Garret:
            found.append(control(work, tool, options.count(20, 5), options.seed))
    return found


class Machine:
    """A life on a disk of its own, in which a repository was made."""

    def __init__(self, work, tool, kind, seed):
        self.disk = common.disk(work, kind, 1000)
        place = self.disk.mount + "/place"
        os.makedirs(place)
        self.life = common.Life(tool(place, work + "/src"), IMAGE_LEN, seed)
        self.life.init()
        os.sync()

    def cut(self, process=None):
        self.disk.off()
        if process:
            self.life.kill(process)
        self.disk.on()


def after_success(work, tool, kind, trials, seed):
    figures = common.Figures(f"power, {tool.name}, {kind}, after exit 0")
    machine = Machine(work, tool, kind, seed)
    life = machine.life
    for trial in range(trials):
        with figures.case(f"seed {seed}, trial {trial}"):
            life.change()
            life.create()
            machine.cut()
            life.keeps()
            if trial % 4 == 3:
                life.prune()
    machine.disk.remove()
    figures.note("manual steps", life.manual)
    return figures


def at_random(work, tool, kind, trials, seed):
    """Every other trial is a create, every other a prune that has three archives to choose from."""
    figures = common.Figures(f"power, {tool.name}, {kind}, at any instant")
    machine = Machine(work, tool, kind, seed)
    life = machine.life
    instants = common.Instants(figures, life.random)
    life.create()
    for trial in range(trials):
        with figures.case(f"seed {seed}, trial {trial}"):
            interrupt(machine, "prune" if trial % 2 else "create", instants)
            life.holds()
            life.may = {}
    machine.disk.remove()
    figures.note("manual steps", life.manual)
    return figures


def interrupt(machine, what, instants):
    life = machine.life
    if what == "prune":
        for _ in range(2):
            life.change()
            life.create()
    life.change()
    name, argv = life.begin_create() if what == "create" else (None, life.begin_prune())
    process = life.tool.start(argv)
    is_done = instants.wait(what, process)
    machine.cut(process)
    if is_done and name:
        life.created(name)


def control(work, tool, trials, seed):
    """The same as `after_success`, but that no sync is made: it would be wrong here if most archives were there."""
    figures = common.Figures(f"power, {tool.name}, ext4, control without syncs")
    lost = 0
    for trial in range(trials):
        machine = Machine(work, tool, "ext4", seed + trial)
        life = machine.life
        name, argv = life.begin_create()
        ended = trace.run(argv, life.tool.env, work, lambda calls: trace.FAKE if calls[-1] in SYNCS else None)
        machine.cut()
        code, listed, _ = life.tool.list()
        kept = ended.code == 0 and code == 0 and name in listed and life.tool.restore(name)[1] == life.may[name]
        lost += not kept
        machine.disk.remove()
    with figures.case("the control"):
        if lost < trials * 0.9:
            raise common.Wrong(f"{lost} of {trials} archives were lost without syncs: the drill proves nothing")
    figures.note("of them lost, as they should be", lost)
    figures.runs = trials
    return figures

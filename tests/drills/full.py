"""A disk that gets full while a backup writes, and one on which not a byte is free.

Proves: a backup that has no room says so, leaves no archive and damages none, and its room is had again, after a prune if it
was more than a pack; on a full disk archives are deleted, and what needs no room to go gives its space back, also when that
is killed. What does need room, the rest of a pack of which something is still needed, is told of in one line
(docs/design.md, "Why gc is safe") and counted here.
"""

import os

import common
import tools

NEED = {"mkfs.ext4": "e2fsprogs"}
MIB = 1 << 20
IMAGE_LEN = 40 * MIB
# What is there before, in every case.
SMALL_LEN = 4 * MIB
# What garret says when not even the smallest step has room.
NO_STEP = "what could go without room is gone; make room, then run"


def drill(options, tool=tools.Garret, scale=1.0):
    with common.workplace() as work:
        sizes = max(2, round(options.count(50, 4) * scale))
        zeros = max(2, round(options.count(30, 3) * scale))
        return [filling(work, tool, sizes, options.seed), emptying(work, tool, zeros, options.seed, False),
                emptying(work, tool, zeros, options.seed, True)]


def machine(work, tool, mebibytes, seed):
    disk = common.disk(work, "ext4", mebibytes)
    place = disk.mount + "/place"
    os.makedirs(place)
    life = common.Life(tool(place, work + "/src"), SMALL_LEN, seed)
    life.init()
    life.create()
    return disk, life


def fill(disk):
    """To the last byte."""
    with open(disk.mount + "/ballast", "ab", buffering=0) as file:
        for length in (MIB, 4096, 1):
            try:
                while file.write(b"x" * length):
                    pass
            except OSError:
                pass
        try:
            os.fsync(file.fileno())
        except OSError:
            pass


def filling(work, tool, trials, seed):
    """Disks of 18 to 67 MiB, most of them too small for an image of 40 MiB."""
    figures = common.Figures(f"full, {tool.name}, a backup that does not fit")
    for trial in range(trials):
        mebibytes = 18 + trial * 50 // trials
        with figures.case(f"seed {seed}, disk of {mebibytes} MiB"):
            disk, life = machine(work, tool, mebibytes, seed)
            try:
                figures.note(too_large(life))
            finally:
                disk.remove()
    return figures


def too_large(life):
    small, life.image = life.image, bytearray(common.noise(life.count + 99, IMAGE_LEN))
    life.change()
    name, argv = life.begin_create()
    code, _, err = life.tool.run(argv)
    if code == 0:
        life.created(name)
        life.keeps()
        return "fitted"
    _, listed, _ = life.tool.list()
    if name in listed:
        raise common.Wrong(f"exit {code}, and {name} is listed")
    if "space" not in err and "full" not in err:
        raise common.Wrong(f"the message does not say why: {common.begin(err)}")
    del life.may[name]
    life.keeps()
    # A smaller one has room, at the latest when a prune has given back what the large one left.
    life.image = small
    life.change()
    name, argv = life.begin_create()
    if life.tool.run(argv)[0] == 0:
        life.created(name)
        life.holds()
        return "did not fit"
    del life.may[name]
    life.keeps()
    life.prune()
    life.holds()
    return "did not fit, and the next small one only after a prune"


def emptying(work, tool, trials, seed, killed):
    """Three archives of which two are to go, and not a byte free: prune, a second time where it was killed. In every other
    case the oldest shares nothing with the newest."""
    title = "killed while it prunes without a free byte" if killed else "prune without a free byte"
    figures = common.Figures(f"full, {tool.name}, {title}")
    instants = common.Instants(figures, common.random.Random(seed))
    dead = back = 0
    for trial in range(trials):
        with figures.case(f"seed {seed}, trial {trial}"):
            disk, life = machine(work, tool, 64, seed + trial)
            try:
                for share in (0.6 if trial % 2 else 1.0, 0.3):
                    life.change(share)
                    life.create()
                used = disk.free()
                fill(disk)
                before = disk.free()
                argv = life.begin_prune()
                if killed:
                    process = life.tool.start(argv)
                    instants.wait("prune", process)
                    life.kill(process)
                life.keeps()
                code, _, err = life.tool.run(life.tool.prune())
                if code != 0 and NO_STEP not in err:
                    raise common.Wrong(f"prune without a free byte: exit {code}: {common.begin(err)}")
                figures.note("had no room for all", int(code != 0))
                life.may = {}
                life.keeps()
                gained = disk.free() - before
                back += gained
                os.unlink(disk.mount + "/ballast")
                life.holds()
                dead += disk.free() - used
            finally:
                disk.remove()
    figures.note("MiB given back at once", back // MIB)
    figures.note("MiB with room", dead // MIB)
    return figures

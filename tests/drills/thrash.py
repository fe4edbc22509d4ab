"""Sixteen creators, two pruners, who deletes and four who extract, all at once on one repository, and every second a SIGKILL
for one of them.

Proves: nobody gets wrong bytes; every archive whose `create` returned 0 restores until it is deleted; no creator and no
reader waits for a pruner, for none of them is allowed to wait at all; when all is over one prune leaves next to nothing.
"""

import os
import random
import shutil
import threading
import time

import common
import tools

BLOCK_LEN, BLOCKS = 128 << 10, 64
CREATORS, PRUNERS, EXTRACTORS = 16, 2, 4
# Pruners wait for each other, and each reads all archives: on a machine that has other things to do that takes its time.
PATIENCE = 1800


def drill(options, tool=tools.Garret, name="thrash, garret"):
    with common.workplace() as work:
        figures = common.Figures(name)
        crowd = Crowd(work, options.seed, figures, tool)
        crowd.run(options.count(1800, 30), crowd.everybody())
        with figures.case(f"seed {options.seed}, at the end"):
            crowd.ends()
        return [figures]


class Crowd:
    """Who works on the repository, and what must be in it."""

    def __init__(self, work, seed, figures, tool):
        self.work, self.figures, self.seed, self.kind = work, figures, seed, tool
        self.tool = tool(self.make("place"), self.make("src"))
        self.random = random.Random(seed)
        self.blocks = [common.noise(seed + number, BLOCK_LEN) for number in range(BLOCKS)]
        # Archives that must be there, and those of which another end was seen; processes that may be killed.
        self.must, self.may, self.running, self.lock = {}, set(), {}, threading.Lock()
        code, _, err = self.tool.run(self.tool.init())
        if code != 0:
            raise common.Wrong(err)

    def make(self, name):
        os.makedirs(f"{self.work}/{name}", exist_ok=True)
        return f"{self.work}/{name}"

    def everybody(self):
        return [self.creates] * CREATORS + [self.prunes] * PRUNERS + [self.deletes] + [self.extracts] * EXTRACTORS

    def run(self, seconds, roles, pauses=(1, 1)):
        """Lets them all work, and kills one of them after each pause."""
        self.end = time.monotonic() + seconds
        workers = [threading.Thread(target=self.works, args=(role, number)) for number, role in enumerate(roles)]
        for worker in workers:
            worker.start()
        while time.monotonic() < self.end:
            time.sleep(self.random.uniform(*pauses))
            with self.lock:
                victim = self.random.choice(list(self.running) or [None])
                if victim is not None:
                    self.running[victim] = True
                    common.Life.kill(None, victim)
                    self.figures.note("killed")
        for worker in workers:
            worker.join()

    def works(self, role, number):
        own = random.Random(f"{self.seed} {number}")
        tool = self.kind(self.make(f"client{number}"), self.make(f"client{number}/src"))
        tool.repo = self.tool.repo
        count = 0
        while time.monotonic() < self.end:
            count += 1
            with self.figures.case(f"seed {self.seed}, {role.__name__} {number}, {count}"):
                role(tool, own, f"a{number}-{count}")

    def does(self, tool, argv):
        """Runs a command. Its exit code, or nothing if it was killed; and what it said."""
        said = os.path.join(tool.client, "said")
        process = tool.start(argv, said)
        with self.lock:
            self.running[process] = False
        code = process.wait(timeout=PATIENCE)
        with self.lock:
            is_killed = self.running.pop(process)
        with open(said, encoding="utf-8", errors="replace") as file:
            return (None if is_killed else code), file.read()

    def creates(self, tool, own, name):
        image = b"".join(own.choices(self.blocks, k=own.randint(4, 24))) + own.randbytes(20_000)
        with open(os.path.join(tool.sources, tools.IMAGE), "wb") as file:
            file.write(image)
        code, said = self.does(tool, tool.impatient(tool.create(name)))
        if code not in (0, None):
            raise common.Wrong(f"create: exit {code}: {common.begin(said)}")
        with self.lock:
            (self.must.__setitem__(name, image) if code == 0 else self.may.add(name))

    def some(self, own):
        with self.lock:
            return own.choice(sorted(self.must) or [None])

    def prunes(self, tool, own, _):
        time.sleep(own.random())
        code, said = self.does(tool, tool.collect())
        if code not in (0, None):
            raise common.Wrong(f"prune: exit {code}: {common.begin(said)}")

    def deletes(self, tool, own, _):
        with self.lock:
            names = own.sample(sorted(self.must), len(self.must) // 3)
            if len(names) < 5:
                return time.sleep(0.05)
            for name in names:
                del self.must[name]
            self.may |= set(names)
        code, said = self.does(tool, tool.delete_all(names))
        if code not in (0, None):
            raise common.Wrong(f"delete: exit {code}: {common.begin(said)}")
        with self.lock:
            self.may -= set(names) if code == 0 else set()

    def extracts(self, tool, own, _):
        name = self.some(own)
        if name is None:
            return time.sleep(0.05)
        image = self.must.get(name)
        out = self.make(f"{os.path.basename(tool.place)}/out")
        code, said = self.does(tool, tool.impatient(tool.extract(name, out)))
        found = os.path.join(out, os.path.basename(tool.sources), tools.IMAGE)
        if code == 0 and image is not None:
            with open(found, "rb") as file:
                if file.read() != image:
                    raise common.Wrong(f"restore of {name}: exit 0, and wrong bytes")
        elif code is not None and name in self.must:
            raise common.Wrong(f"restore of {name}: exit {code}: {common.begin(said)}")
        shutil.rmtree(out)

    def keeps(self):
        """All is there and exact; the archives."""
        code, listed, err = self.tool.list()
        lost = set(self.must) - set(listed)
        strange = set(listed) - set(self.must) - self.may
        if code != 0 or lost or strange:
            raise common.Wrong(f"list: exit {code}: {common.begin(err)}; lost {lost}, not deleted {strange}")
        for name, image in self.must.items():
            code, found, err = self.tool.restore(name)
            if code != 0 or found != image:
                raise common.Wrong(f"restore of {name}: exit {code}: {common.begin(err)}")
        return listed

    def ends(self):
        """All is there, a check finds nothing, and what nobody needs goes with one prune."""
        listed = self.keeps()
        for argv in (self.tool.check(), self.tool.collect(), self.tool.check()):
            code, _, err = self.tool.run(argv)
            if code != 0:
                raise common.Wrong(f"{' '.join(argv)}: exit {code}: {common.begin(err)}")
        self.figures.note("archives at the end", len(listed))
        # What the dead might need waits for them.
        time.sleep(self.tool.mourning)
        code, _, err = self.tool.run(self.tool.delete_all(listed))
        left = sum(len(files) for _, _, files in os.walk(os.path.join(self.tool.repo, "packs")))
        if code != 0 or left:
            raise common.Wrong(f"delete of all: exit {code}: {common.begin(err)}; {left} packs are left")

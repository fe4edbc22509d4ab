"""The small lives of which `crash.py` asks what a crash may leave, and how they are recorded.

In: a directory. Out: each call of each command of a life that changes something or syncs it, and what must hold within and
after the command: of archives, keys, and of what is damaged. Lives have commands that are killed, a disk that fails, one that
is full, sessions beside gc, keys that change, bytes that rot, and repairs. Promises: a life ends as it is meant to, or it is
no life and the drill fails; the model has what the real file system has.
"""

import copy
import errno
import fcntl
import os
import random
import shutil
import struct

import common
import storage
import tools
import trace

IMAGE_LEN = 200_000
OFD_SETLK = 37
# What no crash passes for: damage, a removal by somebody else, an older state.
ALARMS = ("is damaged", "no deletion was recorded", "older state")
# What a full disk refuses.
WRITES = {"write", "pwrite64", "writev", "pwritev2", "ftruncate", "fallocate", "mkdir", "mkdirat", "linkat", "symlinkat"}
# What is damaged: a first copy, of which there is a second; a pack that archives need; one that is known as such; one of
# which all is stored again; data that are in no pack any more, since a repair took it away. And how commands lead from one to
# the next.
COPY, PACK, KNOWN, HEALED, GONE, NOTHING = "a copy", "a pack", "a known pack", "a pack that nobody needs", "data", ""
LEADS = {("check", PACK): KNOWN, ("create", KNOWN): HEALED, ("create", GONE): NOTHING, ("prune", HEALED): NOTHING,
         ("repair", KNOWN): GONE, ("repair", HEALED): NOTHING, ("repair", COPY): NOTHING}


class Plain(tools.Garret):
    """Not encrypted. No crash passes for one of `alarms`."""

    alarms = ALARMS

    def run(self, argv, timeout=300):
        code, out, err = super().run(argv, timeout)
        if any(alarm in err for alarm in self.alarms):
            raise common.Wrong(f"{argv[1]}: {common.begin(err)}")
        return code, out, err

    def repair(self):
        return [self.program, "check", *self.threads, "--repair", self.repo]


class Keyed(Plain):
    """Encrypted, with a key file without a passphrase: that costs no time."""

    def __init__(self, place, sources):
        super().__init__(place, sources)
        self.env |= {"GARRET_KEYS_DIR": self.client + "/keys", "GARRET_PASSPHRASE": "", "GARRET_NEW_PASSPHRASE": "drill"}

    def init(self):
        return [self.program, "init", "--encryption", "keyfile", self.repo]

    def key(self, action, label):
        words = ["--label", label, self.repo] if action == "add" else [self.repo, label]
        return [self.program, "key", action, *words]

    def without_file(self, passphrase, new=""):
        """Words before a command which is not to find the key file, and has to open a key in the repository."""
        return ["/usr/bin/env", "GARRET_KEYS_DIR=" + self.client + "/nothing", "GARRET_PASSPHRASE=" + passphrase,
                "GARRET_NEW_PASSPHRASE=" + new]

    def opens(self, passphrase):
        return self.run([*self.without_file(passphrase), self.program, "list", self.repo])[0] == 0


class Life(common.Life):
    """A life in a directory of its own; of keys by their labels which must be there and which may, and the passphrases of
    which one opens a key; what is damaged, and of each file that rotted what was left of it."""

    def __init__(self, live, kind, seed):
        os.makedirs(live + "/place", exist_ok=True)
        tool = kind(live + "/place", live + "/src")
        tool.threads = ["--threads", "1"]
        self.keys, self.keys_may, self.opening = set(), set(), []
        self.damage, self.rotten = NOTHING, {}
        super().__init__(tool, IMAGE_LEN, seed)

    def begin_create(self):
        """Names have directories, of which two archives in a row share one."""
        self.count += 1
        name = f"n/{self.count // 2}/{self.count}"
        self.may[name] = bytes(self.image)
        return name, self.tool.create(name)

    def keeps(self):
        super().keeps()
        if isinstance(self.tool, Keyed):
            listed = self.do([self.tool.program, "key", "list", self.tool.repo], "key list")
            there = {line.split()[-1] for line in listed.splitlines() if not line.startswith("key file")}
            if not self.keys <= there <= self.keys | self.keys_may:
                raise common.Wrong(f"keys: {sorted(there)} are there, {sorted(self.keys)} have to be")

    def holds(self):
        if self.opening and not any(self.tool.opens(passphrase) for passphrase in self.opening):
            raise common.Wrong(f"no passphrase opens it, not even one of {self.opening}")
        for path, rest in self.rotten.items():
            if rest not in (storage.real(self.tool.repo + "/quarantine") | {path: read(self.tool.repo, path)}).values():
                raise common.Wrong(f"what was left of {path} is neither there nor in quarantine/")
        if self.damage:
            self.mends()
        super().holds()

    def mends(self):
        """What is damaged may be told of, gives no wrong bytes and costs nothing but what it held. A repair, or the next
        backup and the next prune, mend it."""
        self.tool.alarms = ALARMS[1:]
        code, listed, err = self.tool.list()
        lost = [name for name in self.must if name not in listed]
        if code not in (0, 1) or lost:
            raise common.Wrong(f"list beside damage: exit {code}: {common.begin(err)}; lost {lost}")
        for name, image in self.must.items():
            code, restored, err = self.tool.restore(name)
            is_refused = restored is None and code == 1 and self.damage in (PACK, KNOWN, GONE)
            if restored != image and not is_refused:
                raise common.Wrong(f"restore of {name} beside damage: exit {code}: {common.begin(err)}")
        if self.damage == COPY:
            self.tells(self.tool.repair())
        else:
            if self.damage == PACK:
                self.tells(self.tool.check())
            self.create("the next create beside damage")
            for name in self.must:
                self.restores(name)
            self.prune("the next prune beside damage")
        self.damage, self.tool.alarms = NOTHING, ALARMS

    def tells(self, argv):
        """Runs a command that ends with 1 if it told of damage."""
        code, _, err = self.tool.run(argv)
        if code not in (0, 1):
            raise common.Wrong(f"{argv[1]} beside damage: exit {code}: {common.begin(err)}")

    def fields(self):
        return copy.deepcopy({key: value for key, value in vars(self).items() if key != "tool"})


def read(*path):
    """The bytes of a file; nothing if it is not there."""
    try:
        with open(os.path.join(*path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def clear(directory):
    """Removes what is in it. Not the directory: others have mounted on it, and would lose that."""
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):
        shutil.rmtree(os.path.join(directory, name))


class Step:
    """A command of a life: its calls are those from `first` to before `last`; what must hold within and after it."""

    def __init__(self, name, first, last, within, after):
        self.name, self.first, self.last, self.within, self.after = name, first, last, within, after


class Recorded:
    """A life, and each of its calls."""

    def __init__(self, work, kind, seed, title):
        self.work, self.kind, self.seed, self.title = work, kind, seed, title
        clear(work + "/live")
        self.life = Life(work + "/live", kind, seed)
        self.recorder = storage.Recorder(self.life.tool.place)
        self.steps = []

    @property
    def calls(self):
        return self.recorder.calls

    def storage(self):
        return storage.Storage(self.recorder.number, self.recorder.directories)

    def step(self, name, argv, done=lambda: None, decide=lambda calls: None, codes=(0,), ends=(0,)):
        """Runs a command, which has to end with one of these codes; with one of `ends` it did what it was for."""
        within, first = self.life.fields(), len(self.calls)
        self.life.opening = []
        ended = trace.run(argv, self.life.tool.env, self.life.tool.sources + "/..", decide, watch=self.recorder)
        self.recorder.waiting.clear()
        if ended.code not in codes:
            raise common.Wrong(f"{self.title}: {name}: exit {ended.code}: {common.begin(ended.err)}")
        if ended.code in ends:
            done()
            self.life.damage = LEADS.get((name.split()[0], self.life.damage), self.life.damage)
        self.steps.append(Step(name, first, len(self.calls), within, self.life.fields()))

    def close(self):
        """The model has to have what the real file system has."""
        model = self.storage()
        for place, call in enumerate(self.calls):
            model.apply(place, call)
        modelled, real = model.after({}, storage.KEPT), storage.real(self.life.tool.place)
        odd = sorted(path for path in modelled.keys() | real.keys() if modelled.get(path, 0) != real.get(path, 0))
        if odd:
            raise common.Wrong(f"{self.title}: the model has something else: {odd}")
        return self

    def classes(self):
        return storage.Classes(self.recorder.number, self.calls, self.recorder.directories)

    # What a life is made of.

    def init(self, **how):
        self.step("init", self.life.tool.init(), **how)

    def create(self, change=True, **how):
        if change:
            self.life.change()
        name, argv = self.life.begin_create()
        self.step(f"create {name}", argv, lambda: self.life.created(name), **how)

    def delete(self, **how):
        oldest = list(self.life.must)[0]
        self.life.may[oldest] = self.life.must.pop(oldest)
        self.step(f"delete {oldest}", self.life.tool.delete(oldest), lambda: self.life.may.pop(oldest), **how)

    def prune(self, beside=False, **how):
        """With `beside` there are sessions of all epochs so far. What was healed is dropped."""
        argv = self.life.begin_prune()
        if self.life.damage == HEALED:
            self.life.rotten.clear()
        with open(self.life.tool.repo + "/config", "rb") as config, open(self.life.tool.repo + "/config", "rb") as other:
            if beside:
                fcntl.flock(config, fcntl.LOCK_SH)
                fcntl.fcntl(other, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 1, 64, 0))
            self.step("prune beside a session" if beside else "prune", argv, self.life.may.clear, **how)

    def compact(self, **how):
        self.step("compact", self.life.tool.compact(), **how)

    def check(self, **how):
        ends = (1,) if self.life.damage else (0,)
        self.step("check", self.life.tool.check(), **{"codes": ends} | how, ends=ends)

    def repair(self, **how):
        """It tells of what it found, if a killed one has not mended all of it."""
        self.step("repair", self.life.tool.repair(), **{"codes": (0, 1)} | how, ends=(0, 1))

    def rot(self, path, damage):
        """A byte of a file changes that has long come to the disk. Of packs all archives have the data of the image."""
        self.life.damage, first = damage, len(self.calls)
        within = self.life.fields()
        self.life.rotten[path] = self.recorder.rot(os.path.join(self.life.tool.repo, path))
        self.steps.append(Step(f"rot of {path.split('/')[0]}", first, len(self.calls), within, self.life.fields()))

    def largest_pack(self):
        packs = storage.real(self.life.tool.repo + "/packs")
        return "packs/" + max(packs, key=lambda path: len(packs[path] or b""))

    def key_add(self, label):
        self.life.keys_may.add(label)
        self.step(f"key add {label}", self.life.tool.key("add", label), lambda: self.life.keys.add(label))

    def key_remove(self, label):
        self.life.keys.discard(label)
        self.step(f"key remove {label}", self.life.tool.key("remove", label), lambda: self.life.keys_may.discard(label))

    def key_change(self, old, new):
        """Another passphrase and another label for a key: the old one opens, or the new one does."""
        tool, life = self.life.tool, self.life
        life.keys.discard(old)
        life.keys_may |= {old, new}
        life.opening = ["drill", "another"]

        def done():
            life.keys.add(new)
            life.keys_may.discard(old)
            life.opening = ["another"]

        words = [tool.program, "key", "change", "--label", new, tool.repo]
        self.step(f"key change {old}", [*tool.without_file("drill", "another"), *words], done)


def killed(call, count, *else_codes):
    """The program is killed before so manieth of these calls."""
    return {"decide": lambda calls: trace.KILL if is_due(calls, call, count) else None, "codes": (-9, *else_codes)}


def failing(call, count, *else_codes):
    """The disk fails then."""
    return {"decide": lambda calls: errno.EIO if is_due(calls, call, count) else None, "codes": (1, *else_codes)}


def full(count, *else_codes):
    """The disk is full from so manieth thing that is written on, until the command ends."""
    def decide(calls):
        return errno.ENOSPC if calls[-1] in WRITES and sum(call in WRITES for call in calls) >= count else None
    return {"decide": decide, "codes": (1, *else_codes)}


def is_due(calls, call, count):
    return calls[-1] == call and calls.count(call) == count


def plain(work, seed):
    """All that writes, and what is left when it is killed or the disk fails."""
    it = Recorded(work, Plain, seed, "plain")
    it.init(**killed("fsync", 1))
    it.init()
    it.create()
    it.create()
    it.create(**killed("fsync", 1))
    it.create(change=False)
    it.delete()
    it.create()
    it.prune(beside=True)
    it.create()
    it.prune()
    it.create(**failing("fdatasync", 1))
    it.create(change=False, **failing("fdatasync", 2))
    it.create(change=False)
    it.check()
    it.prune(**killed("fsync", 3))
    it.create()
    it.compact(**killed("fsync", 2))
    it.compact(**killed("unlinkat", 1))
    it.compact()
    it.prune()
    return it.close()


def keyed(work, seed):
    """Encrypted: the key file, keys in the repository, and gc with nobody there."""
    it = Recorded(work, Keyed, seed, "keyed")
    it.init()
    it.create()
    it.key_add("two")
    it.key_add("three")
    it.key_remove("two")
    it.create()
    it.delete()
    it.create()
    it.prune()
    return it.close()


def filled(work, seed):
    """Disks that are full for a while. There is room for both files of the record of what is deleted: without it, who is told
    of an archive that is gone, by a crash just then, may wonder (docs/design.md, "Rollback and removal")."""
    it = Recorded(work, Plain, seed, "filled")
    it.init(**full(3))
    it.init()
    it.create()
    it.create()
    it.create(**full(2))
    it.create(change=False, **full(6))
    it.create(change=False)
    it.delete(**full(4, 0))
    it.delete(**full(6, 0))
    it.create()
    it.prune(**full(4, 0))
    it.prune(**full(6, 0))
    it.create()
    it.prune()
    return it.close()


def rotten(work, seed):
    """Packs rot. The next backup heals what they held and a prune drops them; or a repair sets them aside."""
    it = Recorded(work, Plain, seed, "rotten")
    it.init()
    it.create()
    it.create(change=False)
    it.rot(it.largest_pack(), PACK)
    it.check(**killed("fsync", 1))
    it.check()
    it.create(change=False, **killed("fsync", 1))
    it.create(change=False)
    it.prune(**killed("unlinkat", 2))
    it.prune()
    it.rot(it.largest_pack(), PACK)
    it.check()
    it.repair(**killed("renameat", 1))
    it.repair(**killed("fsync", 3))
    it.repair()
    it.create(change=False)
    it.check()
    it.create()
    it.prune()
    return it.close()


def mended(work, seed):
    """Encrypted: config, an archive and a key rot, and a repair puts them back from their second copies; a key changes."""
    it = Recorded(work, Keyed, seed, "mended")
    it.init()
    it.create()
    it.key_add("two")
    it.rot("config", COPY)
    it.repair(**killed("renameat", 1))
    it.repair()
    it.create()
    it.rot("backups/" + list(it.life.must)[0], COPY)
    it.repair(**killed("fsync", 2))
    it.repair()
    it.rot("keys/" + os.listdir(it.life.tool.repo + "/keys")[0], COPY)
    it.repair()
    it.key_change("two", "three")
    it.create()
    it.prune()
    return it.close()


# What comes after a backup in lives that are drawn.
WHAT = ["nothing", "delete", "prune", "prune", "create killed", "create failed", "prune killed", "prune failed", "compact",
        "compact killed"]


# The same in lives in which more goes wrong.
MORE = [*WHAT, *["create full", "prune full", "compact full", "pack rots", "copy rots"] * 2]


def drawn(work, seed, what_comes):
    """A life at random. What deletes comes after a backup that went well."""
    draws = random.Random(seed)
    it = Recorded(work, draws.choice([Plain, Keyed]), seed, f"drawn by {seed}")
    it.init()
    for _ in range(draws.randrange(3, 7)):
        it.create(change=draws.random() < 0.8)
        what, sync = draws.choice(what_comes), draws.choice(["fsync", "fdatasync"])
        if what == "delete" and len(it.life.must) > 1:
            it.delete()
        elif what == "prune":
            it.prune(beside=draws.random() < 0.3)
        elif what == "compact":
            it.compact()
        elif what == "compact killed":
            it.compact(**killed(draws.choice(["fsync", "unlinkat", "renameat"]), draws.randrange(1, 9), 0))
        elif what == "create killed":
            it.create(**killed(draws.choice(["fsync", "fdatasync", "renameat", "mkdirat"]), draws.randrange(1, 6), 0))
        elif what == "create failed":
            it.create(**failing(sync, draws.randrange(1, 6), 0))
        elif what == "prune killed":
            it.prune(**killed(draws.choice(["fsync", "unlinkat", "renameat"]), draws.randrange(1, 9), 0))
        elif what == "prune failed":
            it.prune(**failing(sync, draws.randrange(1, 9), 0))
        elif what == "create full":
            it.create(**full(draws.randrange(1, 20), 0))
        elif what == "prune full":
            it.prune(**full(draws.randrange(4, 20), 0))
        elif what == "compact full":
            it.compact(**full(draws.randrange(1, 20), 0))
        elif what == "pack rots":
            pack_rots(it, draws)
        elif what == "copy rots":
            it.rot(draws.choice(["config", *("backups/" + name for name in it.life.must)]), COPY)
            it.repair(**killed(draws.choice(["fsync", "renameat"]), draws.randrange(1, 9), 0, 1))
            if it.life.damage:
                it.repair()
    return it.close()


def pack_rots(it, draws):
    """Of the only archive that there is. It is healed, or set aside, or both."""
    it.prune()
    it.rot(it.largest_pack(), PACK)
    it.check()
    is_healed, is_killed = draws.random() < 0.5, draws.random() < 0.5
    if is_healed:
        it.create(change=False)
    if is_killed:
        it.repair(**killed(draws.choice(["fsync", "renameat", "unlinkat"]), draws.randrange(1, 9), 0, 1))
    elif draws.random() < 0.5:
        it.repair()
    if not is_healed:
        it.create(change=False)
    if it.life.damage:
        it.prune()

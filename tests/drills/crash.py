"""The machine stops after any file system call of a small life, on a file system at its worst (`storage.py`).

The calls of the real program are recorded, with all that they write; from the record come the trees that a crash may have
left, and of each the same is asked as after every trial (`Life.holds`). Of two small lives: after each call everything that
no sync covers lost, everything kept, each change alone lost or kept, each write alone torn; and by seed any subset, of lives
that are drawn. Syncs fail in them, programs are killed and others go on without a crash between, gc meets sessions. Proves:
no promise hangs on a change that no sync covers. The control proves that the drill can tell, and what each sync is there for:
with any one kind of sync or barrier left out some state breaks a promise, but for those of which is said why they are spare.
"""

import copy
import errno
import fcntl
import fnmatch
import hashlib
import multiprocessing
import os
import random
import shutil
import struct
import subprocess

import common
import scenario
import storage
import tools
import trace

IMAGE_LEN = 200_000
# States that are asked for at once, before it is looked whether one of them is wrong.
BATCH = 64
# Seeds for each life that is drawn.
SEEDS_OF_A_LIFE = 400
OFD_SETLK = 37


class Plain(tools.Garret):
    """Not encrypted. No crash passes for damage, for a removal by somebody else or for an older state."""

    def run(self, argv, timeout=300):
        code, out, err = super().run(argv, timeout)
        if any(alarm in err for alarm in ("is damaged", "no deletion was recorded", "older state")):
            raise common.Wrong(f"{argv[1]}: {common.begin(err)}")
        return code, out, err


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


class Life(common.Life):
    """A life in a directory of its own; and of keys by their labels which must be there and which may."""

    def __init__(self, live, kind, seed):
        os.makedirs(live + "/place", exist_ok=True)
        tool = kind(live + "/place", live + "/src")
        tool.threads = ["--threads", "1"]
        self.keys, self.keys_may = set(), set()
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

    def fields(self):
        return copy.deepcopy({key: value for key, value in vars(self).items() if key != "tool"})


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

    def step(self, name, argv, done=lambda: None, decide=lambda calls: None, codes=(0,)):
        """Runs a command, which has to end with one of these."""
        within, first = self.life.fields(), len(self.calls)
        ended = trace.run(argv, self.life.tool.env, self.life.tool.sources + "/..", decide, watch=self.recorder)
        self.recorder.waiting.clear()
        if ended.code not in codes:
            raise common.Wrong(f"{self.title}: {name}: exit {ended.code}: {common.begin(ended.err)}")
        if ended.code == 0:
            done()
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

    def delete(self):
        oldest = list(self.life.must)[0]
        self.life.may[oldest] = self.life.must.pop(oldest)
        self.step(f"delete {oldest}", self.life.tool.delete(oldest), self.life.may.clear)

    def prune(self, beside=False, **how):
        """With `beside` there are sessions of all epochs so far."""
        argv = self.life.begin_prune()
        with open(self.life.tool.repo + "/config", "rb") as config, open(self.life.tool.repo + "/config", "rb") as other:
            if beside:
                fcntl.flock(config, fcntl.LOCK_SH)
                fcntl.fcntl(other, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 1, 64, 0))
            self.step("prune beside a session" if beside else "prune", argv, self.life.may.clear, **how)

    def check(self):
        self.step("check", self.life.tool.check())

    def key_add(self, label):
        self.life.keys_may.add(label)
        self.step(f"key add {label}", self.life.tool.key("add", label), lambda: self.life.keys.add(label))

    def key_remove(self, label):
        self.life.keys.discard(label)
        self.step(f"key remove {label}", self.life.tool.key("remove", label), lambda: self.life.keys_may.discard(label))


def killed(call, count, *else_codes):
    """The program is killed before so manieth of these calls."""
    return {"decide": lambda calls: trace.KILL if is_due(calls, call, count) else None, "codes": (-9, *else_codes)}


def failing(call, count, *else_codes):
    """The disk fails then."""
    return {"decide": lambda calls: errno.EIO if is_due(calls, call, count) else None, "codes": (1, *else_codes)}


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


# What comes after a backup in lives that are drawn.
WHAT = ["nothing", "delete", "prune", "prune", "create killed", "create failed", "prune killed", "prune failed"]


def drawn(work, seed):
    """A life at random. What deletes comes after a backup that went well."""
    draws = random.Random(seed)
    it = Recorded(work, draws.choice([Plain, Keyed]), seed, f"drawn by {seed}")
    it.init()
    for _ in range(draws.randrange(3, 7)):
        it.create(change=draws.random() < 0.8)
        what, sync = draws.choice(WHAT), draws.choice(["fsync", "fdatasync"])
        if what == "delete" and len(it.life.must) > 1:
            it.delete()
        elif what == "prune":
            it.prune(beside=draws.random() < 0.3)
        elif what == "create killed":
            it.create(**killed(draws.choice(["fsync", "fdatasync", "renameat", "mkdirat"]), draws.randrange(1, 6), 0))
        elif what == "create failed":
            it.create(**failing(sync, draws.randrange(1, 6), 0))
        elif what == "prune killed":
            it.prune(**killed(draws.choice(["fsync", "unlinkat", "renameat"]), draws.randrange(1, 9), 0))
        elif what == "prune failed":
            it.prune(**failing(sync, draws.randrange(1, 9), 0))
    return it.close()


# Syncs and barriers without which no state breaks a promise, and why.
SPARE = {
    "*nothing new*": "what is in it had come to the disk before",
    "*./ (+condemned)*": "no session outlives its machine; where the storage is another one, one may",
    "*index/ (+)": "the index follows from the packs",
    "sync of ./ (+index)": "the index follows from the packs",
    "*./ (+verified*": "nobody needs it",
    "*./ (-condemned)": "the next gc finds it again",
    "sync of verified": "nobody needs it",
    "sync of client/state/ (+ -)": "a client that remembers nothing begins anew",
    "*packs/*/ (-)": "a pack that comes back is dropped again",
    "barrier in init: ./ (+backups), client/ (+.)": "that of config, which follows, does as well",
    "sync of README": "the next init knows it by its name if it is blank",
    "sync of ./ (+backups)": "that for config, which follows, does as well",
    "barrier in *: index/ (-)": "the record of removals, which comes before packs go, has another",
    "barrier in *: backups/n/*/ (-)": "gc, which follows, has others before it deletes",
}


def drill(options):
    with common.workplace() as work:
        lives = [plain(work, options.seed), keyed(work, options.seed)]
        with multiprocessing.get_context("fork").Pool(2, settle, [work]) as pool:
            oracle = Oracle(pool)
            draws = random.Random(options.seed)
            some = options.count(1.0, 0.01)
            found = [judged(oracle, "each change alone", (
                state for life in lives for state in each_alone(life, lambda: draws.random() < some)))]
            count = options.count(20_000, 200)
            found.append(judged(oracle, "by seed", seeded(work, options.seed, count)))
            found.append(control(oracle, lives, options))
        return found


def judged(oracle, title, states):
    figures = common.Figures(f"crash, {title}")
    before = len(oracle.known)
    for state, wrong in oracle.ask(states):
        with figures.case(state.name):
            if wrong:
                raise common.Wrong(wrong)
    figures.note("different states", len(oracle.known) - before)
    return figures


def seeded(work, seed, count):
    for first in range(0, count, SEEDS_OF_A_LIFE):
        yield from by_seed(drawn(work, seed + first), range(seed + first, seed + min(first + SEEDS_OF_A_LIFE, count)))


def control(oracle, lives, options):
    """With any one kind of sync left out, some state of some life breaks a promise; so with any one barrier, whose syncs come
    with the next one then."""
    figures = common.Figures("crash, control with a sync left out")
    trials = {}
    for life in lives:
        for name, places in kinds(life).items():
            trials.setdefault(f"sync of {name}", []).append((life, places, {}))
        for name, (places, later) in barriers(life).items():
            trials.setdefault(f"barrier in {name}", []).append((life, places, later))
    for name in options.sample(sorted(trials), 4):
        with figures.case(name):
            states = (state for trial in trials[name] for state in without(*trial))
            broken = next(((state, wrong) for state, wrong in oracle.ask(states) if wrong), None)
            print(f"  {name}: {f'{broken[0].name}: {broken[1]}' if broken else 'nothing breaks'}", flush=True)
            why = [why for pattern, why in SPARE.items() if fnmatch.fnmatchcase(name, pattern)]
            if bool(broken) == bool(why):
                raise common.Wrong("something breaks without it" if broken else "nothing breaks without it")
            figures.note("as they should, broke a promise" if broken else "are spare")
    return figures


class State:
    """What a crash may leave: the tree, what must hold of it, and how it came about."""

    def __init__(self, recorded, step, place, is_within, tree, how):
        self.kind, self.seed, self.tree = recorded.kind, recorded.seed, tree
        self.fields = step.within if is_within else step.after
        self.is_init = step.name == "init"
        self.name = f"{recorded.title}, {step.name}, after call {place - step.first} of {step.last - step.first}, {how}"

    def digest(self):
        fields, found = self.fields, hashlib.blake2b(digest_size=16)
        parts = [part for path in sorted(self.tree) for part in (path, self.tree[path])]
        for archives in (fields["must"], fields["may"]):
            parts += ["", *(part for archive in archives.items() for part in archive)]
        for part in [*parts, *sorted(fields["keys"]), "", *sorted(fields["keys_may"]), str(self.is_init)]:
            part = part.encode() if isinstance(part, str) else part
            found.update(b"-" if part is None else len(part).to_bytes(8, "little") + part)
        return found.digest()


def moments(recorded, left_out=frozenset(), later={}):
    """Each place between two calls, and the storage there; `left_out` are syncs that are not made, `later` says at which
    other one the program makes them."""
    model, late = recorded.storage(), {}
    for at, place in later.items():
        late.setdefault(place, []).append(at)
    for step in recorded.steps:
        for at in range(step.first, step.last):
            yield step, at, True, model
            for early in late.get(at, []):
                model.apply(early, storage.Sync(recorded.calls[early].on, recorded.calls[at].began, False))
            if at not in left_out and at not in later:
                model.apply(at, recorded.calls[at])
        yield step, step.last, True, model
        yield step, step.last, False, model


class States:
    """The states of one place."""

    def __init__(self, recorded, classes, step, place, is_within, model):
        self.recorded, self.classes, self.model = recorded, classes, model
        self.where = step, place, is_within
        # Of older changes it is looked at less: those that nobody ever syncs would be too many.
        steps = [step.first for step in recorded.steps]
        before = steps[max(0, steps.index(step.first) - 1)]
        self.torn_from, self.lost_from = (step.first, before) if is_within else (before, 0)

    def state(self, outcomes, otherwise):
        how = ", ".join(self.named(at, outcome) for at, outcome in outcomes.items())
        tree = self.model.after(outcomes, otherwise)
        return State(self.recorded, *self.where, tree, f"{how or 'everything'}{', else' if how else ''} {otherwise}")

    def named(self, at, outcome):
        call = self.recorded.calls[at]
        if isinstance(call, storage.Entries):
            return f"{outcome} " + ", ".join(f"{'+' if file else '-'}{name}" for name, file in call.names.items())
        return f"{outcome} {type(call).__name__} of {self.classes.paths.get(call.on)}"

    def each(self, changes):
        """Each of these with each thing that may become of it alone."""
        for at, change in changes:
            if at >= self.lost_from:
                for outcome in change.outcomes() if at >= self.torn_from else [storage.LOST]:
                    yield self.state({at: outcome}, storage.KEPT)

    def alone(self):
        """All changes but one have the same fate."""
        yield self.state({}, storage.LOST)
        yield self.state({}, storage.KEPT)
        for at, _ in self.model.pending:
            if at >= self.lost_from:
                yield self.state({at: storage.KEPT}, storage.LOST)
        yield from self.each(self.model.pending)

    def without(self, durable):
        """Changes of which there are more than with all syncs do not come to the disk, all or one."""
        bare = [(at, change) for at, change in self.model.pending if at in durable]
        if not bare:
            return
        yield self.state({}, storage.LOST)
        tree = self.model.after({at: storage.LOST for at, _ in bare}, storage.KEPT)
        yield State(self.recorded, *self.where, tree, "all that was to be synced lost, else kept")
        yield from self.each(bare)

    def drawn(self, seed, draws):
        """Any subset."""
        share, outcomes = draws.random(), {}
        for at, change in self.model.pending:
            outcomes[at] = storage.KEPT if draws.random() < share else draws.choice(change.outcomes())
        return State(self.recorded, *self.where, self.model.after(outcomes, storage.KEPT), f"seed {seed}")


def each_alone(recorded, is_chosen=lambda: True):
    for moment in moments(recorded):
        if is_chosen():
            yield from States(recorded, recorded.classes(), *moment).alone()


def by_seed(recorded, seeds):
    """For each seed a place, and what becomes there of each change."""
    places = sum(step.last - step.first + 2 for step in recorded.steps)
    at = {}
    for seed in seeds:
        draws = random.Random(seed)
        at.setdefault(draws.randrange(places), []).append((seed, draws))
    for place, moment in enumerate(moments(recorded)):
        for seed, draws in at.get(place, []):
            yield States(recorded, recorded.classes(), *moment).drawn(seed, draws)


def without(recorded, left_out, later):
    """The states that there are more if syncs are left out, or come later."""
    for (*_, full), moment in zip(moments(recorded), moments(recorded, left_out, later)):
        durable = {at for at, _ in moment[-1].pending} - {at for at, _ in full.pending}
        yield from States(recorded, recorded.classes(), *moment).without(durable)


def kinds(recorded):
    """The syncs that went well, by what they are for, each with its places."""
    classes, found = recorded.classes(), {}
    for _, place, is_within, model in moments(recorded):
        call = recorded.calls[place] if is_within and place < len(recorded.calls) else None
        if isinstance(call, storage.Sync) and not call.failed:
            found.setdefault(classes.name(call, model.pending), set()).add(place)
    return found


def barriers(recorded):
    """Syncs of directories, one right after another, are one barrier, and what they are for is its kind. Of each kind all
    syncs, and at which others they would be made if there were no such barrier; those that no other would make."""
    of = {place: name for name, places in kinds(recorded).items() for place in places}
    found = {}

    def is_directory(place):
        return place in of and recorded.calls[place].on in recorded.recorder.directories

    for step in recorded.steps:
        runs = [[]]
        for place in range(step.first, step.last):
            if is_directory(place) and not of[place].startswith("client/state"):
                runs[-1].append(place)
            elif not isinstance(recorded.calls[place], storage.Sync):
                runs.append([])
        runs = [run for run in runs if run]
        for run, following in zip(runs, [*runs[1:], None]):
            new = sorted({of[place] for place in run if "nothing new" not in of[place]})
            left_out, later = found.setdefault(f"{step.name.split()[0]}: {', '.join(new) or 'nothing new'}", (set(), {}))
            if following:
                later.update({place: following[0] for place in run})
            else:
                left_out.update(run)
    return found


class Oracle:
    """Asks of states whether the promises hold, of each once; two at a time."""

    def __init__(self, pool):
        self.pool, self.known = pool, {}

    def ask(self, states):
        """Gives each state with what is wrong with it; in the order in which they come."""
        batch = []
        for state in states:
            batch.append(state)
            if len(batch) == BATCH:
                yield from self.answer(batch)
                batch = []
        yield from self.answer(batch)

    def answer(self, batch):
        digests = [state.digest() for state in batch]
        new = {digest: state for digest, state in zip(digests, batch) if digest not in self.known}
        self.known |= zip(new, self.pool.map(judge, new.values(), chunksize=4))
        for digest, state in zip(digests, batch):
            yield state, self.known[digest]


# Where a process that judges has its own file system.
LIVE = None


def settle(work):
    """A process gets a file system of its own at the place where lives are recorded: clients remember paths."""
    global LIVE
    LIVE = work + "/live"
    os.makedirs(LIVE, exist_ok=True)
    common.own_mounts()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512M", "drill", LIVE], check=True)


def judge(state):
    """What is wrong with a state."""
    clear(LIVE)
    life = Life(LIVE, state.kind, state.seed)
    vars(life).update(copy.deepcopy(state.fields))
    life.lay()
    storage.build(life.tool.place, state.tree)
    try:
        if state.is_init:
            scenario.init_again(life)
        life.holds()
    except (common.Wrong, subprocess.TimeoutExpired) as wrong:
        return str(wrong)
    return None

"""The machine stops after any file system call of a small life, on a file system at its worst (`storage.py`).

The calls of the real program are recorded, with all that they write; from the record come the trees that a crash may have
left, and of each the same is asked as after every trial (`Life.holds`). Of five small lives (`lives.py`): after each call
everything that no sync covers lost, everything kept, each change alone lost or kept, each write alone torn; and by seed any
subset, of lives that are drawn. Syncs fail in them, programs are killed and others go on without a crash between, gc meets
sessions, disks are full, packs and first copies rot and are mended. Proves: no promise hangs on a change that no sync covers.
The control proves that the drill can tell, and what each sync is there for: with any one kind of sync or barrier left out
some state breaks a promise, but for those of which is said why they are spare.
"""

import copy
import fnmatch
import hashlib
import multiprocessing
import os
import random
import subprocess

import common
import lives
import scenario
import storage

# States that are asked for at once, before it is looked whether one of them is wrong.
BATCH = 64
# Seeds for each life that is drawn.
SEEDS_OF_A_LIFE = 400


# Syncs and barriers without which no state breaks a promise, and why.
SPARE = {
    "*nothing new*": "what is in it had come to the disk before",
    "*./ (+condemned)*": "no session outlives its machine; where the storage is another one, one may",
    "sync of index/ (+)": "the index follows from the packs",
    "barrier in *: index/ (+)": "the index follows from the packs",
    "barrier in *: ./ (+index), index/ (+)": "the index follows from the packs",
    "sync of ./ (+index)": "the index follows from the packs",
    "*./ (+verified*": "nobody needs it",
    "*./ (-condemned)": "the next gc finds it again",
    "sync of verified": "nobody needs it",
    "sync of client/state/ (+ -)": "a client that remembers nothing begins anew",
    "barrier in delete: packs/*/ (-)": "a pack that comes back is dropped again",
    "barrier in init: ./ (+backups), client/ (+.*)": "that of config, which follows, does as well",
    "barrier in init: client/ (+keys), client/keys/ (+ -)": "that of config's second copy, which follows, does as well",
    "sync of README": "the next init knows it by its name if it is blank",
    "sync of ./ (+backups)": "that for config, which follows, does as well",
    "barrier in *: index/ (-)": "the record of removals, which comes before packs go, has another",
    "barrier in *: backups/n/*/ (-)": "gc, which follows, has others before it deletes",
    "barrier in check: *damaged/ (+)": "the check, which goes on, has another before it tells of anything",
    "sync of ./ (+damaged)": "that for verified, which follows, does as well",
    "barrier in prune: ./ (-condemned), damaged/ (*-)": "the next gc finds both again",
    "sync of damaged/ (*-)": "a record of a pack that is gone counts for nothing",
    "barrier in *: damaged/ (-)": "a record of a pack that is gone counts for nothing",
    "* copies/ (-)": "a copy of what is gone is removed by the next gc",
    "barrier in repair: ./ (+config)": "the repair, which goes on, has another before it says what it mended",
    "barrier in repair: backups/*/ (+)": "the repair, which goes on, has another before it says what it mended",
    "barrier in repair: keys/ (+)": "the repair, which goes on, has another before it says what it mended",
    "barrier in repair: ./ (+tombstones)*": "that of packs, which follows, does as well",
    "sync of tmp/*": "it never got a name: the program was killed",
}


def drill(options):
    with common.workplace() as work:
        recorded = [life(work, options.seed) for life in
                    (lives.plain, lives.keyed, lives.filled, lives.rotten, lives.mended)]
        with multiprocessing.get_context("fork").Pool(2, settle, [work]) as pool:
            oracle = Oracle(pool)
            draws = random.Random(options.seed)
            some = options.count(1.0, 0.004)
            yield judged(oracle, "each change alone", (
                state for life in recorded for state in each_alone(life, lambda: draws.random() < some)))
            for title, count, what_comes in (("by seed", options.count(20_000, 100), lives.WHAT),
                                             ("by seed, damage and full disks", options.count(8000, 60), lives.MORE)):
                yield judged(oracle, title, seeded(work, options.seed, count, what_comes))
            yield control(oracle, recorded, options)


def judged(oracle, title, states):
    figures = common.Figures(f"crash, {title}")
    before = len(oracle.known)
    for state, wrong in oracle.ask(states):
        with figures.case(state.name):
            if wrong:
                raise common.Wrong(wrong)
    figures.note("different states", len(oracle.known) - before)
    return figures


def seeded(work, seed, count, what_comes):
    for first in range(0, count, SEEDS_OF_A_LIFE):
        seeds = range(seed + first, seed + min(first + SEEDS_OF_A_LIFE, count))
        yield from by_seed(lives.drawn(work, seed + first, what_comes), seeds)


def control(oracle, recorded, options):
    """With any one kind of sync left out, some state of some life breaks a promise; so with any one barrier, whose syncs come
    with the next one then."""
    figures = common.Figures("crash, control with a sync left out")
    trials = {}
    for life in recorded:
        for name, places in kinds(life).items():
            trials.setdefault(f"sync of {name}", []).append((life, places, {}))
        for name, (places, later) in barriers(life).items():
            trials.setdefault(f"barrier in {name}", []).append((life, places, later))
    for name in options.sample(sorted(trials), 2):
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
        parts += [*sorted(fields["keys"]), "", *sorted(fields["keys_may"]), "", *fields["opening"], fields["damage"]]
        parts += [part for file in fields["rotten"].items() for part in file]
        for part in [*parts, str(self.is_init)]:
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
    common.own_mounts(work)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512M", "drill", LIVE], check=True)


def judge(state):
    """What is wrong with a state."""
    lives.clear(LIVE)
    life = lives.Life(LIVE, state.kind, state.seed)
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

"""One case after another of the small life (`scenario.py`): something happens to one of its commands, and then the same is
asked as after every trial (`common.Life.holds`).

In: cases, and what to do in one (`Trials.one`). Out: figures. Promises: each case is run; what is asked afterwards is asked
once of each state, for most cases leave the repository as it was or as it is when nothing happens. So that states can be
equal the program has the same time and the same random numbers in all cases of a step (`same.c`); without that they differ,
and each is asked. Two cases run at a time, each in a place of its own under the same path, for clients remember paths.
"""

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import time

import common
import scenario
import trace

NEED = {"cc": "gcc"}


class End:
    """How a case ended, in a word, or what was wrong; whether it left a state of which nothing had been asked."""

    def __init__(self):
        self.how, self.wrong, self.is_new = None, None, False


class Trials:
    """The small life, and what is known of the states that its cases left."""

    def __init__(self, work, seed, reads=False):
        global TRIALS
        TRIALS = self
        self.work, self.live = work, work + "/live"
        source = os.path.join(os.path.dirname(os.path.realpath(__file__)), "same.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", work + "/same.so", source], check=True)
        self.life, self.steps = scenario.steps(work, seed, reads, "live")
        # After all that was backed up so far, and before all that the questions will back up.
        now = int(time.time()) + 1
        self.env = self.life.tool.env | {"LD_PRELOAD": work + "/same.so", "SAME": str(now)}
        time.sleep(now + 1 - time.time())
        # Of this process: by what there is to ask of a state, what was wrong with it; digests of places before each step; the
        # step before which its place is now, if it is before any.
        self.known, self.digests, self.there = {}, {}, None

    def calls(self, number):
        """What a step calls if nothing happens to it."""
        self.steps[number].saved.back(self.life)
        return trace.run(self.steps[number].begin(self.life), self.env, self.live).calls

    def named(self, case):
        return " ".join([self.steps[case[0]].name, *map(str, case[1:])])

    def one(self, step, *case):
        """Does what is to be done in a case. Gives in a word how it ended."""
        raise NotImplementedError

    def run(self, title, cases):
        """Cases are tuples, of which the first is the number of a step. Gives the figures of each step."""
        with multiprocessing.get_context("fork").Pool(2, self.settle) as pool:
            for number, step in enumerate(self.steps):
                figures = common.Figures(f"{title}, {step.name}")
                # What is backed up is laid here, for both.
                step.saved.back(self.life)
                of_step = [case for case in cases if case[0] == number]
                for case, end in zip(of_step, pool.imap(trial, of_step, chunksize=8)):
                    with figures.case(self.named(case)):
                        if end.wrong:
                            raise common.Wrong(end.wrong)
                        figures.note(end.how)
                    figures.note("different states", int(end.is_new))
                if of_step:
                    yield figures

    def settle(self):
        """A process gets a place of its own; what is backed up is the same for both, with its times."""
        shared = self.work + "/shared"
        os.makedirs(shared, exist_ok=True)
        common.own_mounts(self.work)
        subprocess.run(["mount", "--bind", self.live + "/src", shared], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512M", "drill", self.live], check=True)
        for name in ("place", "src", "src.tmp"):
            os.mkdir(f"{self.live}/{name}")
        subprocess.run(["mount", "--bind", shared, self.live + "/src"], check=True)

    def trial(self, case):
        number, step, end = case[0], self.steps[case[0]], End()
        if self.there != number:
            step.saved.back(self.life)
            self.digests.setdefault(number, digest(self.life.tool.place))
        step.saved.remember(self.life)
        self.there = None
        try:
            end.how = self.one(step, *case[1:])
            end.wrong = self.ask(end, number)
        except (common.Wrong, subprocess.TimeoutExpired) as wrong:
            end.wrong = str(wrong)
        return end

    def ask(self, end, number):
        """What is wrong with the state that is there now. Within a step the bytes of each archive are known by its name."""
        life, now = self.life, digest(self.life.tool.place)
        state = number, tuple(life.must), tuple(life.may), now
        if state in self.known:
            self.there = number if now == self.digests[number] else None
            return self.known[state]
        end.is_new = True
        try:
            if self.steps[number].name == "init":
                scenario.init_again(life)
            life.holds()
            self.known[state] = None
        except (common.Wrong, subprocess.TimeoutExpired) as wrong:
            self.known[state] = str(wrong)
        return self.known[state]


# In a process of the pool: those that it works for.
TRIALS = None


def trial(case):
    return TRIALS.trial(case)


def digest(root):
    """Of all that is below a directory: names, kinds, permissions and bytes."""
    found = hashlib.blake2b(digest_size=16)
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in [*directories, *sorted(files)]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            found.update(f"{path}\0{status.st_mode:o} {status.st_size if name in files else 0}\0".encode())
            if name in files:
                with open(path, "rb") as file:
                    found.update(file.read())
    return found.digest()

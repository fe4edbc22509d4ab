"""The programs that are drilled: garret, and borg and restic beside it.

In: where a repository and what a client keeps may lie, and what is backed up. Out: command lines, each with its environment,
and what they say. Promises: a tool does nothing but what its users do; `prune` leaves the newest archive alone,
with `own` the newest of those that begin with n and all others.
"""

import json
import os
import shutil
import subprocess

IMAGE = "disk.img"


class Tool:
    """A repository `repo` in the directory `place`; the sources are the directory `sources`, the image in it is `IMAGE`."""

    # Whether who finds the repository in use waits until it is not, without being asked to.
    waits = False
    # What of the client's own files is no copy of what is in the repository.
    keeps = ()
    # A command for people, without which others fail after a crash, and the word by which their messages ask for it.
    manual = None
    # Seconds for which who was killed counts as being there.
    mourning = 0
    # Whether what the client keeps lies on the disk of the repository.
    shares_disk = False

    def __init__(self, place, sources):
        self.place, self.sources = str(place), str(sources)
        # What a client keeps: beside the repository for garret, on a disk that never fails for the peers.
        self.client = self.place if self.shares_disk else self.sources + ".client"
        self.repo = os.path.join(self.place, "repo")
        self.env = {"PATH": os.environ["PATH"], "HOME": self.client, "LC_ALL": "C.UTF-8", "TMPDIR": self.sources + ".tmp"}
        os.makedirs(self.env["TMPDIR"], exist_ok=True)
        os.makedirs(self.client, exist_ok=True)

    def run(self, argv, timeout=300):
        """Runs a command to its end."""
        end = subprocess.run(argv, env=self.env, cwd=os.path.dirname(self.sources), stdin=subprocess.DEVNULL,
                             capture_output=True, timeout=timeout)
        return end.returncode, end.stdout.decode(errors="replace"), end.stderr.decode(errors="replace")

    def start(self, argv, said=os.devnull):
        """Starts a command in a process group of its own; its errors go to a file."""
        with open(said, "wb") as errors:
            return subprocess.Popen(argv, env=self.env, cwd=os.path.dirname(self.sources), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)

    def restore(self, name):
        """The bytes of the image in an archive; None if the archive is whole and has no such file. With code and errors."""
        out = self.sources + ".out"
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        code, _, err = self.run(self.extract(name, out))
        found = None
        for directory, _, files in os.walk(out):
            if IMAGE in files:
                with open(os.path.join(directory, IMAGE), "rb") as file:
                    found = file.read()
        shutil.rmtree(out, ignore_errors=True)
        return code, found, err


class Garret(Tool):
    name, waits, keeps, shares_disk = "garret", True, ("state",), True

    def __init__(self, place, sources):
        super().__init__(place, sources)
        self.program = os.environ["GARRET"]
        self.env |= {"GARRET_CACHE_DIR": self.client + "/cache", "GARRET_STATE_DIR": self.client + "/state"}
        self.threads = []

    def init(self):
        return [self.program, "init", self.repo]

    def create(self, name, sources=None):
        path = os.path.basename(sources or self.sources)
        return [self.program, "create", *self.threads, "--compression", "lz4", f"{self.repo}::{name}", path]

    def delete(self, name):
        return [self.program, "delete", f"{self.repo}::{name}"]

    def prune(self, own=False):
        return [self.program, "prune", *self.threads, "--keep-daily", "1", *(["--prefix", "n"] if own else []), self.repo]

    def compact(self):
        return [self.program, "compact", *self.threads, "--compression", "zstd,9", self.repo]

    def extract(self, name, out):
        return [self.program, "extract", *self.threads, "--destination", out, f"{self.repo}::{name}"]

    def delete_all(self, names):
        return [self.program, "delete", *[f"{self.repo}::{name}" for name in names]]

    def collect(self):
        """A prune that removes no archive."""
        return [self.program, "prune", "--keep-within", "10y", self.repo]

    @staticmethod
    def impatient(argv):
        """The same command, which waits for nobody."""
        return [*argv, "--lock-wait", "0"]

    def check(self):
        return [self.program, "check", *self.threads, "--verify-data", self.repo]

    def list(self):
        code, out, err = self.run([self.program, "list", "--short", self.repo])
        return code, out.split(), err


class Lockless(Garret):
    """The same core on a store without locks. Every other client is on another machine, as far as the others can tell: who is
    killed there is waited for."""

    name, clients = "lockless", 0
    # Seconds after which the lease of whoever was killed is over (tests/examples/lockless.rs).
    mourning = 31

    def __init__(self, place, sources):
        super().__init__(place, sources)
        self.program = os.environ["GARRET_LOCKLESS"]
        Lockless.clients += 1
        self.elsewhere = ["unshare", "--pid", "--fork", "--kill-child"] if Lockless.clients % 2 else []

    def does(self, *argv):
        return [*self.elsewhere, self.program, *argv]

    def init(self):
        return self.does("init", self.repo)

    def create(self, name, sources=None):
        return self.does("create", self.repo, name, os.path.join(sources or self.sources, IMAGE))

    def delete_all(self, names):
        return self.does("delete", self.repo, *names)

    def collect(self):
        return self.does("prune", self.repo)

    @staticmethod
    def impatient(argv):
        return argv

    def extract(self, name, out):
        directory = os.path.join(out, os.path.basename(self.sources))
        os.makedirs(directory, exist_ok=True)
        return self.does("extract", self.repo, name, os.path.join(directory, IMAGE))

    def check(self):
        return self.does("check", self.repo)

    def list(self):
        code, out, err = self.run(self.does("list", self.repo))
        return code, out.split(), err


class Borg(Tool):
    name = "borg"

    def __init__(self, place, sources):
        super().__init__(place, sources)
        self.env |= {"BORG_BASE_DIR": self.client, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
                     "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        self.program = shutil.which("borg")

    def init(self):
        return [self.program, "init", "-e", "none", self.repo]

    def create(self, name, sources=None):
        return [self.program, "create", "-C", "lz4", f"{self.repo}::{name}", os.path.basename(sources or self.sources)]

    def prune(self, own=False):
        own = "--prefix n" if own else ""
        return ["sh", "-c", f"borg prune --keep-last 1 {own} {self.repo} && borg compact --threshold 2 {self.repo}"]

    def extract(self, name, out):
        return ["sh", "-c", f"cd {out} && borg extract {self.repo}::{name}"]

    def check(self):
        return [self.program, "check", "--verify-data", self.repo]

    def list(self):
        code, out, err = self.run([self.program, "list", "--short", self.repo])
        return code, out.split(), err


class Restic(Tool):
    name = "restic"

    def __init__(self, place, sources):
        super().__init__(place, sources)
        self.manual = ("`unlock`", ["restic", "unlock"])
        self.env |= {"RESTIC_PASSWORD": "drill", "RESTIC_REPOSITORY": self.repo, "RESTIC_CACHE_DIR": self.client + "/cache"}
        self.program = shutil.which("restic")
        self.ids = {}

    def init(self):
        return [self.program, "init"]

    def create(self, name, sources=None):
        return [self.program, "backup", "--tag", name, "--host", name[0], os.path.basename(sources or self.sources)]

    def prune(self, own=False):
        own = ["--host", "n"] if own else []
        return [self.program, "forget", "--group-by", "", *own, "--keep-last", "1", "--prune", "--max-unused", "2%"]

    def extract(self, name, out):
        if name not in self.ids:
            self.list()
        return [self.program, "restore", self.ids.get(name, name), "--target", out]

    def check(self):
        return [self.program, "check", "--read-data"]

    def list(self):
        code, out, err = self.run([self.program, "snapshots", "--json"])
        self.ids = {one["tags"][0]: one["id"] for one in json.loads(out or "[]") or []} if code == 0 else {}
        return code, list(self.ids), err


TOOLS = {tool.name: tool for tool in (Garret, Borg, Restic)}

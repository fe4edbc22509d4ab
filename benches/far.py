#!/usr/bin/env python3
"""benches/far.py [--rounds N] [--late MS,...] [--place s3,sftp,ssh] [--only TOOL,...] FIRST NEXT

What a repository far away costs, beside the peers that can use the same server: seconds, bytes and, in a bucket, requests of each
step, with a line that is late. FIRST and NEXT are two states of one disk, as files. The tools take turns in each round. Prints a line for each
step as it ends, and at the end tables of medians in Markdown.

Needs root and Debian for the servers (tests/servers), a release build of `garret` and `garret-stores` in PATH, and restic, borg,
rustic as far as they are to take part. Everything is below one temporary directory, and gone at the end.
"""

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/drills"))
import proxy  # noqa: E402
import stores  # noqa: E402

STEPS = ["init", "first", "next night", "nothing new", "list", "restore", "delete one", "check every byte"]
SERVERS = {"s3": ("ceph", 7480), "sftp": ("sshd", 7422), "ssh": ("sshd", 7422)}
PASSWORD = "a passphrase of figures"


class Tool:
    """One participant at one place. `steps` gives the command of each step, or what finds it before time is taken, in order."""

    def __init__(self, name, place, work):
        self.name, self.place, self.work = name, place, work
        self.home = os.path.join(work, f"home-{name}-{place}")
        self.disk = os.path.join(work, "disk", "vm.img")
        self.back = os.path.join(work, "back")

    def environment(self, port):
        known = os.path.join(self.work, "sshd")
        ssh = f"ssh -F none -oIdentitiesOnly=yes -i {known}/id -oUserKnownHostsFile={known}/known_hosts -p {port}"
        return os.environ | {
            "HOME": self.home, "GARRET_STATE_DIR": self.home, "GARRET_CACHE_DIR": self.home, "GARRET_PASSPHRASE": PASSWORD,
            "RESTIC_PASSWORD": PASSWORD, "RUSTIC_PASSWORD": PASSWORD, "BORG_PASSPHRASE": PASSWORD, "BORG_RSH": ssh,
            "BORG_BASE_DIR": self.home, "RESTIC_CACHE_DIR": self.home + "/restic",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "GARRET_RSH": ssh, "SSH": ssh,
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": "default",
        }

    def run(self, argv, port, into=None):
        """Runs it; what it says goes to the log."""
        with open(os.path.join(self.work, "log"), "ab") as log, open(into or os.devnull, "wb") as out:
            done = subprocess.run(argv, env=self.environment(port), stdout=out, stderr=log, stdin=subprocess.DEVNULL)
        # borg says 1 for a warning.
        if done.returncode != 0:
            with open(os.path.join(self.work, "log"), "rb") as log:
                sys.exit(f"{self.name}: {argv}: {done.returncode}: {log.read()[-800:].decode(errors='replace')}")


    def id_of(self, argv, port):
        """The first name of a snapshot in a list of one."""
        text = subprocess.run(argv, env=self.environment(port), check=True, capture_output=True).stdout
        return re.search(rb'"id": ?"([0-9a-f]+)"', text)[1].decode()


class Garret(Tool):
    def steps(self, port):
        garret = shutil.which("garret")
        place = f"s3://vms/{os.path.basename(self.home)}"
        if self.place != "s3":
            place = f"{self.place}://root@127.0.0.1:{port}{self.work}/kept/{self.name}-{self.place}"
        os.environ["GARRET_REMOTE_PATH"] = garret
        create = lambda name: [garret, "create", f"{place}::{name}", self.disk]
        return [[garret, "init", "-e", "passphrase", place], create("n1"), create("n2"), create("n3"), [garret, "list", place],
                [garret, "extract", "-C", self.back, f"{place}::n1"], [garret, "delete", f"{place}::n1"],
                [garret, "check", "--verify-data", place]]


class Restic(Tool):
    def steps(self, port):
        place = f"s3:http://127.0.0.1:{port}/vms/{os.path.basename(self.home)}"
        more = []
        if self.place != "s3":
            place = f"sftp:root@127.0.0.1:{self.work}/kept/{self.name}"
            more = ["-o", f"sftp.command={self.environment(port)['SSH']} root@127.0.0.1 -s sftp"]
        base = ["restic", *more, "-r", place]
        backup = [*base, "backup", "-q", self.disk]
        return [[*base, "init"], [*backup, "--tag", "n1"], [*backup, "--tag", "n2"], [*backup, "--tag", "n3"], [*base, "snapshots"],
                [*base, "restore", "latest", "--tag", "n1", "--target", self.back],
                lambda: [*base, "forget", "--prune", self.id_of([*base, "snapshots", "--json", "--tag", "n1"], port)],
                [*base, "check", "--read-data"]]


class Rustic(Tool):
    def steps(self, port):
        os.makedirs(self.home, exist_ok=True)
        options = {"bucket": "vms", "root": f"/{os.path.basename(self.home)}", "endpoint": f"http://127.0.0.1:{port}",
                   "region": "default", "access_key_id": "key", "secret_access_key": "secret"}
        with open(os.path.join(self.home, "rustic.toml"), "w") as file:
            file.write('[repository]\nrepository = "opendal:s3"\n[repository.options]\n')
            file.writelines(f'{name} = "{value}"\n' for name, value in options.items())
        base = ["rustic", "-P", os.path.join(self.home, "rustic"), "--no-progress"]
        backup = [*base, "backup", self.disk]
        return [[*base, "init"], [*backup, "--tag", "n1"], [*backup, "--tag", "n2"], [*backup, "--tag", "n3"], [*base, "snapshots"],
                [*base, "restore", "latest", "--filter-tags", "n1", self.back],
                lambda: [*base, "forget", "--prune", "--instant-delete",
                         self.id_of([*base, "snapshots", "--json", "--filter-tags", "n1"], port)],
                [*base, "check", "--read-data"]]


class Borg(Tool):
    def steps(self, port):
        place = f"ssh://root@127.0.0.1{self.work}/kept/{self.name}"
        create = lambda name: ["borg", "create", "-C", "zstd,3", f"{place}::{name}", self.disk]
        delete = ["sh", "-c", f"borg delete '{place}::n1' && borg compact '{place}'"]
        return [["borg", "init", "-e", "repokey-blake2", place], create("n1"), create("n2"), create("n3"), ["borg", "list", place],
                ["sh", "-c", f"cd '{self.back}' && borg extract '{place}::n1'"], delete, ["borg", "check", "--verify-data", place]]


TOOLS = {"garret": (Garret, ["s3", "sftp", "ssh"]), "restic": (Restic, ["s3", "sftp"]), "rustic": (Rustic, ["s3"]),
         "borg": (Borg, ["ssh"])}


@contextlib.contextmanager
def server(kind, work):
    process = subprocess.Popen([os.path.join(HERE, "../tests/servers"), kind, os.path.join(work, kind)], stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"ready\n":
            sys.exit(f"tests/servers {kind} did not start")
        if kind == "ceph":
            # To its S3 a container is a bucket.
            next(place for place in stores.PLACES if place.name == "ceph-swift").make()
        os.makedirs(os.path.join(work, "kept"), exist_ok=True)
        yield
    finally:
        process.terminate()
        process.wait()
        for rest in (kind, "kept"):
            shutil.rmtree(os.path.join(work, rest), ignore_errors=True)


def one_life(tool, kind, late, states):
    """All steps of one tool: of each seconds, requests, bytes sent, bytes received."""
    figures = []
    shutil.rmtree(tool.home, ignore_errors=True)
    os.makedirs(tool.home)
    with Late(SERVERS[tool.place][1], late) as line:
        for number, (step, argv) in enumerate(zip(STEPS, tool.steps(line.port))):
            shutil.rmtree(tool.back, ignore_errors=True)
            os.makedirs(tool.back)
            if step in ("first", "next night"):
                shutil.copyfile(states[number - 1], tool.disk)
                subprocess.run(["sync"], check=True)
            argv = argv() if callable(argv) else argv
            before = (line.requests, line.sent, line.received)
            start = time.monotonic()
            tool.run(argv, line.port)
            seconds = time.monotonic() - start
            spent = [now - then for now, then in zip((line.requests, line.sent, line.received), before)]
            figures.append((seconds, *spent))
            print(f"{kind} {late} ms {tool.name}: {step}: {seconds:.2f} s, {spent[0]} requests, "
                  f"{spent[1] / 1e6:.2f} MB there, {spent[2] / 1e6:.2f} MB back", flush=True)
            if step == "restore":
                same(tool.back, states[0])
    shutil.rmtree(tool.back)
    return figures


def same(back, state):
    """What came back is what it was: a fast restore of something else is no figure."""
    found = [os.path.join(at, name) for at, _, names in os.walk(back) for name in names]
    if len(found) != 1 or subprocess.run(["cmp", found[0], state]).returncode != 0:
        sys.exit(f"what came back is not {state}: {found}")


class Late(proxy.Proxy):
    """A line that is late by so many milliseconds, there and back."""

    def __init__(self, port, milliseconds):
        super().__init__(port, "late", 0)
        self.delay = milliseconds / 2000


def table(results, place, late, column):
    print(f"\n| {late} ms, {column} | {' | '.join(STEPS)} |\n|{' --- |' * (len(STEPS) + 1)}")
    for (name, where, when), lives in results.items():
        if (where, when) == (place, late):
            cells = [COLUMNS[column]([life[step] for life in lives]) for step in range(len(STEPS))]
            print(f"| {name} | {' | '.join(cells)} |")


def median(figures, of):
    return statistics.median(of(figure) for figure in figures)


def seconds(figures):
    all_of_them = [figure[0] for figure in figures]
    spread = f" ({min(all_of_them):.1f}-{max(all_of_them):.1f})" if len(figures) > 1 else ""
    return f"{statistics.median(all_of_them):.1f}{spread}"


COLUMNS = {
    "seconds": seconds,
    "requests": lambda figures: f"{median(figures, lambda figure: figure[1]):.0f}",
    "MB there": lambda figures: f"{median(figures, lambda figure: figure[2]) / 1e6:.1f}",
    "MB back": lambda figures: f"{median(figures, lambda figure: figure[3]) / 1e6:.1f}",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--late", default="0,25,100")
    parser.add_argument("--place", default="s3,sftp,ssh")
    parser.add_argument("--only", default=",".join(TOOLS))
    parser.add_argument("first")
    parser.add_argument("next")
    args = parser.parse_args()
    states = [os.path.realpath(args.first), os.path.realpath(args.next)]
    places, lates = args.place.split(","), [int(late) for late in args.late.split(",")]
    results = {}
    with tempfile.TemporaryDirectory(prefix="far-") as work:
        os.makedirs(os.path.join(work, "disk"))
        for _ in range(args.rounds):
            for late in lates:
                for place in places:
                    for name in args.only.split(","):
                        make, where = TOOLS[name]
                        if place in where:
                            # A new one each time: what is stored in it is in memory.
                            with server(SERVERS[place][0], work):
                                life = one_life(make(name, place, work), place, late, states)
                            results.setdefault((name, place, late), []).append(life)
    for place in places:
        print(f"\n{place}, {args.rounds} rounds")
        for late in lates:
            table(results, place, late, "seconds")
        # The same however late the line is.
        for column in list(COLUMNS)[1:]:
            if column != "requests" or SERVERS[place][0] == "ceph":
                table(results, place, lates[0], column)


if __name__ == "__main__":
    main()

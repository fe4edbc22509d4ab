"""Repositories on other hosts and in stores, on real servers (tests/servers): Ceph's gateway by S3 and by Swift, OpenStack
Swift, moto, and sshd by sftp:// and by ssh://. `kills`: SIGKILL at random instants of a create or a prune, to all of its
processes or to one. `races`: two who publish one name at once. `lines`: connections that break, stall, lose answers or are late.
`crowd`: twenty who create on two hosts, and one who prunes, on Ceph by S3, and every few seconds a SIGKILL for one of them.

Proves: whatever is killed, every archive that was made restores, and the killed one is there whole or not at all; of one name
there is one archive, that of the one who was told so; a bad line costs time and nothing else; nobody who backs up waits for who
prunes or died. `--limit` is the number of kills and of races at each place, `--case` a pattern: 'kills swift', '* ssh'.
"""

import contextlib
import fnmatch
import os
import random
import signal
import statistics
import subprocess
import time
import urllib.request

import common
import proxy
import thrash
import tools

PROGRAMS = ["GARRET", "GARRET_STORES"]
NEED = {"ip": "iproute2", "unshare": "util-linux", "ssh": "openssh-client"}
SERVERS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../servers")
IMAGE_LEN = 3_000_000
# Wrongs after which a part ends: the rest would say the same.
ENOUGH = 5
# Seconds: more than all tries of one request, more than a server of ssh needs to see that nobody is there.
PATIENCE = 900
# Times that a person repeats a command on a bad line. By ssh a connection that breaks ends it.
TRIES = 5


class Place:
    """Where repositories may be: at a server, by a port that may be that of a proxy."""

    def __init__(self, name, server, port, scheme, user=""):
        self.name, self.server, self.port, self.scheme, self.user = name, server, port, scheme, user

    def environment(self, work, port):
        if self.scheme == "s3":
            return {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
                    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        if self.scheme == "swift":
            user, key = self.user.split()
            return {"ST_AUTH": f"http://127.0.0.1:{port}/auth/v1.0", "ST_USER": user, "ST_KEY": key}
        known = f"{work}/{self.server}"
        return {"GARRET_RSH": f"ssh -F none -oIdentitiesOnly=yes -i {known}/id -oUserKnownHostsFile={known}/known_hosts",
                "GARRET_REMOTE_PATH": os.environ["GARRET"]}

    def location(self, work, port, name):
        if self.scheme in ("s3", "swift"):
            return f"{self.scheme}://vms/{self.name}/{name}"
        return f"{self.scheme}://root@127.0.0.1:{port}{work}/kept/{self.name}-{name}"

    def make(self):
        """The bucket that there is; to Ceph's S3 a container is one."""
        if self.scheme == "swift":
            user, key = self.user.split()
            login = {"X-Auth-User": user, "X-Auth-Key": key}
            with ask("GET", f"http://127.0.0.1:{self.port}/auth/v1.0", login) as answer:
                url, token = answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]
            ask("PUT", f"{url}/vms", {"X-Auth-Token": token}).close()
        elif self.server == "moto":
            ask("PUT", f"http://127.0.0.1:{self.port}/vms", {}).close()


def ask(method, url, headers):
    return urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=60)


PLACES = [Place("ceph-s3", "ceph", 7480, "s3"), Place("ceph-swift", "ceph", 7480, "swift", "t:swift secret"),
          Place("swift", "swift", 7494, "swift", "test:tester testing"), Place("moto", "moto", 7481, "s3"),
          Place("sftp", "sshd", 7422, "sftp"), Place("ssh", "sshd", 7422, "ssh")]


@contextlib.contextmanager
def servers(work, kinds, *address):
    """Servers that can be used."""
    running = []
    try:
        for kind in sorted(kinds):
            running.append(subprocess.Popen([SERVERS, kind, f"{work}/{kind}", *address], stdout=subprocess.PIPE, text=True))
        for one in running:
            if one.stdout.readline() != "ready\n":
                with open(f"{one.args[2]}/log") as log:
                    raise RuntimeError(f"{' '.join(one.args)}: {''.join(log.readlines()[-10:])}")
        for place in PLACES:
            if place.server in kinds:
                place.make()
        yield
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()


class Client(tools.Garret):
    """Who uses the repository `name` at a place; `within` is what a command begins with to run on another host."""

    def __init__(self, work, place, name, client, port=None, within=()):
        super().__init__(f"{work}/{client}", f"{work}/{client}/src")
        os.makedirs(self.sources, exist_ok=True)
        port = port or place.port
        self.name, self.repo, self.within = place.name, place.location(work, port, name), within
        self.env |= place.environment(work, port)

    def init(self):
        return [self.program, "init", "-e", "none", self.repo]

    def run(self, argv, timeout=PATIENCE):
        return super().run([*self.within, *argv], timeout)

    def start(self, argv, said=os.devnull):
        return super().start([*self.within, *argv], said)

    def lay(self, image):
        with open(os.path.join(self.sources, tools.IMAGE), "wb") as file:
            file.write(image)


def drill(options):
    parts = [(f"{what.__name__} {place.name}", what, place) for place in PLACES for what in (kills, races, lines)]
    wanted = [part for part in parts if fnmatch.fnmatch(part[0], options.case or "*")]
    with common.workplace("12G") as work:
        os.makedirs(work + "/kept")
        if wanted:
            with servers(work, {place.server for _, _, place in wanted}):
                for name, what, place in wanted:
                    yield told(name, what, work, place, options)
    # With a server of its own: the gateway has to be where two hosts reach it, and its memory ends.
    if fnmatch.fnmatch("crowd ceph-s3", options.case or "*"):
        with common.workplace("12G") as work, bridge(), servers(work, {"ceph"}, BRIDGE):
            yield told("crowd ceph-s3", crowd, work, PLACES[0], options)


def told(name, what, work, place, options):
    figures = common.Figures(name)
    with figures.case(f"seed {options.seed}, {name}"):
        figures.runs = 0
        what(figures, work, place, options)
    return figures


def kills(figures, work, place, options):
    life = common.Life(Client(work, place, "kills", f"kills-{place.name}"), IMAGE_LEN, f"{options.seed} {figures.title}")
    life.init()
    life.create()
    instants = common.Instants(figures, life.random, 1.0)
    for trial in range(options.limit or options.count(100, 5)):
        with figures.case(f"seed {options.seed}, {figures.title}, trial {trial}"):
            kill(life, instants)
        if len(figures.wrong) == ENOUGH:
            return
    life.holds()


def kill(life, instants):
    what = life.random.choice(["create", "prune"])
    if what == "prune":
        life.create("the create after a kill")
    life.change()
    name, argv = life.begin_create() if what == "create" else (None, life.begin_prune(own=True))
    said = os.path.join(life.tool.client, "said")
    process = life.tool.start(argv, said)
    instants.wait(what, process)
    whom = life.random.choice(["all", "all", "a child", "the parent"])
    code, met = ends(process, whom, life.random)
    instants.figures.note(f"kills of {met}", int(code != 0 or met == "a child"))
    if code == 0:
        life.created(name) if name else life.may.clear()
    elif code > 0 and os.path.getsize(said) == 0:
        raise common.Wrong(f"{what}: exit {code} without a word")
    listed = life.whole()
    # What is there once stays.
    if name in life.may and name in listed:
        life.created(name)
    if len(listed) > 4:
        life.create("the create after a kill")
        life.prune()


def ends(process, whom, draw):
    """SIGKILL to a command with all that it started, to itself alone, or to one of the others; how it ended, and whom
    that met."""
    others = [pid for pid in members(process.pid) if pid != process.pid]
    met = "nobody" if process.poll() is not None else whom if whom != "a child" or others else "all"
    with contextlib.suppress(ProcessLookupError):
        if met == "a child":
            os.kill(draw.choice(others), signal.SIGKILL)
        elif met == "the parent":
            process.kill()
        elif met == "all":
            os.killpg(process.pid, signal.SIGKILL)
    code = waits(process)
    for _ in range(600):
        if not members(process.pid):
            return code, met
        time.sleep(0.1)
    left = members(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    raise common.Wrong(f"a minute after its end these still run: {left}")


def waits(process):
    """Its exit code; what takes too long goes."""
    try:
        return process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def members(group):
    """The processes of a group that are not dead."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as stat:
            state, _, of = stat.read().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                found.append(int(pid))
    return found


def races(figures, work, place, options):
    one, other = (Client(work, place, "races", f"race{number}-{place.name}") for number in range(2))
    draw, made = random.Random(f"{options.seed} {figures.title}"), {}
    code, _, err = one.run(one.init())
    if code != 0:
        raise common.Wrong(f"init: exit {code}: {common.begin(err)}")
    for number in range(options.limit or options.count(100, 5)):
        with figures.case(f"seed {options.seed}, {figures.title}, round {number}"):
            race(figures, (one, other), draw, f"night-{number:03}", made)
        if len(figures.wrong) == ENOUGH:
            return
    code, listed, err = one.list()
    if code != 0 or sorted(listed) != sorted(made):
        lost, strange = set(made) - set(listed), set(listed) - set(made)
        raise common.Wrong(f"list: exit {code}: {common.begin(err)}; lost {lost}, strange {strange}")
    for name in draw.sample(sorted(made), min(10, len(made))):
        restores(one, name, [made[name]])
    code, _, err = one.run(one.check())
    if code != 0:
        raise common.Wrong(f"check of every byte: exit {code}: {common.begin(err)}")


def race(figures, clients, draw, name, made):
    shared, running = draw.randbytes(100_000), []
    images = [shared + draw.randbytes(200_000) for _ in clients]
    # Most often at once, sometimes a little apart, so that they meet at each step.
    pauses = [0, draw.choice([0, 0, draw.uniform(0, 0.5)])]
    order = draw.sample(range(2), 2)
    for number, pause in zip(order, pauses):
        clients[number].lay(images[number])
        time.sleep(pause)
        running.append((number, clients[number].start(clients[number].create(name), clients[number].client + "/said")))
    codes = {number: waits(process) for number, process in running}
    won = [number for number in codes if codes[number] == 0]
    for number in codes:
        with open(clients[number].client + "/said") as file:
            said = file.read()
        if codes[number] != 0 and name not in said:
            raise common.Wrong(f"the loser: exit {codes[number]}: {common.begin(said)}")
    if len(won) == 2:
        raise common.Wrong("both were told that the archive is theirs")
    figures.note("won by nobody", int(not won))
    if won or name in clients[0].list()[1]:
        made[name] = restores(clients[draw.randrange(2)], name, [images[number] for number in won] or images)


def restores(client, name, images):
    code, found, err = client.restore(name)
    if code != 0 or found not in images:
        raise common.Wrong(f"restore of {name}: exit {code}, and wrong bytes: {common.begin(err)}")
    return found


def lines(figures, work, place, options):
    for number, kind in enumerate(options.sample(proxy.KINDS, 1)):
        with figures.case(f"seed {options.seed}, {figures.title}, {kind}"), proxy.Proxy(place.port, kind, options.seed) as line:
            began = time.monotonic()
            tool = Client(work, place, f"line{number}", f"line{number}-{place.name}", line.port)
            life = Stubborn(tool, figures, f"{options.seed} {figures.title} {kind}")
            life.init()
            for _ in range(3):
                life.change()
                life.create()
            life.keeps()
            life.prune()
            life.keeps()
            if line.faults == 0 and kind not in proxy.DELAYS:
                raise common.Wrong("nothing went wrong on the line: it shows nothing")
            what = kind if kind in proxy.DELAYS or kind == proxy.STALL else f"{line.faults} {kind}"
            figures.note(f"s with {what}", round(time.monotonic() - began))


class Stubborn(common.Life):
    """What fails on a bad line is done again, as its user does it."""

    def __init__(self, tool, figures, seed):
        super().__init__(tool, IMAGE_LEN, seed)
        self.figures, self.once = figures, tool.run
        tool.run = self.again

    def again(self, argv, timeout=PATIENCE):
        for count in range(TRIES):
            code, out, err = self.once(argv, timeout)
            # Of what failed before the last answer can be what was lost. The bytes are looked at later.
            if code == 0 or count > 0 and "already exists" in err:
                return 0, out, err
            # A restore begins with an empty directory.
            if argv[1] == "extract":
                break
            self.figures.note("commands done again")
        return code, out, err

    def restores(self, name):
        for count in range(TRIES):
            try:
                return super().restores(name)
            except common.Wrong as wrong:
                if "wrong bytes" in str(wrong) or count == TRIES - 1:
                    raise
            self.figures.note("commands done again")


# Two hosts on a line of their own: each has its processes, its name, and no other way to the store.
BRIDGE, NAME, HOSTS = "10.213.7.1", "garret-drill", 2
# In a crowd: each is restored at the end, and who prunes reads what all of them hold.
ARCHIVES_MAX = 300


@contextlib.contextmanager
def bridge():
    ip("link", "add", NAME, "type", "bridge")
    try:
        ip("addr", "add", f"{BRIDGE}/24", "dev", NAME)
        ip("link", "set", NAME, "up")
        yield
    finally:
        ip("link", "del", NAME)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def host(number):
    """What a command begins with to run there."""
    began = ["unshare", "--net", "--uts", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
             "sh", "-c", f"hostname host{number}; echo; exec sleep infinity"]
    with subprocess.Popen(began, stdout=subprocess.PIPE) as outer:
        try:
            outer.stdout.readline()
            with open(f"/proc/{outer.pid}/task/{outer.pid}/children") as children:
                first = children.read().split()[0]
            ip("link", "add", f"{NAME}{number}", "type", "veth", "peer", "name", "eth0", "netns", first)
            ip("link", "set", f"{NAME}{number}", "master", NAME, "up")
            there = ["nsenter", "--target", first, "--net", "--uts", "--pid", "--mount"]
            for words in (["addr", "add", f"10.213.7.{number + 2}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
                subprocess.run([*there, "ip", *words], check=True)
            yield there
        finally:
            outer.kill()


def crowd(figures, work, place, options):
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(host(number)) for number in range(HOSTS)]
        people = Crowd(work, place, options.seed, figures, hosts)
        people.run(options.count(1200, 60), [people.creates] * 20 + [people.tidies], (1, 4))
        people.ends()


class Crowd(thrash.Crowd):
    """Twenty who create, half of them on each host, and one who deletes and prunes."""

    def __init__(self, work, place, seed, figures, hosts):
        def client(directory, sources):
            name = os.path.basename(directory)
            there = hosts[int(name.removeprefix("client") or 0) % len(hosts)] if name != "place" else hosts[0]
            one = Client(work, place, "crowd", name, within=[*there, "env", "-C", os.path.dirname(sources)])
            one.env["AWS_ENDPOINT_URL"] = f"http://{BRIDGE}:{place.port}"
            return one

        self.times = []
        super().__init__(work, seed, figures, client)

    def creates(self, tool, own, name):
        while len(self.must) >= ARCHIVES_MAX and time.monotonic() < self.end:
            time.sleep(0.2)
        began = time.monotonic()
        super().creates(tool, own, name)
        if name in self.must:
            self.times.append(time.monotonic() - began)

    def tidies(self, tool, own, name):
        (self.deletes if own.random() < 0.5 else self.prunes)(tool, own, name)

    def ends(self):
        self.figures.note("archives at the end", len(self.must))
        self.figures.note("archives made", len(self.times))
        median, longest = statistics.median(self.times), max(self.times)
        self.figures.note("s of a create, the median", round(median, 1))
        self.figures.note("s more than that, the longest", round(longest - median, 1))
        self.keeps()
        code, _, err = self.tool.run(self.tool.check())
        if code != 0:
            raise common.Wrong(f"check of every byte: exit {code}: {common.begin(err)}")

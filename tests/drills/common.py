"""What all drills share: a place to work in, disks whose power can be cut, and the life of a repository with its oracle.

Promises: whatever happens, mounts, loop devices and files of a drill are gone when it ends; `Life.holds` raises `Wrong` as
soon as one of the promises of the README does not hold.
"""

import contextlib
import ctypes
import fcntl
import os
import pickle
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import tools
import trace

CLONE_NEWNS = 0x20000
# Of the directories in which drills work.
PREFIX = "garret-drill-"


class Wrong(Exception):
    """A promise that does not hold."""


def own_mounts(work):
    """What this process mounts from now on only it sees. It lets go of the disks of other drills, so that they can go."""
    # Pools end their processes by this signal. An end as Python's own, which `run` has for it, can wait for a lock for ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if trace.libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for mount in mounted(os.path.join(os.path.dirname(work), PREFIX)):
        if not mount.startswith(work):
            subprocess.run(["umount", "--lazy", mount], check=True)


def mounted(prefix):
    """The mounts whose paths begin so, what lies deeper first."""
    with open("/proc/mounts") as mounts:
        return sorted({path for _, path, *_ in map(str.split, mounts) if path.startswith(prefix)}, reverse=True)


@contextlib.contextmanager
def workplace(size="6G"):
    """A directory in memory, where syncs cost nothing. What is mounted below it goes with it."""
    work = tempfile.mkdtemp(prefix=PREFIX)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "drill", work], check=True)
    try:
        yield work
    finally:
        for mount in mounted(work):
            unmount(mount)
        os.rmdir(work)


def unmount(mount):
    for _ in range(600):
        if subprocess.run(["umount", mount], stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.1)
    raise Wrong(f"{mount} cannot be unmounted")


class Disk:
    """A file system on a loop device; `cut` is a power cut: what was not synced is gone, the journal is replayed."""

    SHUTDOWN, NO_FLUSH = 0x8004587D, struct.pack("I", 2)
    MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-m0"], "xfs": ["mkfs.xfs", "-q", "-f"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}

    def __init__(self, work, kind, mebibytes):
        self.file, self.mount = f"{work}/{kind}.disk", f"{work}/{kind}"
        os.makedirs(self.mount, exist_ok=True)
        with open(self.file, "wb") as file:
            file.truncate(mebibytes << 20)
        subprocess.run([*self.MAKE[kind], self.file], check=True, capture_output=True)
        self.attach()

    def attach(self):
        subprocess.run(["mount", "-o", "loop", self.file, self.mount], check=True)

    def off(self):
        """Nothing more reaches the disk."""
        root = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(root, self.SHUTDOWN, self.NO_FLUSH)
        finally:
            os.close(root)

    def on(self):
        unmount(self.mount)
        self.attach()

    def remove(self):
        unmount(self.mount)
        os.unlink(self.file)

    def free(self):
        stat = os.statvfs(self.mount)
        return stat.f_bavail * stat.f_frsize


class MirroredDisk(Disk):
    """A btrfs, which does not know how to be shut down: a power cut is a copy of the device, made at one instant, in its
    place. The copy is atomic because the device is a file of an XFS, which shares its blocks."""

    def __init__(self, work, kind, mebibytes):
        self.host = Disk(work, "xfs", mebibytes * 3)
        super().__init__(self.host.mount, kind, mebibytes)

    def off(self):
        subprocess.run(["cp", "--reflink=always", self.file, self.file + ".cut"], check=True)

    def on(self):
        unmount(self.mount)
        os.rename(self.file + ".cut", self.file)
        self.attach()

    def remove(self):
        super().remove()
        self.host.remove()


def disk(work, kind, mebibytes):
    return (MirroredDisk if kind == "btrfs" else Disk)(work, kind, mebibytes)


def begin(text):
    """How an error begins."""
    return " ".join(text.split())[:300]


def noise(seed, length):
    return random.Random(seed).randbytes(length)


class Life:
    """A repository and what must be in it: `must` has the archives whose `create` returned 0, `may` those of which another
    end was seen, so that they are there whole or not at all. Both map names to the bytes of the image."""

    def __init__(self, tool, length, seed):
        self.tool, self.random = tool, random.Random(seed)
        self.must, self.may, self.count, self.image = {}, {}, 0, bytearray(noise(seed, length))
        # Times that a person had to do something: of garret that is wrong, of a peer a figure.
        self.manual = 0
        os.makedirs(tool.sources, exist_ok=True)
        self.change()

    def change(self, share=0.3):
        """Puts other bytes into a part of the image."""
        length = int(len(self.image) * share)
        at = self.random.randrange(len(self.image) - length + 1)
        self.image[at:at + length] = self.random.randbytes(length)
        self.lay()

    def lay(self):
        """The image lies where it is backed up. A file that has it already stays as it is, with all its times."""
        path = os.path.join(self.tool.sources, tools.IMAGE)
        if os.path.exists(path):
            with open(path, "rb") as file:
                if file.read() == self.image:
                    return
        with open(path, "wb") as file:
            file.write(self.image)

    def do(self, argv, what):
        """Runs a command that has to work."""
        code, out, err = self.tool.run(argv)
        if code != 0 and self.tool.manual and self.tool.manual[0] in err:
            self.manual += 1
            self.tool.run(self.tool.manual[1])
            code, out, err = self.tool.run(argv)
        if code != 0:
            raise Wrong(f"{what}: exit {code}: {begin(err)}")
        return out

    def init(self):
        self.do(self.tool.init(), "init")

    def begin_create(self):
        """The command that makes the next archive, and its name."""
        self.count += 1
        name = f"n{self.count}"
        self.may[name] = bytes(self.image)
        return name, self.tool.create(name)

    def begin_prune(self, own=False):
        """The command after which only the newest archive is there; with `own`, and all that others made."""
        newest = [name for name in self.must if name.startswith("n") or not own][-1]
        self.may |= {name: image for name, image in self.must.items() if name != newest}
        self.must = {newest: self.must[newest]}
        return self.tool.prune(own)

    def created(self, name):
        self.must[name] = self.may.pop(name)

    def create(self, what="create"):
        name, argv = self.begin_create()
        self.do(argv, what)
        self.created(name)
        return name

    def prune(self, what="prune"):
        self.do(self.begin_prune(), what)
        self.may = {}

    def restores(self, name):
        code, image, err = self.tool.restore(name)
        wanted = self.must.get(name) or self.may[name]
        # Of a source that could not be read there is an archive without it.
        if image is None and code == 0 and name in self.may:
            return
        if code != 0:
            raise Wrong(f"restore of {name}: exit {code}: {begin(err)}")
        if image != wanted:
            raise Wrong(f"restore of {name}: exit 0, and wrong bytes")

    def holds(self):
        """Whatever happened: all archives are there and exact, and everything works without a manual step."""
        self.keeps()
        name = self.create("the next create")
        self.restores(name)
        self.prune("the next prune")
        self.keeps()

    def keeps(self):
        """All archives are there and exact, and a check finds nothing."""
        self.whole()
        self.do(self.tool.check(), "check of every byte")

    def whole(self):
        """All archives are there and exact; which those are."""
        code, listed, err = self.tool.list()
        if code != 0:
            raise Wrong(f"list: exit {code}: {begin(err)}")
        lost = [name for name in self.must if name not in listed]
        if lost:
            raise Wrong(f"archives that were made are not there: {lost}")
        for name in listed:
            if name not in self.must and name not in self.may:
                raise Wrong(f"{name} was deleted and is there")
            self.restores(name)
        return listed

    def kill(self, process):
        """SIGKILL to a command and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


class Saved:
    """A life as it was: the repository, what the client keeps, and what must be in it. It can be gone back to."""

    def __init__(self, life, work):
        self.copy = tempfile.mkdtemp(dir=work) + "/place"
        shutil.copytree(life.tool.place, self.copy, symlinks=True)
        self.fields = pickle.dumps({key: value for key, value in vars(life).items() if key != "tool"})

    def back(self, life):
        shutil.rmtree(life.tool.place)
        shutil.copytree(self.copy, life.tool.place, symlinks=True)
        self.remember(life)
        life.lay()

    def remember(self, life):
        """What must be in it, as it was; the repository stays as it is."""
        vars(life).update(pickle.loads(self.fields))


class Figures:
    """The counts of a drill, and what it found wrong; of a peer that is a figure too."""

    is_peer = False

    def __init__(self, title):
        self.title, self.runs, self.wrong, self.also = title, 0, [], {}
        self.began, self.seconds = time.monotonic(), 0.0

    def note(self, what, count=1):
        self.also[what] = self.also.get(what, 0) + count

    @contextlib.contextmanager
    def case(self, name):
        """One trial. What is wrong in it is counted, and told at once."""
        self.runs += 1
        try:
            yield
        except (Wrong, subprocess.TimeoutExpired) as wrong:
            self.wrong.append(f"{name}: {wrong}")
            print(f"  WRONG {self.title}: {name}: {wrong}", flush=True)
        finally:
            self.seconds = time.monotonic() - self.began

    def line(self):
        also = "".join(f", {count} {what}" for what, count in sorted(self.also.items()))
        return f"{self.title}: {self.runs} runs, {len(self.wrong)} wrong{also} ({self.seconds:.0f} s)"


class Instants:
    """Instants at random in commands whose time is not known: it is learned, so that few come after the end."""

    def __init__(self, figures, random, began=0.1):
        self.figures, self.random, self.last = figures, random, {"create": began, "prune": began}

    def wait(self, what, process):
        """Waits in a command; whether it ended well meanwhile."""
        time.sleep(self.random.uniform(0, self.last[what]))
        is_done = process.poll() == 0
        self.last[what] *= 0.7 if is_done else 1.05
        self.figures.note("after the end", int(is_done))
        return is_done

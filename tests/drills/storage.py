"""What a file system may be after a crash: a model of one at its worst, below the program, fed with the calls that it made.

In: the calls of real programs (`trace.py`), with all that they wrote. Out: at each place between two of these calls, what was
durable by then, what was not, and the trees that a crash may leave. Promises, as POSIX has it and no more: the data of a file
is durable when a sync of the file that began later has returned, an entry of a directory when one of the directory has; until
then any of it may have come to the disk, each piece on its own, in any order, or not. So a name may be durable before what
it names, a length before the data; of a write there may be a part, cut at sectors. Atomic are a sector, and one entry of a
directory; a rename within one directory is one, between two it is two. A sync that failed takes with it what it was for:
later ones do not bring it back (of a directory they do: there a file system keeps its log, or ends). What the model does not
know ends the drill, and in the end it must have the tree that the real file system has.
"""

import os
import re

import common

SECTOR = 512
# What may become of a change that no sync covers. Of a write also: its length alone; and a part of it, of so many bytes,
# behind which there is nothing, or zeros.
KEPT, LOST, LENGTH, TORN, TORN_LENGTH = "kept", "lost", "length", "torn", "torn, with its length"

AT_FDCWD, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE, EXCHANGE = 2**32 - 100, 0o100, 0o1000, 0o2000, 0o20000000, 2


class Entries:
    """A change of one directory: names, and the file of each; none if the name goes."""

    def __init__(self, on, names):
        self.on, self.names = on, names

    def outcomes(self):
        return [LOST]


class Write:
    """Bytes at a place of a file."""

    def __init__(self, on, at, data):
        self.on, self.at, self.data = on, at, data

    def outcomes(self):
        """What may become of it, without all and as it was meant."""
        return [LOST, LENGTH, *((how, length) for length in self.cuts() for how in (TORN, TORN_LENGTH))]

    def cuts(self):
        """After the first sector of the file that is written whole, in the middle, and before the last."""
        first = SECTOR - self.at % SECTOR
        count = max(0, len(self.data) - first - 1) // SECTOR
        return sorted({first + SECTOR * n for n in (0, count // 2, count)} if len(self.data) > first else set())


class Rot(Write):
    """Bytes that change by themselves where they lie. What is not durable yet does not rot."""


class Length:
    """A file gets a length."""

    def __init__(self, on, length):
        self.on, self.length = on, length

    def outcomes(self):
        return [LOST]


class Sync:
    """Of a file or directory; `began`: how many calls had returned before."""

    def __init__(self, on, began, failed):
        self.on, self.began, self.failed = on, began, failed


class Recorder:
    """Sees the calls of programs (`watch` of trace.run) and keeps those that change or sync what is below `root`, in the
    order in which they return. `root` is empty and lies in memory, where the number of a file is never given again."""

    def __init__(self, root):
        self.root, self.number = os.path.realpath(root), os.stat(root).st_ino
        self.calls, self.waiting, self.directories = [], {}, {self.number}

    def is_ours(self, path):
        return path == self.root or path.startswith(self.root + "/")

    def enter(self, tid, call, given):
        known = getattr(self, "on_" + call, None)
        after = known(tid, *given) if known else None
        if after:
            self.waiting[tid] = after

    def leave(self, tid, gave):
        after = self.waiting.pop(tid, None)
        if after:
            after(gave)

    def number_of(self, path):
        number = os.lstat(path).st_ino
        if os.path.isdir(path):
            self.directories.add(number)
        return number

    def rot(self, path):
        """A bit in the middle of a file changes. Gives all its bytes as they are then."""
        with open(path, "r+b") as file:
            data = bytearray(file.read())
            at = len(data) // 2
            data[at] ^= 4
            file.seek(at)
            file.write(data[at:at + 1])
        self.calls.append(Rot(os.stat(path).st_ino, at, bytes(data[at:at + 1])))
        return bytes(data)

    # Paths and memory of the program.

    def opened(self, tid, number):
        """The path of what a program has open."""
        number &= 2**32 - 1
        try:
            return os.getcwd() if number == AT_FDCWD else os.readlink(f"/proc/{tid}/fd/{number}")
        except OSError:
            return ""

    def text(self, tid, at):
        found = b""
        while b"\0" not in found:
            found += self.bytes(tid, at + len(found), 4096 - (at + len(found)) % 4096)
        return os.fsdecode(found.split(b"\0", 1)[0])

    def bytes(self, tid, at, length):
        with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
            memory.seek(at)
            found = b""
            while len(found) < length:
                piece = memory.read(length - len(found))
                if not piece:
                    raise ProcessLookupError
                found += piece
            return found

    def path(self, tid, directory, name):
        """The path that a call names, its last part not followed; nothing if that is not below the root."""
        below = os.readlink(f"/proc/{tid}/cwd") if directory & (2**32 - 1) == AT_FDCWD else self.opened(tid, directory)
        above, last = os.path.split(os.path.join(below, self.text(tid, name)).rstrip("/"))
        found = os.path.join(os.path.realpath(above), last)
        return found if self.is_ours(found) else None

    def entry(self, path):
        """The directory and the name of a path."""
        return os.stat(os.path.dirname(path)).st_ino, os.path.basename(path)

    # The calls. Each gives what is to be done when it has returned.

    def on_open(self, tid, name, flags, *_):
        return self.on_openat(tid, AT_FDCWD, name, flags)

    def on_openat(self, tid, directory, name, flags, *_):
        path = self.path(tid, directory, name) if flags & (O_CREAT | O_TRUNC | O_TMPFILE) else None
        if path is None:
            return None
        if flags & O_TMPFILE == O_TMPFILE:
            raise common.Wrong("the model does not know files without a name")
        was_there = os.path.lexists(path)

        def after(gave):
            if gave >= 0 and not was_there:
                directory, name = self.entry(path)
                self.calls.append(Entries(directory, {name: self.number_of(path)}))
            elif gave >= 0 and flags & O_TRUNC:
                self.calls.append(Length(self.number_of(path), 0))
        return after

    def on_openat2(self, tid, directory, name, how, *_):
        return self.on_openat(tid, directory, name, int.from_bytes(self.bytes(tid, how, 8), "little"))

    def on_mkdir(self, tid, name, *_):
        return self.on_mkdirat(tid, AT_FDCWD, name)

    def on_mkdirat(self, tid, directory, name, *_):
        path = self.path(tid, directory, name)

        def after(gave):
            if gave == 0:
                directory, name = self.entry(path)
                self.calls.append(Entries(directory, {name: self.number_of(path)}))
        return after if path else None

    def on_write(self, tid, number, at, length, *_):
        if not self.is_ours(self.opened(tid, number)):
            return None
        with open(f"/proc/{tid}/fdinfo/{number}") as info:
            fields = dict(line.split(":", 1) for line in info if ":" in line)
        if int(fields["flags"], 8) & O_APPEND:
            raise common.Wrong("the model does not know appending")
        return self.on_pwrite64(tid, number, at, length, int(fields["pos"]))

    def on_pwrite64(self, tid, number, at, length, place, *_):
        if not self.is_ours(self.opened(tid, number)):
            return None
        file, data = os.stat(f"/proc/{tid}/fd/{number}").st_ino, self.bytes(tid, at, length)
        return lambda gave: self.calls.append(Write(file, place, data[:gave])) if gave > 0 else None

    def on_ftruncate(self, tid, number, length, *_):
        if not self.is_ours(self.opened(tid, number)):
            return None
        file = os.stat(f"/proc/{tid}/fd/{number}").st_ino
        return lambda gave: self.calls.append(Length(file, length)) if gave == 0 else None

    def on_rename(self, tid, old, new, *_):
        return self.on_renameat2(tid, AT_FDCWD, old, AT_FDCWD, new, 0)

    def on_renameat(self, tid, above, old, below, new, *_):
        return self.on_renameat2(tid, above, old, below, new, 0)

    def on_renameat2(self, tid, above, old, below, new, flags, *_):
        old, new = self.path(tid, above, old), self.path(tid, below, new)
        if old is None and new is None:
            return None
        if old is None or new is None or flags & EXCHANGE:
            raise common.Wrong("the model does not know this rename")

        def after(gave):
            if gave == 0:
                (source, old_name), (target, new_name), file = self.entry(old), self.entry(new), self.number_of(new)
                if source == target:
                    self.calls.append(Entries(source, {old_name: None, new_name: file}))
                else:
                    self.calls.append(Entries(target, {new_name: file}))
                    self.calls.append(Entries(source, {old_name: None}))
        return after

    def on_linkat(self, tid, above, old, below, new, *_):
        new = self.path(tid, below, new)

        def after(gave):
            if gave == 0:
                directory, name = self.entry(new)
                self.calls.append(Entries(directory, {name: self.number_of(new)}))
        return after if new else None

    def on_unlink(self, tid, name, *_):
        return self.on_unlinkat(tid, AT_FDCWD, name)

    on_rmdir = on_unlink

    def on_unlinkat(self, tid, directory, name, *_):
        path = self.path(tid, directory, name)

        def after(gave):
            if gave == 0:
                directory, name = self.entry(path)
                self.calls.append(Entries(directory, {name: None}))
        return after if path else None

    def on_fsync(self, tid, number, *_):
        path = self.opened(tid, number)
        # Of what was removed since it is not known whether it was ours.
        if not self.is_ours(path):
            return None
        file, began = os.stat(f"/proc/{tid}/fd/{number}").st_ino, len(self.calls)
        return lambda gave: self.calls.append(Sync(file, began, gave != 0))

    on_fdatasync = on_fsync


class Storage:
    """What is durable, and what is not yet. Begins with an empty directory."""

    def __init__(self, root, directories):
        self.root, self.directories = root, directories
        self.names, self.data = {}, {}
        # Changes that no sync covers, each with its place among the calls; those of them that none will.
        self.pending, self.dropped = [], set()

    def apply(self, place, call):
        if isinstance(call, Rot):
            if any(change.on == call.on for _, change in self.pending):
                raise common.Wrong("what rots is not durable yet")
            return happen(self.names, self.data, call, KEPT)
        if not isinstance(call, Sync):
            self.pending.append((place, call))
            return
        covered = [(at, change) for at, change in self.pending if change.on == call.on and at < call.began]
        if call.failed:
            if call.on not in self.directories:
                self.dropped |= {at for at, _ in covered}
            return
        covered = {at: change for at, change in covered if at not in self.dropped}
        for change in covered.values():
            happen(self.names, self.data, change, KEPT)
        self.pending = [(at, change) for at, change in self.pending if at not in covered]

    def after(self, outcomes, otherwise):
        """The tree that a crash leaves: by the path of each file its bytes, None for a directory. `outcomes` says what
        becomes of changes by their place, `otherwise` of all others."""
        names, data = dict(self.names), dict(self.data)
        for at, change in self.pending:
            happen(names, data, change, outcomes.get(at, otherwise))
        below = {}
        for (directory, name), file in names.items():
            below.setdefault(directory, []).append((name, file))
        tree, open_ones = {}, [("", self.root)]
        while open_ones:
            path, directory = open_ones.pop()
            for name, file in below.get(directory, []):
                tree[path + name] = None if file in self.directories else data.get(file, b"")
                if file in self.directories:
                    open_ones.append((path + name + "/", file))
        return tree


def happen(names, data, change, outcome):
    """A change of a file system, as far as it happened."""
    if outcome == LOST:
        return
    if isinstance(change, Entries):
        for name, file in change.names.items():
            if file is None:
                names.pop((change.on, name), None)
            else:
                names[change.on, name] = file
        return
    old = data.get(change.on, b"")
    if isinstance(change, Length):
        data[change.on] = old[:change.length].ljust(change.length, b"\0")
        return
    how, length = (outcome, 0) if isinstance(outcome, str) else outcome
    new = change.data if how == KEPT else change.data[:length]
    end = change.at + (len(new) if how in (KEPT, TORN) else len(change.data))
    data[change.on] = (old[:change.at].ljust(change.at, b"\0") + new + old[change.at + len(new):]).ljust(end, b"\0")


def real(root):
    """The tree below a real directory."""
    tree = {}
    for directory, directories, files in os.walk(root):
        below = os.path.relpath(directory, root) + "/" if directory != root else ""
        tree.update({below + name: None for name in directories})
        for name in files:
            with open(os.path.join(directory, name), "rb") as file:
                tree[below + name] = file.read()
    return tree


def build(root, tree):
    """Makes a real directory of a tree."""
    for path in sorted(tree):
        if tree[path] is None:
            os.mkdir(os.path.join(root, path), 0o700)
        else:
            number = os.open(os.path.join(root, path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(number, "wb") as file:
                file.write(tree[path])


class Classes:
    """What each sync is for, in words that do not hang on a single file: for a file where it ends, for a directory which one
    it is and what had come (+) or gone (-) in it since it was durable."""

    def __init__(self, root, calls, directories):
        self.paths = {root: ""}
        for call in calls:
            if isinstance(call, Entries):
                for name, file in call.names.items():
                    if file is not None and call.on in self.paths:
                        # The last name of a file is what it is for.
                        self.paths[file] = self.paths[call.on] + "/" + name
        self.directories = directories

    def pattern(self, file):
        parts = [part for part in self.paths.get(file, "/?").split("/") if part]
        if parts[:1] == ["repo"]:
            parts = parts[1:] or ["."]
        else:
            parts = ["client", *parts]
        if file not in self.directories and len(parts) > 1:
            parts = [*parts[:1 + (parts[0] == "client" and len(parts) > 2)], "*"]
        parts = [re.sub("^[0-9]+$|^[0-9a-f]{2}$|^[0-9a-f]{32,}.*$|^[.]tmp.*$", "*", part) for part in parts]
        return "/".join(parts)

    def name(self, sync, pending):
        """`pending`: what was not durable when the sync began."""
        if sync.on not in self.directories:
            return self.pattern(sync.on)
        signs = set()
        for at, change in pending:
            if at < sync.began and change.on == sync.on:
                for name, file in change.names.items():
                    if file is None:
                        signs.add("-" + name if self.pattern(sync.on) == "." else "-")
                    elif self.pattern(sync.on) == "." or file in self.directories:
                        signs.add("+" + self.pattern(file).rsplit("/", 1)[-1])
                    else:
                        signs.add("+")
        return f"{self.pattern(sync.on)}/ ({' '.join(sorted(signs)) or 'nothing new'})"

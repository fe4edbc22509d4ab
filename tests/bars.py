#!/usr/bin/env python3
"""bars.py GARRET [GIGABYTES [WORD...]]   how true the time left is that a bar says (not for the test suite: it measures time)

Makes an image of stretches in a random order, the same each time: half random, the rest holes, written zeros, and what was
there before. Stores, checks and restores it on a terminal, each from a cold start of the program, and says of each which share
of what was said after the first tenth of the time was within 30 % of the time that it then took. WORD... go to all three.
"""
import fcntl, os, pty, random, re, shutil, struct, subprocess, sys, tempfile, termios, time

STRETCH = 16 << 20
LEFT = re.compile(rb"(\d+)([smh]) left")
UNITS = {b"s": 1, b"m": 60, b"h": 3600}


def make(path, size):
    """A file of so many bytes."""
    chance = random.Random(1)
    kinds = ["noise", "noise", "noise", "hole", "zeros", "again"] * (size // STRETCH // 6 + 1)
    chance.shuffle(kinds)
    kinds = kinds[: size // STRETCH]
    known = []
    with open(path, "wb") as image:
        for number, kind in enumerate(kinds):
            image.seek(number * STRETCH)
            if kind == "noise" or kind == "again" and not known:
                known.append(number)
                image.write(random.Random(number).randbytes(STRETCH))
            elif kind == "again":
                image.write(random.Random(chance.choice(known)).randbytes(STRETCH))
            elif kind == "zeros":
                image.write(bytes(STRETCH))
        image.truncate(len(kinds) * STRETCH)
        os.fsync(image.fileno())


def watch(command, home):
    """Runs it on a terminal of 100 columns: how long it took, and what it said when: (after so many seconds, seconds left)."""
    begun, said = time.monotonic(), []
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execvpe(command[0], command, {**os.environ, "TERM": "xterm", "HOME": home})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:
            break
        if not part:
            break
        now = time.monotonic() - begun
        said += [(now, int(count) * UNITS[unit]) for count, unit in LEFT.findall(part)]
    _, status = os.waitpid(child, 0)
    assert status == 0, command
    return time.monotonic() - begun, said


def main():
    garret, words = os.path.abspath(sys.argv[1]), sys.argv[3:]
    size = int(float(sys.argv[2] if len(sys.argv) > 2 else 1.5) * 1e9)
    home = tempfile.mkdtemp(prefix="bars-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    try:
        make(os.path.join(home, "image"), size)
        subprocess.run([garret, "init", "repo"], cwd=home, check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "HOME": home})
        for line in (["create", *words, "repo::a", "image"], ["check", "--verify-data", *words, "repo"],
                     ["extract", "-C", "out", *words, "repo::a"]):
            took, said = watch([garret, *line], home)
            # What is a second or less is said as that.
            counted = [(left, took - now) for now, left in said if now > took / 10]
            good = [left for left, real in counted if abs(left - real) <= max(0.3 * real, 0.5)]
            share = 100 * len(good) / len(counted) if counted else float("nan")
            print(f"{line[0]}: {took:.1f} s, said {len(counted)} times after the first tenth, "
                  f"{share:.0f} % of them within 30 %")
            if os.environ.get("BARS_ALL"):
                print(" ".join(f"{now:.1f}:{left}/{took - now:.1f}" for now, left in said[:: max(1, len(said) // 40)]))
    finally:
        shutil.rmtree(home)


main()

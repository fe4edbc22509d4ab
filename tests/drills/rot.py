"""One byte of a repository changes, as a bit that rots: 40 places at random, each in a fresh copy.

Proves: no restore ends with 0 and wrong bytes, nothing damaged gets a file's final name, and the error is a line, not a
crash.
"""

import os
import random
import shutil

import common
import tools

IMAGE_LEN = 3_000_000
# What programs print that fell over instead of ending.
CRASHES = ("Traceback", "panicked", "goroutine ")


def drill(options, tool=tools.Garret, scale=1.0):
    figures = common.Figures(f"rot, {tool.name}")
    with common.workplace() as work:
        place = work + "/place"
        os.makedirs(place)
        life = common.Life(tool(place, work + "/src"), IMAGE_LEN, options.seed)
        life.init()
        life.create()
        life.tool.list()
        saved, draws = common.Saved(life, work), random.Random(options.seed)
        for trial in range(options.count(40, 10)):
            saved.back(life)
            where = flip(life, draws)
            with figures.case(f"seed {options.seed}, {where}"):
                figures.note(restored(life))
    return [figures]


def flip(life, draws):
    """Changes a byte of a file that is drawn first, so that small ones are met as often as large ones. The client's copies of
    what is in the repository are gone: they would hide it."""
    for name in os.listdir(life.tool.client):
        if name != "repo" and name not in life.tool.keeps:
            shutil.rmtree(os.path.join(life.tool.client, name))
    files = sorted(os.path.join(directory, name) for directory, _, names in os.walk(life.tool.repo) for name in names)
    path = draws.choice([path for path in files if os.path.getsize(path)])
    at = draws.randrange(os.path.getsize(path))
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 1 << draws.randrange(8)]))
    return f"{os.path.relpath(path, life.tool.repo)} at {at}"


def restored(life):
    name = list(life.must)[-1]
    code, image, err = life.tool.restore(name)
    if any(crash in err for crash in CRASHES):
        raise common.Wrong(f"restore fell over: exit {code}: {common.begin(err)}")
    if image is not None and image != life.must[name]:
        how = "exit 0, and wrong bytes" if code == 0 else f"exit {code}, and a damaged file under its name"
        raise common.Wrong(f"restore: {how}")
    if image is None and code == 0:
        raise common.Wrong("restore: exit 0, and no file")
    return "exact" if code == 0 else "exact, with a warning" if image is not None else "refused"

#!/usr/bin/env python3
"""scatter.py DISK DENSE SCATTERED   the first GB of a raw disk's data twice: alone, and in pieces all over a sparse disk of 100 GB

In: a raw disk with at least 1000 MiB that are not zero. Out: two new files; between the pieces of the second there are holes.
"""
import sys

PIECE = 1 << 20
COUNT = 1000
STEP = 100 * PIECE

disk, dense, scattered = sys.argv[1:]
number = 0
with open(disk, "rb") as source, open(dense, "wb") as one, open(scattered, "wb") as other:
    while number < COUNT:
        piece = source.read(PIECE)
        if len(piece) < PIECE:
            sys.exit(f"{disk}: too little data")
        if piece.count(0) < PIECE:
            one.write(piece)
            other.seek(number * STEP)
            other.write(piece)
            number += 1
    other.truncate(COUNT * STEP)

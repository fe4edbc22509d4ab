#!/usr/bin/env python3
"""scatter.py IMAGE DENSE SCATTERED   the first GB of IMAGE twice: alone, and in pieces all over a sparse disk of 100 GB

In: a file of at least 10^9 bytes. Out: two new files; between the pieces of the second there are holes.
"""
import sys

PIECE = 1 << 20
COUNT = 1000
STEP = 100 * PIECE

image, dense, scattered = sys.argv[1:]
with open(image, "rb") as source, open(dense, "wb") as one, open(scattered, "wb") as other:
    for number in range(COUNT):
        piece = source.read(PIECE)
        if len(piece) < PIECE:
            sys.exit(f"{image}: too short")
        one.write(piece)
        other.seek(number * STEP)
        other.write(piece)
    other.truncate(COUNT * STEP)

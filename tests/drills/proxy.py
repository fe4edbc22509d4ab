"""A line to a server on which something goes wrong.

In: the server's port on the loopback address, a kind of fault and a seed. Out: a port, how often it went wrong, and what passed:
bytes each way, and requests if it is HTTP that is not encrypted. Promises: what arrives has the bytes that were sent, in their
order; what goes wrong is drawn by the seed, and by who connects when.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading

# Kinds of faults; of so many connections one has them, after some bytes. By ssh a command has no more than one.
RESET, STALL, SWALLOW = "resets", "a stall", "swallowed answers"
DELAYS = {"25 ms each way": 0.025, "100 ms each way": 0.1}
FAULTS = [RESET, STALL, SWALLOW]
KINDS = [*FAULTS, *DELAYS]
EVERY = 3
# What of a connection passes before: sometimes only what a request begins with, sometimes much of a pack.
BEFORE_MAX = 18
# Bytes that pass at once on a line that is late.
PIECE = 65536
# Where a request begins.
REQUEST = re.compile(rb"\b(?:GET|HEAD|PUT|POST|DELETE) [^ \r\n]{1,4096} HTTP/1\.1\r\n")


class Proxy:
    """Between clients and a server, as long as the context is open."""

    def __init__(self, target, kind, seed):
        self.target, self.kind, self.random = target, kind, random.Random(f"{seed} {kind}")
        self.delay = DELAYS.get(kind, 0)
        self.connections, self.faults = 0, 0
        self.sent, self.received, self.requests = 0, 0, 0

    def __enter__(self):
        is_there = threading.Event()

        async def serve():
            self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self.connects, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            is_there.set()
            await self.end.wait()

        self.thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
        self.thread.start()
        is_there.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()

    async def connects(self, reader, writer):
        there, to = await asyncio.open_connection("127.0.0.1", self.target)
        for one in (writer, to):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = Line(self, writer, to)
        # What is under way when the proxy ends, asyncio would report as an error.
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await asyncio.gather(self.passes(reader, to, line, True), self.passes(there, writer, line, False))
            finally:
                writer.close()
                to.close()

    def saw(self, piece, is_up):
        if is_up:
            self.sent += len(piece)
            # One that is cut by the end of a piece is not seen: that is rare, for nobody sends one behind another.
            self.requests += len(REQUEST.findall(piece))
        else:
            self.received += len(piece)

    async def passes(self, reader, writer, line, is_up):
        late = asyncio.Queue(64)
        sends = asyncio.create_task(self.sends(late, writer))
        try:
            while piece := await reader.read(PIECE):
                self.saw(piece, is_up)
                if line.is_over(len(piece), is_up):
                    await line.breaks()
                    break
                await late.put((self.loop.time() + self.delay, piece))
        except OSError:
            pass
        await late.put((0, b""))
        await sends

    async def sends(self, late, writer):
        """Each piece at its time, so that the line is late and not narrow."""
        try:
            while True:
                when, piece = await late.get()
                if not piece:
                    break
                await asyncio.sleep(when - self.loop.time())
                writer.write(piece)
                await writer.drain()
            writer.close()
        except OSError:
            # Who sends must not wait for room.
            while (await late.get())[1]:
                pass


class Line:
    """One connection, and what is to happen to it."""

    def __init__(self, proxy, *ends):
        self.proxy, self.ends = proxy, ends
        is_bad = proxy.connections % EVERY == EVERY - 1 and proxy.kind in FAULTS
        proxy.connections += 1
        self.left = 2 ** proxy.random.uniform(6, BEFORE_MAX) if is_bad else float("inf")

    def is_over(self, length, is_up):
        """Whether what goes up next, or the answer to it, is not to arrive."""
        if is_up:
            self.left -= length
        counts = not is_up if self.proxy.kind == SWALLOW else is_up
        is_spent = self.proxy.kind == STALL and self.proxy.faults > 0
        return counts and self.left < 0 and not is_spent

    async def breaks(self):
        self.proxy.faults += 1
        if self.proxy.kind == STALL:
            # Nothing more passes, and nobody is told; who gives up ends it.
            await self.is_closed()
        for end in self.ends:
            reset = struct.pack("ii", 1, 0)
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            end.transport.abort()

    async def is_closed(self):
        client = self.ends[0]
        while not client.is_closing():
            await asyncio.sleep(1)

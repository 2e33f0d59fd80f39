"""A slow link in front of a local server: delay, rate and a count of the bytes, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

PIECE = 8192  # bytes read at once: 3 ms at 20 Mbit/s, so that connections share the rate fairly


@dataclass
class Lane:
    """One direction of the link, shared by all connections: when the line is free again, and what went over it."""

    delay: float
    rate: float
    free: float = 0.0
    web: int = 0
    socket: int = 0

    def send(self, n: int, now: float) -> tuple[float, float]:
        """Times at which the last of `n` bytes leaves here and arrives at the other end."""
        self.free = max(self.free, now) + n / self.rate
        return self.free, self.free + self.delay


@dataclass(frozen=True)
class Count:
    """Bytes that crossed the link so far: all of them, and those of websockets."""

    to_browser: int
    to_server: int
    socket_to_browser: int
    socket_to_server: int

    def __sub__(self, other: Count) -> Count:
        return Count(
            self.to_browser - other.to_browser,
            self.to_server - other.to_server,
            self.socket_to_browser - other.socket_to_browser,
            self.socket_to_server - other.socket_to_server,
        )


@dataclass
class Link:
    """TCP proxy from a port of its own to `target` on 127.0.0.1, run in a thread; a context manager.

    Every piece waits for its turn on the line (`rate`) and then travels for half of `round_trip`; a new connection
    costs one round trip first, as TCP's handshake does. TCP's slow start and lost packets are not imitated.
    A connection whose first line asks for an upgrade counts as a websocket.

    Parameters
    ----------
    target : int
        Port of the server.
    round_trip : float
        Seconds to the server and back; 0 and an infinite `rate` only count.
    rate : float
        Bytes per second each way; the default is 20 Mbit/s.
    """

    target: int
    round_trip: float = 0.080
    rate: float = 20e6 / 8
    port: int = 0
    _down: Lane = field(init=False, repr=False)
    _up: Lane = field(init=False, repr=False)
    _loop: asyncio.AbstractEventLoop = field(init=False, repr=False)
    _thread: threading.Thread = field(init=False, repr=False)
    _tasks: set[asyncio.Task[None]] = field(init=False, repr=False, default_factory=set)

    def __enter__(self) -> Link:
        half = self.round_trip / 2
        self._down, self._up = Lane(half, self.rate), Lane(half, self.rate)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="slow link", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._wait(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def count(self) -> Count:
        """Bytes so far."""
        down, up = self._down, self._up
        return Count(down.web + down.socket, up.web + up.socket, down.socket, up.socket)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            await asyncio.sleep(self.round_trip)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(far_writer)
            first = await reader.read(PIECE)
            kind: Literal["web", "socket"] = "socket" if b"upgrade: websocket" in first.lower() else "web"
            both = asyncio.TaskGroup()
            async with both:
                both.create_task(self._carry(reader, far_writer, self._up, kind, first))
                both.create_task(self._carry(far_reader, writer, self._down, kind))
        except (OSError, ExceptionGroup):
            pass  # one side hung up, as browsers do
        except asyncio.CancelledError:
            pass  # the link is being closed
        finally:
            self._tasks.discard(task)
            for end in writers:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: Lane, kind: str, first: bytes = b""
    ) -> None:
        """Take pieces at the rate of the line; hand them over, in order, after the delay."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arrivals = asyncio.create_task(self._arrive(line, writer))
        try:
            piece = first or await reader.read(PIECE)
            while piece:
                setattr(lane, kind, getattr(lane, kind) + len(piece))
                leaves, arrives = lane.send(len(piece), self._loop.time())
                line.put_nowait((arrives, piece))
                await asyncio.sleep(leaves - self._loop.time())
                piece = await reader.read(PIECE)
            line.put_nowait((self._loop.time() + lane.delay, b""))
            await arrivals
        finally:
            arrivals.cancel()

    async def _arrive(self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            arrives, piece = await line.get()
            await asyncio.sleep(arrives - self._loop.time())
            if not piece:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

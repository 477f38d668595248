"""Row 9: from a frame's bytes at the feed's callback to the start of the handler, in one asyncio thread.

::

    another process ─▶ socket, 10,000 frames/s ─▶ data_received ─▶ receive(frame) ─┬▶ engine, pushed ─────────▶ on_quote
                                                    from here      │               ├▶ engine, async for ──────▶ on_quote
                                                                   │               └▶ msgspec ─▶ asyncio.Queue ─▶ task
                                                                   ▼                                            to here

Guarantees: the same callback for everybody, a loop of its own for each run; a run whose handler did not get every price
is an error and no row. Timed is each frame that came alone: what a sender that fell behind sent at once is left out,
and where too few came alone there is no figure.
Does not: time the network, or how soon the loop notices that a socket can be read. What pytest-benchmark times is the
whole run, which takes as long as the frames take to come.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

import headrace
from benches import frame_sender
from benches.baselines.json_decoders import BookTicker
from benches.bench import Bench, Row, Work, wall
from benches.frames import Frames, frames_by_type
from headrace.feeds import Frame

FRAMES_PER_S = 10_000
# Frames of a run that must have come alone, for a 99th percentile.
ALONE_MIN = 500
Wait = Literal["park", "spin"]
Receive = Callable[[bytes], object]


class Combined(msgspec.Struct, gc=False):
    """A frame of a combined stream of quotes, decoded in one go: who takes nothing else need not look first."""

    data: BookTicker


class Notes:
    """When each frame came, alone or among others, and when its handler began; and the sum of the prices."""

    def __init__(self) -> None:
        self.came_ns = array("q")
        self.together = array("q")
        self.began_ns = array("q")
        self.sum = 0.0

    def spans_ns(self) -> list[int]:
        """From callback to handler, for each frame that came alone; the first tenth warms up."""
        frames = list(zip(self.came_ns, self.began_ns, self.together, strict=True))
        return [began - came for came, began, together in frames[len(frames) // 10 :] if together == 1]


class Quotes(headrace.Strategy):
    """What everybody's handler does, as ours."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.began = notes.began_ns.append

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.began(time.perf_counter_ns())
        self.notes.sum += (bid_price + ask_price) / 2


class Lines(asyncio.Protocol):
    """The socket's end: every whole line to ``receive``, and its time to the notes."""

    def __init__(self, notes: Notes, receive: Receive, is_over: asyncio.Future[None]) -> None:
        self._came = notes.came_ns.append
        self._together = notes.together.append
        self._receive = receive
        self._is_over = is_over
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        together = len(lines)
        for line in lines:
            self._together(together)
            self._came(time.perf_counter_ns())
            self._receive(line)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._is_over.done():
            self._is_over.set_result(None)


class Sent:
    """A sender in another process, and the socket on which its lines come."""

    def __init__(self, lines: Path) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours
        with theirs:
            words = (frame_sender.__file__, theirs.fileno(), lines, FRAMES_PER_S)
            command = [sys.executable, "-S", "-E", *map(str, words)]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    async def receive(self, notes: Notes, receive: Receive) -> None:
        """Have it send, and give every line to ``receive`` until there are no more."""
        loop = asyncio.get_running_loop()
        is_over = loop.create_future()
        self.socket.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(lambda: Lines(notes, receive, is_over), self.socket)
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"!")
        await is_over
        transport.close()

    def close(self) -> None:
        self.socket.close()
        self._process.wait(10)


class SentFeed:
    """A live feed of the frames that the other process sends."""

    is_live = True

    def __init__(self, sent: Sent, venue: str, notes: Notes) -> None:
        self.venue = venue
        self._sent = sent
        self._notes = notes

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class PulledFeed(SentFeed):
    """An async iterator that the callback feeds by a queue: what most sockets' libraries offer."""

    name = "pulled"

    def __init__(self, sent: Sent, venue: str, notes: Notes) -> None:
        super().__init__(sent, venue, notes)
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue()

    def _receive(self, frame: bytes) -> None:
        self._queue.put_nowait(Frame(time.time_ns(), frame))

    async def __aiter__(self) -> AsyncIterator[Frame]:
        receiving = asyncio.ensure_future(self._sent.receive(self._notes, self._receive))
        receiving.add_done_callback(lambda _: self._queue.put_nowait(None))
        while (frame := await self._queue.get()) is not None:
            yield frame
        await receiving


class PushedFeed(SentFeed):
    """Gives each frame to the engine in the callback itself."""

    name = "pushed"

    async def run(self, push: Callable[[Frame], object]) -> None:
        await self._sent.receive(self._notes, lambda frame: push(Frame(time.time_ns(), frame)))


Way = Callable[[Sent, str, Notes, Wait], Coroutine[Any, Any, None]]


async def through_engine(feed: type[PulledFeed | PushedFeed], sent: Sent, venue: str, notes: Notes, wait: Wait) -> None:
    """Ours, by one of the two faces of a live feed."""
    engine = headrace.Engine(feeds=feed(sent, venue, notes), strategies=[Quotes(notes)], wait=wait)
    await engine.run_async()


async def through_queue(sent: Sent, _venue: str, notes: Notes, wait: Wait) -> None:
    """The usual way: typed decode in the callback, a queue, and a task that calls the handler."""
    decode = msgspec.json.Decoder(Combined, strict=False).decode
    queue: asyncio.Queue[BookTicker | None] = asyncio.Queue()
    put = queue.put_nowait
    on_quote = Quotes(notes).on_quote

    async def consume() -> None:
        get = queue.get
        while (quote := await get()) is not None:
            on_quote(quote.b, quote.a)

    loop = asyncio.get_running_loop()
    spins = wait == "spin"

    def spin() -> None:
        if spins:
            loop.call_soon(spin)

    spin()
    consumer = asyncio.create_task(consume())
    await sent.receive(notes, lambda frame: put(decode(frame).data))
    put(None)
    await consumer
    spins = False


@cache
def expected(frames: int) -> tuple[Frames, tuple[int, float]]:
    """Return the quotes' frames, and how many there are with the sum of their prices."""
    quotes = frames_by_type(frames)["bookTicker"]
    decode = msgspec.json.Decoder(Combined, strict=False).decode
    total = 0.0
    for frame in quotes.frames:
        quote = decode(frame).data
        total += (quote.b + quote.a) / 2
    return quotes, (len(quotes.frames), total)


def through(way: Way, wait: Wait, frames: int, notes: Notes, folder: Path) -> Iterator[Work]:
    """Run one way in a loop of its own."""
    quotes, wanted = expected(frames)
    lines = folder / "quotes"
    lines.write_bytes(b"".join(frame + b"\n" for frame in quotes.frames))
    sent = Sent(lines)
    try:
        yield lambda: asyncio.run(way(sent, quotes.venue, notes, wait))
    finally:
        sent.close()
    got = (len(notes.began_ns), notes.sum)
    assert got == wanted, f"{got} quotes and their sum came through, {wanted} were sent"


def measured(bench: Bench, way: Way, wait: Wait, folder: Path) -> None:
    """Run one way, and note its percentiles; None when a busy machine kept no pace."""
    notes = Notes()
    bench.about(f'wait="{wait}"')(through, way, wait, bench.size.latency_frames, notes, folder)
    spans = sorted(notes.spans_ns())
    is_known = len(spans) >= ALONE_MIN
    bench.note("p50_us", spans[len(spans) // 2] / 1e3 if is_known else None)
    bench.note("p99_us", spans[len(spans) * 99 // 100] / 1e3 if is_known else None)


@wall
@pytest.mark.parametrize("wait", ["park", "spin"])
class TestLatency:
    """A strategy that the feed pushes to, one that is fed by ``async for``, and the usual way."""

    rows = (
        Row("9", "latency, engine, pushed, p50", "pushed", "asyncio_queue", at_least=1.0, unit="µs", figure="p50_us"),
        Row("9", "latency, engine, pushed, p99", "pushed", "asyncio_queue", at_least=1.0, unit="µs", figure="p99_us"),
        Row("", "latency, engine, async for, p50", "async_for", "asyncio_queue", unit="µs", figure="p50_us"),
        Row("", "latency, engine, async for, p99", "async_for", "asyncio_queue", unit="µs", figure="p99_us"),
    )

    def test_asyncio_queue(self, bench: Bench, wait: Wait, tmp_path: Path) -> None:
        measured(bench, through_queue, wait, tmp_path)

    def test_pushed(self, bench: Bench, wait: Wait, tmp_path: Path) -> None:
        measured(bench, partial(through_engine, PushedFeed), wait, tmp_path)

    def test_async_for(self, bench: Bench, wait: Wait, tmp_path: Path) -> None:
        measured(bench, partial(through_engine, PulledFeed), wait, tmp_path)

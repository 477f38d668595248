"""From a frame's bytes at the feed's callback to the start of the handler, in one asyncio thread (row 9).

::

    another process ─▶ socket, 10,000 frames/s ─▶ data_received ─▶ receive(frame) ─┬▶ engine, pushed ─────────▶ on_quote
                                                    from here      │               ├▶ engine, async for ──────▶ on_quote
                                                                   │               └▶ msgspec ─▶ asyncio.Queue ─▶ task
                                                                   ▼                                            to here

Guarantees: the same callback for everybody, a loop of its own for each run; a run whose handler did not get every price
is an error and no row. Timed is each frame that came alone: what a sender that fell behind sent at once is left out,
and where too few came alone there is no figure.
Does not: time the network, or how soon the loop notices that a socket can be read.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FRAMES_PER_S = 10_000
# Frames of a run that must have come alone, for a 99th percentile.
ALONE_MIN = 500
Wait = Literal["park", "spin"]
WAITS: tuple[Wait, ...] = ("park", "spin")
Receive = Callable[[bytes], object]


def send(descriptor: int, lines: Path) -> None:
    """Send each line at its time, until the pace is lost or all are sent; the other process runs this."""
    with socket.socket(fileno=descriptor) as out, lines.open("rb") as file:
        out.recv(1)
        start_s = time.perf_counter()
        for number, line in enumerate(file):
            while (left_s := start_s + number / FRAMES_PER_S - time.perf_counter()) > 0:
                if left_s > 100e-6:
                    time.sleep(left_s - 60e-6)
            out.sendall(line)


if __name__ == "__main__" and sys.argv[1:2] == ["--send"]:
    # Before numpy is imported: the sender needs nothing.
    send(int(sys.argv[2]), Path(sys.argv[3]))
    sys.exit()

sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402 - the script finds its own folder first

import headrace  # noqa: E402
from benches.baselines.json_decoders import BookTicker  # noqa: E402
from benches.frames import frames_by_type  # noqa: E402
from benches.harness import Load, Patience, Row, table  # noqa: E402
from headrace.feeds import Frame  # noqa: E402


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
            command = [sys.executable, "-S", "-E", __file__, "--send", str(theirs.fileno()), str(lines)]
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


class PulledFeed:
    """An async iterator that the callback feeds by a queue: what most sockets' libraries offer."""

    name = "pulled"
    is_live = True

    def __init__(self, sent: Sent, venue: str, notes: Notes) -> None:
        self.venue = venue
        self._sent = sent
        self._notes = notes
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def _receive(self, frame: bytes) -> None:
        self._queue.put_nowait(Frame(time.time_ns(), frame))

    async def __aiter__(self) -> AsyncIterator[Frame]:
        receiving = asyncio.ensure_future(self._sent.receive(self._notes, self._receive))
        receiving.add_done_callback(lambda _: self._queue.put_nowait(None))
        while (frame := await self._queue.get()) is not None:
            yield frame
        await receiving


class PushedFeed:
    """Gives each frame to the engine in the callback itself."""

    name = "pushed"
    is_live = True

    def __init__(self, sent: Sent, venue: str, notes: Notes) -> None:
        self.venue = venue
        self._sent = sent
        self._notes = notes

    async def open(self) -> None: ...

    async def close(self) -> None: ...

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


WAYS: dict[str, Way] = {
    "msgspec + asyncio.Queue": through_queue,
    "engine, pushed": partial(through_engine, PushedFeed),
    "engine, async for": partial(through_engine, PulledFeed),
}


class Latency(NamedTuple):
    """Of one run, in ns."""

    p50: float
    p99: float


def measured(way: Way, wait: Wait, lines: Path, venue: str, expected: tuple[int, float]) -> Latency | None:
    """One run in a loop of its own; None when too few frames came alone, because a busy machine keeps no pace."""
    notes = Notes()
    sent = Sent(lines)
    try:
        gc.collect()
        asyncio.run(way(sent, venue, notes, wait))
    finally:
        sent.close()
    got = (len(notes.began_ns), notes.sum)
    assert got == expected, f"{got} quotes and their sum came through, {expected} were sent"
    spans = sorted(notes.spans_ns())
    if len(spans) < ALONE_MIN:
        return None
    return Latency(spans[len(spans) // 2], spans[len(spans) * 99 // 100])


def rows(frames: int, rounds: int, patience: Patience) -> list[Row]:
    """Measure every way with so many frames a run."""
    quotes = frames_by_type(frames)["bookTicker"]
    decode = msgspec.json.Decoder(Combined, strict=False).decode
    total = 0.0
    for frame in quotes.frames:
        quote = decode(frame).data
        total += (quote.b + quote.a) / 2
    expected = (len(quotes.frames), total)
    cases = [(name, wait) for wait in WAITS for name in WAYS]
    found: dict[tuple[str, Wait], list[Latency | None]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "quotes"
        lines.write_bytes(b"".join(frame + b"\n" for frame in quotes.frames))
        turn = 0
        while len(found[cases[0]]) < rounds:
            first = turn % len(cases)
            turn += 1
            started = Load.now()
            times = {
                (name, wait): measured(WAYS[name], wait, lines, quotes.venue, expected)
                for name, wait in [*cases[first:], *cases[:first]]
            }
            if patience.accepts(*Load.now().since(started)):
                for case, latency in times.items():
                    found[case].append(latency)
    return [row for wait in WAITS for name in list(WAYS)[1:] for row in _rows_of(found, name, wait)]


def _rows_of(found: dict[tuple[str, Wait], list[Latency | None]], name: str, wait: Wait) -> list[Row]:
    peer = next(iter(WAYS))
    is_judged = name == "engine, pushed"
    number, target = ("9", 1.0) if is_judged else ("", None)
    rounds = [(own, other) for own, other in zip(found[name, wait], found[peer, wait], strict=True) if own and other]
    result = []
    for index, percentile in enumerate(Latency._fields):
        what = f'{name}, wait="{wait}", {percentile}'
        if not rounds:
            result.append(Row(number, what, "no pace was kept", None, peer, target))
            continue
        own_us = statistics.median(own[index] for own, _ in rounds) / 1e3
        their_us = statistics.median(other[index] for _, other in rounds) / 1e3
        # Higher is better, as everywhere: their time by ours.
        ratio = statistics.median(other[index] / own[index] for own, other in rounds)
        result.append(Row(number, what, f"{own_us:.1f} µs of {their_us:.1f}", ratio, peer, target))
    return result


def main() -> None:
    """Measure this alone."""
    parser = argparse.ArgumentParser(description="Latency from a feed's callback to the handler.")
    parser.add_argument("--frames", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    patience = Patience(15)
    print(table(rows(options.frames, options.rounds, patience)))
    print(patience.verdict())


if __name__ == "__main__":
    main()

"""Row 21: from a frame sent on a loopback web socket to the start of the handler, one connection, 10,000 frames/s.

::

    another process ─▶ web socket, 10,000 frames/s ─┬▶ BinanceFeed ─▶ engine ─▶ on_quote
      from here                                     └▶ picows ─▶ msgspec ─────▶ on_quote
                                                                                to here

Guarantees: the same sender for both, a loop of its own for each run; a run whose handler did not get every price is an
error and no row. Timed is each frame that was sent at its time: what a sender sent at once is left out.
Does not: time a network, TLS, or a venue's own delay.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from array import array
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import picows
import pytest

import headrace
from benches import ws_sender
from benches.bench import Bench, Row, Work, wall
from benches.frames import Frames
from benches.test_latency import ALONE_MIN, FRAMES_PER_S, Combined, Notes, Quotes, Wait, expected
from headrace.feeds import SyntheticFeed
from headrace.venues import BinanceFeed, SimulatedVenue

# A frame that was sent sooner after the one before it came with it.
ALONE_NS = 50_000


class Sender:
    """The other process, and where it listens."""

    def __init__(self, quotes: Frames, folder: Path) -> None:
        lines, self._times = folder / "quotes", folder / "times"
        lines.write_bytes(b"\n".join(quotes.frames))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
            words = (ws_sender.__file__, listening.fileno(), lines, FRAMES_PER_S, self._times)
            command = [sys.executable, "-S", "-E", *map(str, words)]
            self._process = subprocess.Popen(command, pass_fds=[listening.fileno()])

    def times_ns(self) -> array[int]:
        """When each frame was sent, once the other process has ended."""
        self._process.wait(10)
        times = array("q")
        times.frombytes(self._times.read_bytes())
        return times

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)


Way = Callable[[Sender, Frames, Notes, Wait, int], Coroutine[Any, Any, None]]


async def through_feed(sender: Sender, quotes: Frames, notes: Notes, wait: Wait, count: int) -> None:
    """Ours: a feed, an engine, a strategy. The simulated venue only lists the symbols, by REST."""
    symbol = msgspec.json.decode(quotes.frames[0])["data"]["s"]
    async with SimulatedVenue(SyntheticFeed(symbol, venue=quotes.venue, frames=10)) as listing:
        rest = listing.addresses[quotes.venue]["rest"]
        feed = BinanceFeed(quotes.venue, [symbol], ["bookTicker"], url=sender.url, rest_url=rest)
        engine = headrace.Engine(feeds=[feed], strategies=[Quotes(notes)], wait=wait)
        async with engine:
            await until_all(notes, count)


async def through_picows(sender: Sender, _quotes: Frames, notes: Notes, wait: Wait, count: int) -> None:
    """The fastest usual way: a typed decode in the callback of the socket, and a call of the handler."""
    decode = msgspec.json.Decoder(Combined, strict=False).decode
    on_quote = Quotes(notes).on_quote

    class Receiver(picows.WSListener):
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            transport.send(picows.WSMsgType.TEXT, b'{"method":"SUBSCRIBE","params":["x@bookTicker"],"id":1}')

        def on_ws_frame(self, _transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            message = frame.get_payload_as_memoryview()
            if message[2] == ord("s"):
                quote = decode(message).data
                on_quote(quote.b, quote.a)

    loop, spins = asyncio.get_running_loop(), wait == "spin"

    def spin() -> None:
        if spins:
            loop.call_soon(spin)

    spin()
    transport, _ = await picows.ws_connect(Receiver, f"{sender.url}/stream")
    await until_all(notes, count)
    spins = False
    transport.disconnect()
    await transport.wait_disconnected()


async def until_all(notes: Notes, count: int) -> None:
    """Wait for every quote, rarely enough to disturb none."""
    while len(notes.began_ns) < count:  # noqa: ASYNC110 - an event would cost each handler
        await asyncio.sleep(0.05)


def through(way: Way, wait: Wait, frames: int, notes: Notes, folder: Path) -> Iterator[Work]:
    """Run one way in a loop of its own."""
    quotes, wanted = expected(frames)
    sender = Sender(quotes, folder)
    try:
        yield lambda: asyncio.run(asyncio.wait_for(way(sender, quotes, notes, wait, wanted[0]), 60))
        notes.came_ns = sender.times_ns()
    finally:
        sender.close()
    got = (len(notes.began_ns), notes.sum)
    assert got == wanted, f"{got} quotes and their sum came through, {wanted} were sent"


def measured(bench: Bench, way: Way, wait: Wait, folder: Path) -> None:
    """Run one way, and note its percentiles; None when a busy machine kept no pace."""
    notes = Notes()
    bench.about(f'wait="{wait}"')(through, way, wait, bench.size.latency_frames, notes, folder)
    sent = notes.came_ns
    first = len(sent) // 10
    spans = sorted(
        began - came
        for came, before, began in zip(sent[first:], sent[first - 1 :], notes.began_ns[first:], strict=False)
        if came - before > ALONE_NS
    )
    is_known = len(spans) >= ALONE_MIN
    bench.note("p50_us", spans[len(spans) // 2] / 1e3 if is_known else None)
    bench.note("p99_us", spans[len(spans) * 99 // 100] / 1e3 if is_known else None)


@wall
@pytest.mark.parametrize("wait", ["park", "spin"])
class TestSocketLatency:
    """A strategy over a live feed, and a decoder and a call in the socket's own callback."""

    rows = (
        Row("21", "socket to handler, live feed, p50", "live_feed", "picows", at_most=1.3, unit="µs", figure="p50_us"),
        Row("21", "socket to handler, live feed, p99", "live_feed", "picows", at_most=1.3, unit="µs", figure="p99_us"),
    )

    def test_picows(self, bench: Bench, wait: Wait, tmp_path: Path) -> None:
        measured(bench, through_picows, wait, tmp_path)

    def test_live_feed(self, bench: Bench, wait: Wait, tmp_path: Path) -> None:
        measured(bench, through_feed, wait, tmp_path)

"""Snapshots: which books need one, and the requests for them.

::

    request(symbol) ─▶ waiting, each symbol once ─▶ REST ─▶ deliver         failed: again, after a pause
    first depth event of a connection ─▶ request, where every recording must hold one

Guarantees: a symbol is asked for once at a time, the most urgent first; with ``always`` a snapshot older than the first
depth event is asked for again.
Does not: apply one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import VenueRequestError
from headrace.venues.binance.rules import StreamName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.venues.binance.rest import RestClient

__all__ = ["Snapshots", "snapshot_frame"]

log = logging.getLogger(__name__)

FIRST_UPDATE = re.compile(rb'"U":(\d+)')
LAST_UPDATE = re.compile(rb'"lastUpdateId":\s*(\d+)')
# Requests under way at once: the budget orders them, the venue answers each within a second.
WORKERS = 4
AGAIN_S = 0.5
# Before the levels of a snapshot.
HEAD_BYTES = 256


class Snapshots:
    """The requests of one feed. deliver : receives a symbol and its snapshot. levels : asked for, each side."""

    def __init__(self, rest: RestClient, deliver: Callable[[str, bytes], None], *, always: bool, levels: int) -> None:
        self._rest = rest
        self._deliver = deliver
        self._always = always
        self._levels = levels
        # Symbols that wait, with their urgency; those under way are in none.
        self._waiting: dict[str, int] = {}
        self._asking: set[str] = set()
        # By symbol: the first update of this connection, once it came.
        self._first: dict[str, int] = {}
        self._wake = asyncio.Event()

    def request(self, symbol: str, urgency: int = 0) -> None:
        """Ask for a symbol's snapshot."""
        self._waiting[symbol] = max(urgency, self._waiting.get(symbol, urgency))
        self._wake.set()

    def forget(self, symbols: Iterable[str]) -> None:
        """Note that a new connection has begun: its first depth event comes."""
        for symbol in symbols:
            self._first.pop(symbol, None)

    def looking_at(self, name: str) -> Callable[[bytes], None] | None:
        """Return what is to be called with each frame of a stream: it notes the first depth event of a connection."""
        stream = StreamName.parse(name)
        if not self._always or stream.kind != "depth":
            return None
        symbol = stream.symbol.upper()

        def look(message: bytes) -> None:
            if symbol not in self._first and (first := FIRST_UPDATE.search(message)):
                self._first[symbol] = int(first[1])
                self.request(symbol)

        return look

    async def run(self) -> None:
        """Serve requests until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(WORKERS):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            ready = [symbol for symbol in self._waiting if symbol not in self._asking]
            if not ready:
                self._wake.clear()
                await self._wake.wait()
                continue
            symbol = max(ready, key=self._waiting.__getitem__)
            urgency = self._waiting.pop(symbol)
            self._asking.add(symbol)
            try:
                body = await self._rest.depth(symbol, self._levels, urgency=urgency)
            except VenueRequestError as error:
                log.warning("no snapshot of %s yet: %s", symbol, error)
                body = b""
            finally:
                self._asking.discard(symbol)
            last = LAST_UPDATE.search(body[:64])
            if last is None or int(last[1]) + 1 < self._first.get(symbol, 0):
                await asyncio.sleep(AGAIN_S)
                self.request(symbol, urgency)
                continue
            self._deliver(symbol, body)
            self._wake.set()


def snapshot_frame(symbol: str, body: bytes) -> bytes:
    """Return a snapshot, as REST or a book of our own gave it, as a frame that names its symbol."""
    if b'"symbol"' not in body[:HEAD_BYTES]:
        # Only COIN-M says whose it is, and several symbols come over one feed.
        body = b'{"symbol":%b,%b' % (msgspec.json.encode(symbol), body.lstrip()[1:])
    return b'{"stream":"%b@depthSnapshot","data":%b}' % (symbol.lower().encode(), body)

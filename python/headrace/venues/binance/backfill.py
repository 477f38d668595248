"""Backfill: trades that did not come over a web socket, fetched by REST where the market offers it.

::

    trade 104 behind 101 ─▶ GET historicalTrades from 102 ─▶ frames 102, 103      late by the sequencer's rules: flagged

What happens when it cannot be done
    A market that requires a key for it gets one request. A hole of more than BACKFILL_MAX trades stays, and is logged.

Guarantees: frames of one hole come in the order of their ids, each once; holes are filled one after the other.
Does not: hold back the trades behind a hole, or judge what is late.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.errors import VenueRequestError
from headrace.venues.binance.rules import StreamName

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.venues.binance.rest import RestClient

__all__ = ["BACKFILL_MAX", "Backfill"]

log = logging.getLogger(__name__)

# A hole that takes longer to fill than its trades are of use: 20 requests.
BACKFILL_MAX = 20_000
ROWS_MAX = 1_000
# Holes that wait; more mean that the venue's numbers cannot be followed.
HOLES_MAX = 1_000


class _Source(NamedTuple):
    """Where trades of a kind come from. id : matches it in a frame."""

    path: str
    key: str
    id: re.Pattern[bytes]


SOURCES = {
    "trade": _Source("historicalTrades", "id", re.compile(rb'"t":(\d+)')),
    "aggTrade": _Source("aggTrades", "a", re.compile(rb'"a":(\d+)')),
}


class _Hole(NamedTuple):
    """Ids that did not come, both ends included."""

    name: str
    first: int
    last: int


class Backfill:
    """The holes of one feed. deliver : receives a frame."""

    def __init__(self, rest: RestClient, weights: dict[str, int], deliver: Callable[[bytes], None]) -> None:
        self._rest = rest
        self._weights = weights
        self._deliver = deliver
        # By stream: the highest id so far.
        self._last: dict[str, int] = {}
        self._holes: deque[_Hole] = deque(maxlen=HOLES_MAX)
        self._wake = asyncio.Event()
        self._refused: set[str] = set()
        self.filled = 0

    def looking_at(self, name: str) -> Callable[[bytes], None] | None:
        """Return what is to be called with each frame of a stream; None: its holes cannot be filled."""
        kind = StreamName.parse(name).kind
        if kind not in SOURCES:
            return None
        # Bound once: each frame pays for it.
        search, newest = SOURCES[kind].id.search, self._last

        def look(message: bytes) -> None:
            if (found := search(message)) is None:
                return
            number, last = int(found[1]), newest.get(name)
            if last is not None and number <= last:
                return
            newest[name] = number
            if last is not None and number > last + 1 and kind not in self._refused:
                self._holes.append(_Hole(name, last + 1, number - 1))
                self._wake.set()

        return look

    def forget(self, name: str) -> None:
        """Forget a stream that is not subscribed any more."""
        self._last.pop(name, None)

    async def run(self) -> None:
        """Fill holes until cancelled."""
        while True:
            while not self._holes:
                self._wake.clear()
                await self._wake.wait()
            hole = self._holes.popleft()
            size = hole.last - hole.first + 1
            if size > BACKFILL_MAX:
                log.warning("%s: %d trades are missing, more than are fetched (%d)", hole.name, size, BACKFILL_MAX)
                continue
            try:
                await self._fill(hole)
            except VenueRequestError as error:
                kind = StreamName.parse(hole.name).kind
                if error.status in (401, 403):
                    self._refused.add(kind)
                log.warning("%s: %d trades stay missing: %s", hole.name, size, error)

    async def _fill(self, hole: _Hole) -> None:
        stream = StreamName.parse(hole.name)
        source, symbol = SOURCES[stream.kind], stream.symbol.upper()
        number = hole.first
        while number <= hole.last:
            limit = min(ROWS_MAX, hole.last - number + 1)
            body = await self._rest.get(
                source.path, weight=self._weights[stream.kind], symbol=symbol, fromId=number, limit=limit
            )
            rows = msgspec.json.decode(body, type=list[dict[str, Any]])
            wanted = [row for row in rows if number <= row[source.key] <= hole.last]
            if not wanted:
                log.info("%s: the venue has no trades %d to %d", hole.name, number, hole.last)
                return
            for row in wanted:
                event = _event(stream.kind, symbol, row)
                self._deliver(msgspec.json.encode({"stream": hole.name, "data": event}))
            self.filled += len(wanted)
            number = wanted[-1][source.key] + 1


def _event(kind: str, symbol: str, row: dict[str, Any]) -> dict[str, object]:
    """Return a row of REST as the web socket sends it."""
    if kind == "aggTrade":
        return {"e": kind, "E": row["T"], "s": symbol, **{key: row[key] for key in "apqflTm"}}
    head = {"e": kind, "E": row["time"], "s": symbol, "t": row["id"], "p": row["price"], "q": row["qty"]}
    return head | {"T": row["time"], "m": row["isBuyerMaker"]}

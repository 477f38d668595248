"""Liveness: whether a stream of which nothing comes is quiet, or stale, by what REST says.

::

    nothing for ``quiet_s`` ─▶ REST: anything newer than its newest frame? ─┬▶ no: quiet, look again later
                                                                            └▶ yes, and nothing comes still: stale

Guarantees: a stream is called stale only where the venue has something newer that did not come; few streams are looked
into at once.
Does not: look into streams whose newest REST could not name, such as trades; their connection is watched (``line``).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import VenueRequestError
from headrace.venues.binance.rules import StreamName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headrace.venues.binance.rest import RestClient

__all__ = ["Liveness"]

KINDS = frozenset({"depth", "bookTicker"})
# Each costs a request of 5 levels.
LOOKS_AT_ONCE = 10
# What was on its way when REST answered has come by then: depth comes each second at the latest.
ON_ITS_WAY_S = 1.5


class Liveness:
    """The newest frames of one feed's streams. states : by stream. on_stale : receives the name of a stale stream."""

    def __init__(
        self, rest: RestClient, states: Mapping[str, str], on_stale: Callable[[str], None], *, quiet_s: float
    ) -> None:
        self._rest = rest
        self._states = states
        self._on_stale = on_stale
        self._quiet_s = quiet_s
        # By stream: its newest frame, and when it was heard, or looked into, s.
        self._newest: dict[str, bytes] = {}
        self._heard: dict[str, float] = {}

    def on_frame(self, name: str, message: bytes) -> None:
        """Note a frame."""
        self._newest[name] = message
        self._heard[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """Note that a stream is subscribed no more."""
        self._newest.pop(name, None)
        self._heard.pop(name, None)

    async def are_quiet(self, names: Iterable[str]) -> bool:
        """Return whether REST has nothing newer than the newest frames of the first symbol of some streams."""
        for name in names:
            if StreamName.parse(name).kind in KINDS:
                return await self._is_quiet(name) is True
        # No stream whose newest id REST could name: a ping in time is all there is to go by.
        return True

    async def run(self) -> None:
        """Look into streams of which nothing comes, until cancelled."""
        while True:
            await asyncio.sleep(self._quiet_s / 4)
            late = sorted(
                (heard, name)
                for name, heard in self._heard.items()
                if time.monotonic() - heard > self._quiet_s and self._states.get(name) == "UP"
                if StreamName.parse(name).kind in KINDS
            )
            for _, name in late[:LOOKS_AT_ONCE]:
                await self._look(name)

    async def _look(self, name: str) -> None:
        newest = self._newest.get(name)
        is_quiet = await self._is_quiet(name)
        if is_quiet is False:
            await asyncio.sleep(ON_ITS_WAY_S)
            if self._newest.get(name) is newest and self._states.get(name) == "UP":
                self._on_stale(name)
                return
        if name in self._heard:
            self._heard[name] = max(self._heard[name], time.monotonic())

    async def _is_quiet(self, name: str) -> bool | None:
        """Return whether REST has nothing newer than a stream's newest frame; None: it does not answer."""
        stream = StreamName.parse(name)
        try:
            book = msgspec.json.decode(await self._rest.depth(stream.symbol.upper(), 5))
        except VenueRequestError:
            return None
        if name not in self._newest:
            return False
        newest: dict[str, Any] = msgspec.json.decode(self._newest[name])["data"]
        if int(book["lastUpdateId"]) <= int(newest["u"]):
            return True
        if stream.kind == "depth":
            return False
        # A quote comes only when the best prices change; deeper ones have ids, too.
        bids, asks = (book[side][0] if book[side] else ("0", "0") for side in ("bids", "asks"))
        best = (*bids, *asks)
        return all(float(own) == float(newest[key]) for own, key in zip(best, ("b", "B", "a", "A"), strict=True))

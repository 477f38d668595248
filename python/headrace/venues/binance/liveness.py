"""Liveness: whether a stream of which nothing comes is quiet, or stale, by what REST says.

::

    nothing for ``quiet_s`` ─▶ REST: anything newer than its newest frame? ─┬▶ no: quiet, look again later
                                                                            └▶ yes, and nothing comes still: stale

What REST is asked for
    depth, bookTicker : the book's last update.    trade, aggTrade : the newest aggregate, which names its last trade.

Guarantees: a stream is called stale only where the venue has something newer that did not come; what is asked for takes
a fifth of the weight at most, and one look at a time.
Does not: look into streams whose newest REST could not name, such as candles; their connection is watched (``line``).
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
    from headrace.venues.binance.rules import VenueRules

__all__ = ["Liveness"]

BOOKS, TRADES = frozenset({"depth", "bookTicker"}), frozenset({"trade", "aggTrade"})
KINDS = BOOKS | TRADES
# The id of a frame.
ID_KEYS = {"depth": "u", "bookTicker": "u", "trade": "t", "aggTrade": "a"}
BOOK_LEVELS = 5
# Of the weight that the venue allows in the same time; one look is always taken.
WEIGHT_SHARE = 0.2
# What was on its way when REST answered has come by then: depth comes each second at the latest.
ON_ITS_WAY_S = 1.5


class Liveness:
    """The newest frames of one feed's streams. states : by stream. on_stale : receives the name of a stale stream."""

    def __init__(
        self,
        rest: RestClient,
        rules: VenueRules,
        states: Mapping[str, str],
        on_stale: Callable[[str], None],
        *,
        quiet_s: float,
    ) -> None:
        self._rest = rest
        self._rules = rules
        self._states = states
        self._on_stale = on_stale
        self._quiet_s = quiet_s
        # By stream: its newest frame, and when it was heard, or looked into, s.
        self._newest: dict[str, bytes] = {}
        self._heard: dict[str, float] = {}
        # By stream of which nothing has come yet: what the venue had when it was looked into first.
        self._before: dict[str, int] = {}

    def on_frame(self, name: str, message: bytes) -> None:
        """Note a frame."""
        self._newest[name] = message
        self._heard[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """Note that a stream is subscribed anew, or no more."""
        self._newest.pop(name, None)
        self._heard.pop(name, None)
        self._before.pop(name, None)

    async def are_quiet(self, names: Iterable[str]) -> bool:
        """Return whether REST has nothing newer than the newest frames of the first symbol of some streams."""
        for name in names:
            if StreamName.parse(name).kind in KINDS:
                return await self._is_quiet(name) is True
        # No stream whose newest id REST could name: a ping in time is all there is to go by.
        return True

    async def run(self) -> None:
        """Look into streams of which nothing comes, until cancelled."""
        every_s = self._quiet_s / 4
        while True:
            await asyncio.sleep(every_s)
            late = sorted(
                (heard, name)
                for name, heard in self._heard.items()
                if time.monotonic() - heard > self._quiet_s and self._states.get(name) == "UP"
                if StreamName.parse(name).kind in KINDS
            )
            left = self._rest.budget.weight_max * WEIGHT_SHARE * every_s / self._rules.minute_s
            for _, name in late:
                await self._look(name)
                left -= self._weight(name)
                if left <= 0:
                    break

    def _weight(self, name: str) -> int:
        if StreamName.parse(name).kind in BOOKS:
            return self._rules.depth_weight(BOOK_LEVELS)
        return self._rules.trade_weights["aggTrade"]

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
        """Return whether REST has nothing newer than a stream's newest frame; None: that cannot be found out."""
        try:
            return await self._has_newest(name)
        except (VenueRequestError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
            # No answer, or a frame or an answer that is not understood: the decoder counts a frame.
            return None

    async def _has_newest(self, name: str) -> bool:
        """Return whether REST has nothing newer. Raises VenueRequestError, and what decoding raises."""
        stream = StreamName.parse(name)
        if stream.kind in TRADES:
            return self._has_id(name, await self._newest_trade(stream))
        book = msgspec.json.decode(await self._rest.depth(stream.symbol.upper(), BOOK_LEVELS))
        if self._has_id(name, int(book["lastUpdateId"])):
            return True
        if stream.kind == "depth" or name not in self._newest:
            return False
        # A quote comes only when the best prices change; deeper ones have ids, too.
        newest: dict[str, Any] = msgspec.json.decode(self._newest[name])["data"]
        bids, asks = (book[side][0] if book[side] else ("0", "0") for side in ("bids", "asks"))
        best = (*bids, *asks)
        return all(float(own) == float(newest[key]) for own, key in zip(best, ("b", "B", "a", "A"), strict=True))

    def _has_id(self, name: str, at_venue: int) -> bool:
        """Return whether the venue has nothing newer than what came, or than it had at the first look."""
        if (message := self._newest.get(name)) is None:
            return at_venue <= self._before.setdefault(name, at_venue)
        return at_venue <= int(msgspec.json.decode(message)["data"][ID_KEYS[StreamName.parse(name).kind]])

    async def _newest_trade(self, stream: StreamName) -> int:
        """Return the id of a stream's newest trade at the venue; 0: it had none. Raises VenueRequestError."""
        weight, symbol = self._rules.trade_weights["aggTrade"], stream.symbol.upper()
        rows = msgspec.json.decode(await self._rest.get("aggTrades", weight=weight, symbol=symbol, limit=1))
        return int(rows[-1]["l" if stream.kind == "trade" else "a"]) if rows else 0

"""Streams that a simulated venue makes itself: candles, mark prices, liquidations and partial books.

::

    trades ─▶ kline_1m, kline_5m …         best prices ─▶ markPrice, !markPrice@arr, once a second
           └▶ forceOrder, each 500th       book ────────▶ depth5, depth10, depth20

Guarantees: only streams with a subscription are made; a candle that ended is sent once more, marked as closed.
Does not: imitate the prices of a real index: mark and index are the middle of the market.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from headrace.market.checks import UNITS_NS
from headrace.venues.simulated.market import Best, Trade
from headrace.venues.simulated.timeline import Moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.venues.simulated.market import Depth, Market

__all__ = ["AllMarks", "DerivedStreams"]

FUNDING_EVERY_MS = 8 * 3_600_000
FUNDING_RATE = "0.00010000"
LIQUIDATION_EACH = 500
# How often a candle, a mark price and a partial book are sent, ns.
CANDLE_EVERY_NS, MARK_EVERY_NS, PARTIAL_EVERY_NS = 250_000_000, 1_000_000_000, 100_000_000
PARTIAL_LEVELS = {"depth5": 5, "depth10": 10, "depth20": 20}


class _Candle(msgspec.Struct):
    """A candle while it is made; the fields are the venue's own."""

    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    first: int
    last: int
    volume: Decimal = Decimal(0)
    turnover: Decimal = Decimal(0)
    taker_volume: Decimal = Decimal(0)
    taker_turnover: Decimal = Decimal(0)
    sent_ns: int = 0

    def add(self, price: Decimal, size: Decimal, trade: Trade) -> None:
        self.high, self.low, self.close, self.last = max(self.high, price), min(self.low, price), price, trade.t
        self.volume += size
        self.turnover += price * size
        if not trade.m:
            self.taker_volume += size
            self.taker_turnover += price * size

    def event(self, symbol: str, interval: str, ms: int, *, is_closed: bool) -> dict[str, object]:
        texts = {
            "o": self.open,
            "c": self.close,
            "h": self.high,
            "l": self.low,
            "v": self.volume,
            "q": self.turnover,
            "V": self.taker_volume,
            "Q": self.taker_turnover,
        }
        end_ms = self.start_ms + UNITS_MS[interval] - 1
        candle = {"t": self.start_ms, "T": end_ms, "s": symbol, "i": interval, "f": self.first, "L": self.last}
        candle |= {key: f"{value:f}" for key, value in texts.items()}
        candle |= {"n": self.last - self.first + 1, "x": is_closed, "B": "0"}
        return {"e": "kline", "E": ms, "s": symbol, "k": candle}


def _interval_ms(interval: str) -> int:
    return int(interval[:-1]) * UNITS_NS[interval[-1]] // 1_000_000


UNITS_MS = {
    interval: _interval_ms(interval)
    for interval in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
}


class DerivedStreams:
    """What one market's moments bring about."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._is_futures = market.venue != "BINANCE"
        self._candles: dict[str, _Candle] = {}
        self._trades = 0
        # By stream: when it was sent last, ns.
        self._sent_ns: dict[str, int] = {}

    def after(self, ts_ns: int, event: Depth | Best | Trade | None, wanted: Iterable[str]) -> Iterator[Moment]:
        """Yield the moments that follow from an event. wanted : kinds of streams that have a subscription."""
        ms = ts_ns // 1_000_000
        for kind in wanted:
            if kind.startswith("kline_") and isinstance(event, Trade):
                for candle in self._candle(kind.removeprefix("kline_"), ts_ns, event):
                    yield self._moment(ts_ns, kind, candle)
            elif kind == "markPrice" and isinstance(event, Best) and self._is_due(kind, ts_ns, MARK_EVERY_NS):
                yield self._moment(ts_ns, kind, self._mark(ms, event))
            elif kind in PARTIAL_LEVELS and self._market.book and self._is_due(kind, ts_ns, PARTIAL_EVERY_NS):
                yield self._moment(ts_ns, kind, self._market.book.answer(PARTIAL_LEVELS[kind]))
        if isinstance(event, Trade):
            self._trades += 1
            if self._is_futures and self._trades % LIQUIDATION_EACH == 0:
                liquidation = self._moment(ts_ns, "forceOrder", self._liquidation(ms, event))
                yield liquidation
                # The stream of all symbols, !forceOrder@arr.
                yield liquidation._replace(symbol="")

    def mark_event(self, ms: int) -> dict[str, object] | None:
        """Return the mark price as its stream does; None before the first quote."""
        best = self._market.best
        return None if best is None else self._mark(ms, best)

    def mark(self, ms: int) -> dict[str, object] | None:
        """Return the mark price as REST does; None before the first quote."""
        mark = self.mark_event(ms)
        if mark is None:
            return None
        names = {"s": "symbol", "p": "markPrice", "i": "indexPrice", "r": "lastFundingRate", "T": "nextFundingTime"}
        return {name: mark[key] for key, name in names.items()} | {"time": ms}

    def funding(self, ms: int) -> dict[str, object] | None:
        """Return the newest settled funding as REST does; None before the first quote."""
        mark = self.mark_event(ms)
        if mark is None:
            return None
        settled_ms = ms - ms % FUNDING_EVERY_MS
        rates = {"fundingRate": FUNDING_RATE, "fundingTime": settled_ms, "markPrice": mark["p"]}
        return {"symbol": self._market.symbol, **rates}

    def _moment(self, ts_ns: int, kind: str, event: object) -> Moment:
        return Moment(ts_ns, self._market.venue, self._market.symbol, kind, msgspec.json.encode(event))

    def _is_due(self, kind: str, ts_ns: int, every_ns: int) -> bool:
        if ts_ns - self._sent_ns.get(kind, -every_ns) < every_ns:
            return False
        self._sent_ns[kind] = ts_ns
        return True

    def _candle(self, interval: str, ts_ns: int, trade: Trade) -> Iterator[dict[str, object]]:
        length_ms = UNITS_MS.get(interval)
        if length_ms is None:  # No such stream at this venue: nothing comes.
            return
        ms, symbol = ts_ns // 1_000_000, self._market.symbol
        price, size, start_ms = Decimal(trade.p), Decimal(trade.q), ms - ms % length_ms
        candle = self._candles.get(interval)
        if candle is not None and candle.start_ms != start_ms:
            yield candle.event(symbol, interval, ms, is_closed=True)
            candle = None
        if candle is None:
            candle = self._candles[interval] = _Candle(start_ms, price, price, price, price, trade.t, trade.t)
        candle.add(price, size, trade)
        if ts_ns - candle.sent_ns >= CANDLE_EVERY_NS:
            candle.sent_ns = ts_ns
            yield candle.event(symbol, interval, ms, is_closed=False)

    def _mark(self, ms: int, best: Best) -> dict[str, object]:
        middle = f"{(Decimal(best.b) + Decimal(best.a)) / 2:f}"
        next_ms = ms - ms % FUNDING_EVERY_MS + FUNDING_EVERY_MS
        prices = {"p": middle, "i": middle, "P": middle}
        return {"e": "markPriceUpdate", "E": ms, "s": self._market.symbol, **prices, "r": FUNDING_RATE, "T": next_ms}

    def _liquidation(self, ms: int, trade: Trade) -> dict[str, object]:
        side = "SELL" if trade.m else "BUY"
        order: dict[str, object] = {
            "s": self._market.symbol,
            "S": side,
            "o": "LIMIT",
            "f": "IOC",
            "q": trade.q,
            "p": trade.p,
        }
        order |= {"ap": trade.p, "X": "FILLED", "l": trade.q, "z": trade.q, "T": ms}
        return {"e": "forceOrder", "E": ms, "o": order}


class AllMarks:
    """The mark prices of all symbols of one market, as one array."""

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self._sent_ns = -MARK_EVERY_NS

    def at(self, ts_ns: int, listed: Iterable[DerivedStreams]) -> Moment | None:
        """Return the array that is due, as a moment without a symbol; None: none is."""
        if ts_ns - self._sent_ns < MARK_EVERY_NS:
            return None
        marks = [mark for own in listed if (mark := own.mark_event(ts_ns // 1_000_000)) is not None]
        if not marks:
            return None
        self._sent_ns = ts_ns
        return Moment(ts_ns, self._venue, "", "markPrice", msgspec.json.encode(marks))

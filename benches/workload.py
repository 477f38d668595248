"""The one workload of every bench: quotes, and a handler that adds ``(bid + ask) / 2`` to a sum and counts.

::

    bid[1,024], ask[1,024] ─┬▶ QuoteObject x 1,024, cycled   anchor A and the pure-Python ways
                            └▶ columns of n rows              ours, and peers that take arrays

Guarantees: prices are multiples of 1/64, so a sum is the same number in whatever order it is added up, and every way
can be held to it exactly. Nothing here needs headrace: the peers' own environment imports it too.
Does not: resemble a market. Sessions and recordings do that (``sessions``).
"""

from __future__ import annotations

import numpy as np

CYCLE = 1_024
PRICE_STEPS = 64
INSTRUMENTS = 100
TICKS_PER_ORDER = 1_000
# Of one instrument.
BARS_PER_ORDER = 1_000
MINUTE_NS = 60 * 10**9

_steps = np.random.default_rng(1).integers(-1, 2, CYCLE).cumsum()
BID = 100.0 + (_steps - 1) / PRICE_STEPS
ASK = 100.0 + (_steps + 1) / PRICE_STEPS
_PREFIX_SUMS = np.concatenate([[0.0], ((BID + ASK) / 2).cumsum()])


def expected_sum(ticks: int) -> float:
    """What a handler's sum must be after so many ticks."""
    cycles, rest = divmod(ticks, CYCLE)
    return float(cycles * _PREFIX_SUMS[CYCLE] + _PREFIX_SUMS[rest])


def columns(ticks: int) -> tuple[np.ndarray, np.ndarray]:
    """Bid and ask of so many ticks."""
    return np.resize(BID, ticks), np.resize(ASK, ticks)


def instrument_ids(ticks: int, instruments: int = INSTRUMENTS) -> np.ndarray:
    """Which instrument each tick is of: neither in order nor in runs."""
    jitter = np.random.default_rng(2).integers(0, 7, ticks)
    return ((np.arange(ticks) + jitter) % instruments).astype("u4")


def instrument_names(instruments: int = INSTRUMENTS) -> list[str]:
    """Their names, in the order of their ids."""
    return [f"S{number}USDT.BINANCE" for number in range(instruments)]


class QuoteObject:
    """A ready-made tick, as light as Python objects get."""

    __slots__ = ("ask", "ask_size", "bid", "bid_size", "flags", "instrument", "seq", "ts_event", "ts_init")

    def __init__(self, row: int, bid: float, ask: float) -> None:
        self.ts_event = row * 1_000
        self.ts_init = row * 1_000 + 500
        self.seq = row
        self.bid = bid
        self.ask = ask
        self.bid_size = 1.0
        self.ask_size = 1.0
        self.instrument = row % INSTRUMENTS
        self.flags = 0


def quote_objects() -> list[QuoteObject]:
    """One cycle of ready-made ticks: few enough to stay in the cache, which favours whoever reads them."""
    rows = zip(range(CYCLE), BID.tolist(), ASK.tolist(), strict=True)
    return [QuoteObject(row, bid, ask) for row, bid, ask in rows]


class Adder:
    """The handler everybody gets, on a ready-made object."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def on_tick(self, tick: QuoteObject) -> None:
        self.sum += (tick.bid + tick.ask) / 2
        self.count += 1


def check(handlers: list, ticks: int) -> None:
    """Refuse a time whose work was not done: every handler counted every tick and has the exact sum."""
    wanted = (ticks, expected_sum(ticks))
    for handler in handlers:
        got = (handler.count, handler.sum)
        assert got == wanted, f"{type(handler).__name__} counted and summed {got}, the ticks make {wanted}"


def candle_columns(minutes: int, instrument: int) -> dict[str, np.ndarray]:
    """Open, high, low, close and volume of an instrument's first minutes, which follow each other without a jump."""
    close = np.resize(np.roll(BID, instrument), minutes)
    opened = np.concatenate([close[:1], close[:-1]])
    step = 1 / PRICE_STEPS
    high, low = np.maximum(opened, close) + step, np.minimum(opened, close) - step
    return {"open": opened, "high": high, "low": low, "close": close, "volume": np.full(minutes, 1_000.0)}


def closes_sum(minutes: int, instruments: int) -> float:
    """What the closes of all candles add up to, in any order."""
    return float(sum(candle_columns(minutes, own)["close"].sum() for own in range(instruments)))

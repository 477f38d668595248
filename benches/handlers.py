"""The workload as Headrace gets it: quotes as arrays, and the handlers in each of their forms."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

import numpy as np

import headrace
from benches.workload import INSTRUMENTS, columns, instrument_ids, instrument_names

# A Monday; any time will do.
START_NS = 1_767_571_200 * 10**9
# Between two quotes that each have a time of their own.
STEP_NS = 1_000
IDLE = "IDLE.BINANCE"
# Gates that let every order of a bench pass.
LIMITS = headrace.RiskLimits(
    quantity_max=Decimal(100),
    notional_max=Decimal(1_000_000),
    price_collar=Decimal("0.9"),
    open_orders_max=10_000,
    message_rate_max=1e9,
    stale_after_s=3_600.0,
)
# Recorded seconds per second.
FAST = 1e9


class PerQuote(headrace.Strategy):
    """Two fields as arguments, once a tick."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.sum += (bid_price + ask_price) / 2
        self.count += 1


class PerTick(headrace.Strategy):
    """The whole record, of which two fields are read."""

    subscription: ClassVar[Mapping[str, object]] = {"kinds": ["quote"]}

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def on_tick(self, tick) -> None:
        self.sum += (tick.bid_price + tick.ask_price) / 2
        self.count += 1


class PerBatch(headrace.Strategy):
    """Columns."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def on_quotes(self, bid_price: np.ndarray, ask_price: np.ndarray) -> None:
        self.sum += float(((bid_price + ask_price) / 2).sum())
        self.count += len(bid_price)


class Idle(PerQuote):
    """Subscribed to an instrument that never ticks."""

    subscription: ClassVar[Mapping[str, object]] = {"instruments": IDLE}


@cache
def quotes(count: int, instruments: int = INSTRUMENTS, *, step_ns: int = 1, venue_numbers: bool = True) -> np.ndarray:
    """Return so many quotes, ``step_ns`` apart, of the instruments that ``instrument_names(instruments)`` names.

    venue_numbers : each quote has one, which the sequencer checks.
    """
    bid, ask = columns(count)
    return headrace.ticks(
        instrument=instrument_ids(count, instruments),
        instruments=instrument_names(instruments),
        ts_init=START_NS + step_ns * np.arange(count),
        venue_seq=np.arange(1, count + 1) if venue_numbers else None,
        kind="quote",
        bid_price=bid,
        ask_price=ask,
        bid_size=np.full(count, 10.0),
        ask_size=np.full(count, 10.0),
    )


def own_times(count: int) -> np.ndarray:
    """Return so many quotes, each with a receive time of its own."""
    return quotes(count, step_ns=STEP_NS)


def saturated(feed: Any, strategy: headrace.Strategy, folder: str) -> headrace.Engine:
    """Return a live engine whose feed is over as fast as its ticks are handled. folder : for its state."""
    return headrace.Engine(
        feeds=[feed],
        strategies=[strategy],
        instruments=instrument_names(),
        speed=FAST,
        on_fault="raise",
        state_folder=folder,
    )

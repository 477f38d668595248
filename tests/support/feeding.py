"""Ticks, clocks and checks that many tests share.

Guarantees: everything goes through the public face.
Does not: replace any part of Headrace; these are inputs and checks, not fakes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from headrace import Dispatcher, Flags, Subscription, SubscriptionStats, ticks

BTC = "BTCUSDT.BINANCE"
ETH = "ETHUSDT.BINANCE"
# A reader that nothing woke would look by itself 50 ms after it fell asleep.
WOKEN_S = 0.02


class HandClock:
    """A live clock that a test moves by hand."""

    def __init__(self, now_ns: int = 0) -> None:
        self.at_ns = now_ns

    def now_ns(self) -> int:
        return self.at_ns


def quotes(
    dispatcher: Dispatcher,
    bids: Iterable[float],
    *,
    instrument: str = BTC,
    ts_init: Iterable[int] | int = 0,
    **more: Any,
) -> np.ndarray:
    """Quotes with these bids; the ask is one higher."""
    bid = np.asarray(list(bids), "f8")
    times = np.full(len(bid), ts_init, "i8") if isinstance(ts_init, int) else np.asarray(list(ts_init), "i8")
    return ticks(
        instrument=instrument,
        ts_init=times,
        instruments=dispatcher.instruments,
        **{"bid_price": bid, "ask_price": bid + 1, "bid_size": 1.0, "ask_size": 1.0, **more},
    )


def trades(
    dispatcher: Dispatcher,
    prices: Iterable[float],
    *,
    instrument: str = BTC,
    ts_init: Iterable[int] | int = 0,
    **more: Any,
) -> np.ndarray:
    """Trades at these prices, of size 1."""
    price = np.asarray(list(prices), "f8")
    times = np.full(len(price), ts_init, "i8") if isinstance(ts_init, int) else np.asarray(list(ts_init), "i8")
    return ticks(
        instrument=instrument,
        ts_init=times,
        instruments=dispatcher.instruments,
        kind="trade",
        **{"price": price, "size": 1.0, **more},
    )


def level_event(
    dispatcher: Dispatcher, count: int, *, instrument: str = BTC, ts_init: int = 0, snapshot: bool = False
) -> np.ndarray:
    """Return one event of ``count`` levels, with prices 0, 1, 2, …"""
    event = ticks(
        instrument=instrument,
        ts_init=np.full(count, ts_init),
        instruments=dispatcher.instruments,
        kind="level",
        price=np.arange(count, dtype="f8"),
        size=1.0,
    )
    event["flags"] &= ~np.uint16(Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT)
    event["flags"][0] |= Flags.FIRST_IN_EVENT
    event["flags"][-1] |= Flags.LAST_IN_EVENT
    if snapshot:
        event["flags"] |= np.uint16(Flags.SNAPSHOT)
    return event


def holds_the_law(stats: SubscriptionStats) -> bool:
    """The loss law, exactly."""
    return stats.published == stats.accounted


def wait_until(done: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Check again until a condition holds; fail when it does not hold in time."""
    end_s = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.0005)


def usual_wait_s(dispatcher: Dispatcher, taken: Callable[[], int], laps: int) -> float:
    """Publish quotes 0, 1, 2, …, each to a reader that sleeps; return how long one usually waits to be taken, s.

    taken : how many were. The median, since others use the machine, too.
    """
    waits_s = []
    for lap in range(laps):
        began_s = time.monotonic()
        dispatcher.publish(quotes(dispatcher, [float(lap)]))
        wait_until(lambda: taken() > lap)  # noqa: B023 - called at once
        waits_s.append(time.monotonic() - began_s)
        time.sleep(0.002)  # Long enough for the reader to sleep again.
    return statistics.median(waits_s)


def read_all(subscription: Subscription, batch: int = 4_096) -> np.ndarray:
    """Read all ticks that a pull subscription holds now."""
    from headrace import TICK_DTYPE

    out = np.zeros(batch, TICK_DTYPE)
    parts = []
    while count := subscription.read_into(out):
        parts.append(out[:count].copy())
    return np.concatenate(parts) if parts else out[:0].copy()


def python(code: str, *arguments: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process; a hang is an error."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )

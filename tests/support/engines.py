"""What tests of engines share: a market, limits that let orders pass, and strategies that record their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from headrace import Engine, Instrument, RiskLimits, Strategy, StrategySpec
from headrace.feeds import ArrayFeed
from headrace.feeds.base import FeedItem
from headrace.market.clock import ModeName
from headrace.market.events import Bar, Event, OrderEvent, OrderFill, Signal
from headrace.strategies.timers import Timer
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.feeding import BTC, ETH

SECOND = 1_000_000_000
# Recorded seconds per second of a live engine. Any faster, quotes would be stale before a turn ends.
FAST = 1_000.0
# A Monday; any time will do.
START = 1_767_571_200 * SECOND
LIMITS = RiskLimits(
    quantity_max=Decimal(100),
    notional_max=Decimal(1_000_000),
    price_collar=Decimal("0.9"),
    open_orders_max=1_000,
    message_rate_max=100_000.0,
    stale_after_s=3_600.0,
)
INSTRUMENTS = [Instrument(name, price_tick=Decimal("0.01"), lot_size=Decimal("0.001")) for name in (BTC, ETH)]


def market(
    bids: Iterable[float],
    *,
    instrument: str = BTC,
    every_ns: int = SECOND // 10,
    start_ns: int = START,
    size: float = 10.0,
    names: Sequence[str] = (BTC, ETH),
) -> np.ndarray:
    """Quotes with these bids, asks one higher, in equal steps of time. names : the table of instruments."""
    from headrace import Instruments, ticks

    bid = np.asarray(list(bids), "f8")
    return ticks(
        instrument=instrument,
        ts_init=start_ns + every_ns * np.arange(len(bid)),
        instruments=Instruments(list(names)),
        kind="quote",
        bid_price=bid,
        ask_price=bid + 1,
        bid_size=size,
        ask_size=size,
    )


class Recorder(Strategy):
    """Keeps the arguments of each callback; at quote number n it runs ``acts[n]``."""

    def __init__(self, acts: dict[int, Any] | None = None) -> None:
        self.acts = acts or {}
        self.calls: list[str] = []
        self.quotes: list[int] = []
        self.gaps: list[int] = []
        self.bars_seen: list[Bar] = []
        self.signals: list[Signal] = []
        self.orders: list[OrderEvent] = []
        self.fills: list[OrderFill] = []
        self.timers: list[Timer] = []
        self.loaded: object = None

    def on_start(self) -> None:
        self.calls.append("start")

    def on_stop(self) -> None:
        self.calls.append("stop")

    def on_pause(self) -> None:
        self.calls.append("pause")

    def on_resume(self) -> None:
        self.calls.append("resume")

    def on_save(self) -> object:
        self.calls.append("save")
        return {"quotes": len(self.quotes)}

    def on_load(self, state: object) -> None:
        self.calls.append("load")
        self.loaded = state

    def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
        self.quotes.append(seq)
        if seq in self.acts:
            self.acts[seq](self)

    def on_gap(self, missing: int | None) -> None:
        self.gaps.append(missing or 0)

    def on_bar(self, bar: Bar) -> None:
        self.bars_seen.append(bar)

    def on_signal(self, signal: Signal) -> None:
        self.signals.append(signal)

    def on_order(self, event: OrderEvent) -> None:
        self.orders.append(event)

    def on_fill(self, fill: OrderFill) -> None:
        self.fills.append(fill)

    def on_timer(self, timer: Timer) -> None:
        self.timers.append(timer)


def engine_over(
    ticks: np.ndarray | Sequence[np.ndarray],
    strategies: Sequence[StrategySpec | Strategy | type[Strategy]] = (),
    *,
    mode: ModeName = "replay",
    **options: Any,
) -> Engine:
    """An engine over arrays, with a broker that fills and limits that let orders pass."""
    feeds = [ArrayFeed(own) for own in ([ticks] if isinstance(ticks, np.ndarray) else ticks)]
    defaults: dict[str, Any] = {
        "broker": SimulatedBroker(),
        "instruments": INSTRUMENTS,
        "limits": LIMITS,
    }
    return Engine(feeds=feeds, strategies=list(strategies), mode=mode, **{**defaults, **options})


def at_first_quote(act: Callable[[Recorder], object]) -> tuple[str, Recorder]:
    """Replay three quotes with a strategy that acts at the first one.

    Returns the error of the act as "Type: text", or an empty text; and the strategy, with its orders and fills.
    """
    errors = []

    def attempt(strategy: Recorder) -> None:
        try:
            act(strategy)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(f"{type(error).__name__}: {error}")

    strategy = Recorder({1: attempt})
    engine_over(market([100] * 3), [strategy]).run()
    return "".join(errors), strategy


def all_events(engine: Engine) -> list[Event]:
    """Return a list that gets every event of an engine's bus; call it before the engine runs."""
    events: list[Event] = []
    engine.bus.subscribe(Event, events.append, name="test")
    return events


def audit_lines(path: Path) -> list[bytes]:
    """The lines of an audit file without its header."""
    return path.read_bytes().splitlines()[1:]


class HandFeed:
    """A live feed that yields what a test puts into it, until it is ended: ticks, or frames of its venue."""

    name = "hand"
    venue: str | None = None
    is_live = True

    def __init__(self) -> None:
        self._items: asyncio.Queue[Any] = asyncio.Queue()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def put(self, item: FeedItem) -> None:
        self._items.put_nowait(item)

    def end(self) -> None:
        self._items.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (item := await self._items.get()) is not None:
            yield item


async def until(done: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Let the loop run until a condition holds; fail when it does not hold in time."""
    async with asyncio.timeout(within_s):
        while not done():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)

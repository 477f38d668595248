"""What the tests of the event bus share: events of each lane, and handlers that remember.

Guarantees: an event's number is in its text, so a test can read the order.
Does not: stand in for any part of the bus.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from headrace.bus.lane import LANE_OPTIONS, LaneOptions
from headrace.market.events import Bar, Control, Event, Lane, OrderCanceled, OrderRequested, Signal, Status

BTC = "BTCUSDT.BINANCE"
S = 1_000_000_000


def event_of(lane: Lane, number: int = 0, **more: Any) -> Event:
    """Return an event of this lane."""
    if lane is Lane.CONTROL:
        return Control(name=str(number), **more)
    if lane is Lane.ORDER:
        return OrderCanceled(order_id=str(number), strategy="s", instrument=BTC, left=Decimal(0), **more)
    if lane is Lane.SIGNAL:
        return Signal(instrument=BTC, side=1, reason=str(number), **more)
    return Status(subject=str(number), state="up", **more)


def number_of(event: Event) -> int:
    """Return the number of an event; -1 without one."""
    match event:
        case Control(name=text) | OrderCanceled(order_id=text) | Signal(reason=text) | Status(subject=text):
            return int(text) if text.isdigit() else -1
        case _:
            return -1


def signal(number: int = 0, **more: Any) -> Signal:
    return Signal(instrument=BTC, side=1, reason=str(number), **more)


def status(number: int = 0, **more: Any) -> Status:
    return Status(subject=str(number), state="up", **more)


def bar(number: int = 0, **more: Any) -> Bar:
    prices: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), float(number))
    return Bar(
        instrument=BTC, timeframe="1s", price="trade", volume=0.0, count=1, ts_open=0, ts_close=S, **prices, **more
    )


def order(number: int = 0, **more: Any) -> OrderRequested:
    return OrderRequested(
        order_id=str(number), strategy="s", instrument=BTC, side=1, order_type="market", quantity=Decimal(1), **more
    )


def lanes(**capacities: int) -> dict[Lane, LaneOptions]:
    """The usual lanes with other capacities, by the lane's name."""
    return {
        Lane(name): LaneOptions(
            capacity=capacity,
            full=LANE_OPTIONS[Lane(name)].full,
            max_attempts=LANE_OPTIONS[Lane(name)].max_attempts,
            growth_max=LANE_OPTIONS[Lane(name)].growth_max,
        )
        for name, capacity in capacities.items()
    }


class Notes:
    """A handler that keeps the numbers of its events, and fails on some of them."""

    def __init__(
        self, name: str = "", log: list[tuple[str, int]] | None = None, fails_on: set[int] | None = None
    ) -> None:
        self.name = name
        self.log = [] if log is None else log
        self.fails_on = fails_on or set()

    def take(self, event: Event) -> None:
        number = number_of(event)
        self.log.append((self.name, number))
        if number in self.fails_on:
            raise ValueError(f"no {number}")

    async def take_async(self, event: Event) -> None:
        self.take(event)

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.log]

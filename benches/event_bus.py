"""Events through an ``EventBus``: 1,024 ready-made ones at a time, to plain handlers.

events ─▶ publish_nowait ─▶ lane ─▶ drain ─▶ handler(event)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from benches.bench import Work
from benches.workload import ASK, BID, CYCLE, Adder, check
from headrace.bus import EventBus
from headrace.bus.lane import LaneOptions
from headrace.market.events import Event, Lane


class QuoteEvent(Event, frozen=True, kw_only=True):
    """The anchor's object as an event."""

    bid: float
    ask: float


class QuoteAdder(Adder):
    """The anchor's handler; the event has the same two fields."""

    def on_quote_event(self, event: QuoteEvent) -> None:
        self.sum += (event.bid + event.ask) / 2
        self.count += 1


@cache
def events(*, stamped: bool) -> list[QuoteEvent]:
    """Return one cycle of ready-made events; the bus stamps those that have no ``ts``."""
    pairs = zip(range(CYCLE), BID.tolist(), ASK.tolist(), strict=True)
    return [QuoteEvent(ts=row + 1 if stamped else 0, bid=bid, ask=ask) for row, bid, ask in pairs]


def a_bus() -> EventBus:
    """Return a bus whose data lane holds a cycle."""
    bus = EventBus(lanes={Lane.DATA: LaneOptions(capacity=CYCLE, full="drop_oldest")})
    bus.declare(QuoteEvent, Lane.DATA)
    return bus


def through_bus(count: int, subscribers: int = 1, *, stamped: bool = True, alone: bool = False) -> Iterator[Work]:
    """Publish and drain ``count`` events. alone : each is drained before the next is published."""
    bus = a_bus()
    adders = [QuoteAdder() for _ in range(subscribers)]
    for adder in adders:
        bus.subscribe(QuoteEvent, adder.on_quote_event)
    publish, drain, cycle = bus.publish_nowait, bus.drain, events(stamped=stamped)

    def work() -> None:
        for _ in range(count // CYCLE):
            for event in cycle:
                publish(event)
                if alone:
                    drain()
            drain()

    yield work
    check(adders, count)

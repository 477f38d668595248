"""nautilus_trader: MessageBus (Cython), ready-made objects published to one of 100 topics, a bound method for each.

Tuned: topics are resolved before the clock starts, and the objects are the bare loop's own, so that no price is built.
"""

from __future__ import annotations

from collections.abc import Iterator

from nautilus_trader.common.component import MessageBus, TestClock  # type: ignore[import-not-found]
from nautilus_trader.model.identifiers import TraderId  # type: ignore[import-not-found]

from benches.bench import Work
from benches.workload import CYCLE, INSTRUMENTS, Adder, check, quote_objects


def message_bus(count: int) -> Iterator[Work]:
    """Publish ``count`` messages to one subscriber."""
    bus = MessageBus(trader_id=TraderId("TRADER-001"), clock=TestClock())
    topics = [f"data.quotes.SIM.S{number:03d}" for number in range(INSTRUMENTS)]
    adder = Adder()
    for topic in topics:
        bus.subscribe(topic, adder.on_tick)
    objects = quote_objects()
    cycle = [(topics[quote.instrument], quote) for quote in objects]
    for topic in topics:
        bus.publish(topic, objects[0])
    adder.sum, adder.count = 0.0, 0
    publish = bus.publish

    def work() -> None:
        for _ in range(count // CYCLE):
            for topic, quote in cycle:
                publish(topic, quote)

    yield work
    check([adder], count)

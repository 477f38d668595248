"""The event bus of the tutorials: events by type, three asyncio queues, a dispatching task each, async handlers.

Tuned: events have ``__slots__``; the market queue is filled and emptied without awaiting while it can be; handlers are
looked up once per event. Every hundredth tick causes a signal and the signal an order, so that all three queues work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from benches.bench import Work
from benches.workload import CYCLE, Adder, QuoteObject, check, quote_objects

SLOTS = 1_024
TICKS_PER_SIGNAL = 100


class MarketEvent:
    __slots__ = ("tick",)

    def __init__(self, tick: QuoteObject) -> None:
        self.tick = tick


class SignalEvent:
    __slots__ = ("side",)

    def __init__(self, side: int) -> None:
        self.side = side


class OrderEvent:
    __slots__ = ("side", "size")

    def __init__(self, side: int, size: float) -> None:
        self.side = side
        self.size = size


Event = MarketEvent | SignalEvent | OrderEvent
Handler = Callable[[Event], Awaitable[None]]


class EventBus:
    """Three queues and who listens to them."""

    def __init__(self) -> None:
        self.queues: dict[type, asyncio.Queue[Event]] = {
            MarketEvent: asyncio.Queue(SLOTS),
            SignalEvent: asyncio.Queue(),
            OrderEvent: asyncio.Queue(),
        }
        self.handlers: dict[type, list[Handler]] = {event_type: [] for event_type in self.queues}

    async def dispatch(self, event_type: type) -> None:
        queue, handlers = self.queues[event_type], self.handlers[event_type]
        while True:
            event = await queue.get()
            for handler in handlers:
                await handler(event)
            queue.task_done()


def asyncio_event_bus(count: int, strategies: int = 1) -> Iterator[Work]:
    """Send ``count`` ticks to all handlers of one market queue."""
    ticks = quote_objects()
    adders = [Adder() for _ in range(strategies)]
    with asyncio.Runner() as runner:
        runner.get_loop()
        orders: list[OrderEvent] = []
        yield lambda: runner.run(_session(ticks, count, adders, orders))
    check(adders, count)
    assert len(orders) == count // TICKS_PER_SIGNAL * strategies, f"{len(orders)} orders came through"


async def _session(ticks: list[QuoteObject], count: int, adders: list[Adder], orders: list[OrderEvent]) -> None:
    bus = EventBus()
    signals, order_queue = bus.queues[SignalEvent], bus.queues[OrderEvent]

    def market_handler(adder: Adder) -> Handler:
        async def on_market(event: Event) -> None:
            assert isinstance(event, MarketEvent)
            adder.on_tick(event.tick)
            if adder.count % TICKS_PER_SIGNAL == 0:
                signals.put_nowait(SignalEvent(1))

        return on_market

    async def on_signal(_: Event) -> None:
        order_queue.put_nowait(OrderEvent(1, 1.0))

    async def on_order(event: Event) -> None:
        assert isinstance(event, OrderEvent)
        orders.append(event)

    bus.handlers[MarketEvent] = [market_handler(adder) for adder in adders]
    bus.handlers[SignalEvent].append(on_signal)
    bus.handlers[OrderEvent].append(on_order)
    market = bus.queues[MarketEvent]
    tasks = [asyncio.create_task(bus.dispatch(event_type)) for event_type in bus.queues]
    for _ in range(count // CYCLE):
        for tick in ticks:
            if market.full():
                await market.put(MarketEvent(tick))
            else:
                market.put_nowait(MarketEvent(tick))
    for queue in bus.queues.values():
        await queue.join()
    for task in tasks:
        task.cancel()

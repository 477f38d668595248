"""The event bus beside a bare loop, beside the asyncio bus that does the same, and beside nautilus_trader's.

Beside the asyncio bus every hundredth event causes a signal and the signal an order, there as here.
Does not: measure async handlers against plain ones, or a bus under an engine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from decimal import Decimal

import headrace
from benches.baselines.asyncio_event_bus import TICKS_PER_SIGNAL, asyncio_event_bus
from benches.baselines.bare_loop import bare_loop
from benches.bench import Bench, Row, Work, peer, wall
from benches.event_bus import QuoteAdder, QuoteEvent, a_bus, events, through_bus
from benches.handlers import quotes
from benches.workload import CYCLE, check, instrument_names
from headrace.bus import EventBus
from headrace.market.events import Event, Lane, OrderCanceled, Signal

EVENTS_PER_S = 1_000
LATENCY_S = 0.5
NOTHING = Decimal(0)


class Ignores(headrace.Strategy):
    def on_quote(self, bid_price: float) -> None:
        pass


def with_signals(count: int) -> Iterator[Work]:
    """Do the work of the asyncio bus: every hundredth event causes a signal, and the signal an order."""
    bus, adder, orders = a_bus(), QuoteAdder(), [0]

    def on_market(event: QuoteEvent) -> None:
        adder.on_quote_event(event)
        if adder.count % TICKS_PER_SIGNAL == 0:
            bus.publish_nowait(Signal(ts=1, instrument="S0USDT.BINANCE", side=1))

    def on_signal(_: Signal) -> None:
        bus.publish_nowait(OrderCanceled(ts=1, order_id="1", strategy="s", instrument="S0USDT.BINANCE", left=NOTHING))

    def on_order(_: Event) -> None:
        orders[0] += 1

    bus.subscribe(QuoteEvent, on_market)
    bus.subscribe(Signal, on_signal)
    bus.subscribe(OrderCanceled, on_order)
    publish, drain, cycle = bus.publish_nowait, bus.drain, events(stamped=True)

    def work() -> None:
        for _ in range(count // CYCLE):
            for event in cycle:
                publish(event)
            drain()

    yield work
    check([adder], count)
    assert orders[0] == count // TICKS_PER_SIGNAL, f"{orders[0]} orders came through"


async def beside_ticks(late_s: list[float]) -> None:
    """Note the time from an event's publish to its handler, while ticks take every slice of the loop they can get."""
    bus = EventBus()
    bus.declare(QuoteEvent, Lane.DATA)
    bus.subscribe(QuoteEvent, lambda event: late_s.append(time.perf_counter() - event.bid))
    await bus.start()
    with headrace.Dispatcher(instruments=instrument_names()) as dispatcher:
        dispatcher.subscribe(Ignores())
        burst = quotes(CYCLE)
        started, published = time.perf_counter(), 0
        while (now := time.perf_counter() - started) < LATENCY_S:
            dispatcher.publish(burst)
            dispatcher.dispatch(max_ns=200_000)
            while published < now * EVENTS_PER_S:
                at = time.perf_counter()
                bus.publish_nowait(QuoteEvent(ts=1, bid=at, ask=at))
                published += 1
            await asyncio.sleep(0)
        await bus.wait_until_idle()
    assert len(late_s) == published
    await bus.shutdown()


class TestEventBus:
    """Times are per event."""

    rows = (
        Row("", "event bus, 1 plain subscriber", "one", "bare_loop"),
        Row("", "event bus, 1 plain subscriber", "one", "asyncio_event_bus", at_least=5.0),
        Row("", "event bus, 1 plain subscriber", "one", "nautilus_message_bus", at_least=3.0),
        Row("", "event bus, 1 plain subscriber, signals and orders", "signals", "asyncio_event_bus"),
        Row("", "event bus, 16 plain subscribers", "sixteen", "bare_loop_over_16"),
        Row("", "event bus, each event drained alone", "alone", "bare_loop"),
        Row("", "event bus, each event stamped by the bus", "stamped", "bare_loop"),
    )

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 2)(bare_loop, bench.size.calls // 2)

    def test_bare_loop_over_16(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(bare_loop, bench.size.calls // 8, 16)

    def test_asyncio_event_bus(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(asyncio_event_bus, bench.size.calls // 8)

    def test_one(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 2)(through_bus, bench.size.calls // 2)

    def test_sixteen(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(through_bus, bench.size.calls // 8, 16)

    def test_alone(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(through_bus, bench.size.calls // 8, alone=True)

    def test_stamped(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(through_bus, bench.size.calls // 8, stamped=False)

    def test_signals(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(with_signals, bench.size.calls // 8)

    @peer("nautilus_trader")
    def test_nautilus_message_bus(self, bench: Bench) -> None:
        from benches.peers.nautilus_bus import message_bus

        bench.items(bench.size.calls // 4)(message_bus, bench.size.calls // 4)


@wall
class TestBesideTicks:
    """1,000 events a second beside ticks that take all the time there is."""

    rows = (Row("", "event's mean latency beside ticks", "latency", at_most=10.0, unit="ms", figure="latency_ms"),)

    def test_latency(self, bench: Bench) -> None:
        late_s: list[float] = []

        def case() -> Iterator[Work]:
            yield lambda: asyncio.run(beside_ticks(late_s))

        bench(case)
        bench.note("latency_ms", statistics.fmean(late_s) * 1e3)

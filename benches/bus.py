"""The event bus beside a bare loop, and beside the asyncio bus with three queues that does the same.

    events, 1,024 at a time ─▶ publish_nowait ─▶ lane ─▶ drain ─▶ handler(event)

Guarantees: every handler gets every event and has the exact sum. Events are ready made and say their ``ts``, as the
bare loop's objects are; a row of its own shows what the bus's stamp costs. Beside the asyncio bus every hundredth event
causes a signal and the signal an order, there as here.
Does not: measure async handlers against plain ones, or a bus under an engine.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from decimal import Decimal
from functools import cache, partial

import headrace
from benches.baselines.asyncio_event_bus import TICKS_PER_SIGNAL, asyncio_event_bus
from benches.baselines.bare_loop import bare_loop
from benches.fan_out import quotes
from benches.harness import Case, Patience, Row, Span, Timer, interleave, rate
from benches.workload import ASK, BID, CYCLE, Adder, check, instrument_names, quote_objects
from headrace.bus import EventBus
from headrace.bus.lane import LaneOptions
from headrace.market.events import Event, Lane, OrderCanceled, Signal

ANCHOR = "bare loop (A)"
EVENTS_PER_S = 1_000
LATENCY_S = 2.0
IDLE_BUSES = 64
NOTHING = Decimal(0)


class QuoteEvent(Event, frozen=True, kw_only=True):
    """The anchor's object as an event."""

    bid: float
    ask: float


class QuoteAdder(Adder):
    """The anchor's handler; the event has the same two fields."""

    def on_quote_event(self, event: QuoteEvent) -> None:
        self.sum += (event.bid + event.ask) / 2
        self.count += 1


class Ignores(headrace.Strategy):
    def on_quote(self, bid_price: float) -> None:
        pass


@cache
def events(*, stamped: bool) -> list[QuoteEvent]:
    """One cycle of ready-made events."""
    pairs = zip(range(CYCLE), BID.tolist(), ASK.tolist(), strict=True)
    return [QuoteEvent(ts=row + 1 if stamped else 0, bid=bid, ask=ask) for row, bid, ask in pairs]


def a_bus() -> EventBus:
    """A bus whose data lane holds a cycle."""
    bus = EventBus(lanes={Lane.DATA: LaneOptions(capacity=CYCLE, full="drop_oldest")})
    bus.declare(QuoteEvent, Lane.DATA)
    return bus


def through_bus(count: int, subscribers: int = 1, *, stamped: bool = True, alone: bool = False) -> Span:
    """Time per event. alone : each is drained before the next is published."""
    bus = a_bus()
    adders = [QuoteAdder() for _ in range(subscribers)]
    for adder in adders:
        bus.subscribe(QuoteEvent, adder.on_quote_event)
    publish, drain, cycle = bus.publish_nowait, bus.drain, events(stamped=stamped)
    with Timer() as timer:
        for _ in range(count // CYCLE):
            for event in cycle:
                publish(event)
                if alone:
                    drain()
            drain()
    check(adders, count)
    return timer.per(count)


def with_signals(count: int) -> Span:
    """The work of the asyncio bus: every hundredth event causes a signal, and the signal an order."""
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
    with Timer() as timer:
        for _ in range(count // CYCLE):
            for event in cycle:
                publish(event)
            drain()
    check([adder], count)
    assert orders[0] == count // TICKS_PER_SIGNAL, f"{orders[0]} orders came through"
    return timer.per(count)


async def latency_beside_ticks() -> float:
    """Mean time from an event's publish to its handler, ms, while ticks take every slice of the loop they can get."""
    bus, late = EventBus(), list[float]()
    bus.declare(QuoteEvent, Lane.DATA)
    bus.subscribe(QuoteEvent, lambda event: late.append(time.perf_counter() - event.bid))
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
    assert len(late) == published
    await bus.shutdown()
    return statistics.fmean(late) * 1e3


def idle_kib() -> float:
    """What a bus costs that nobody uses, KiB of resident memory."""
    before = _resident_kib()
    buses = [a_bus() for _ in range(IDLE_BUSES)]
    return max(0.0, _resident_kib() - before) / len(buses)


def _resident_kib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize() / 1_024


def rows(calls: int, rounds: int, patience: Patience) -> list[Row]:
    """Return the rows of the table."""
    objects = quote_objects()
    few, calls = max(CYCLE, calls // 8), max(CYCLE, calls // 2)
    kib = idle_kib()
    cases = [
        Case(ANCHOR, partial(bare_loop, objects, calls)),
        Case("A to 16", partial(bare_loop, objects, few, 16)),
        Case("asyncio", partial(asyncio_event_bus, objects, few)),
        Case("one", partial(through_bus, calls)),
        Case("sixteen", partial(through_bus, few, 16)),
        Case("alone", partial(through_bus, few, alone=True)),
        Case("stamped", partial(through_bus, few, stamped=False)),
        Case("signals", partial(with_signals, few)),
    ]
    result = interleave(cases, rounds, patience)

    def row(name: str, what: str, to: str, target: float | None = None) -> Row:
        against = {"A": ANCHOR, "the asyncio bus": "asyncio"}.get(to, to)
        return Row("", f"event bus, {what}", rate(result.median_ns(name)), result.speed(name, against), to, target)

    latency_ms = statistics.median(asyncio.run(latency_beside_ticks()) for _ in range(3))
    return [
        row("one", "1 plain subscriber", "A"),
        row("one", "1 plain subscriber", "the asyncio bus", 5.0),
        row("signals", "1 plain subscriber, signals and orders", "the asyncio bus"),
        row("sixteen", "16 plain subscribers", "A to 16"),
        row("alone", "each event drained alone", "A"),
        row("stamped", "each event stamped by the bus", "A"),
        Row(
            "",
            "mean latency at 1,000 events/s beside saturating ticks",
            f"{latency_ms:.2f} ms",
            latency_ms,
            "ms",
            10.0,
            at_most=True,
        ),
        Row("", "memory of an idle bus", f"{kib:.0f} KiB", kib / 1_024, "MiB", 2.0, at_most=True),
    ]

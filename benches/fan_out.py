"""Ticks through sequencer, ring and dispatcher to 1, 4, 16 and 64 strategies, beside the pure-Python ways.

    ticks, 1,024 at a time ─▶ publish ─▶ dispatch ─▶ on_quote(bid_price, ask_price)     rows 1 and 2
                                                    on_tick(tick)                      row 3
                                                    on_quotes(bid_price, ask_price)    row 4

Every tick carries a venue number for the sequencer to check, belongs to one of 100 instruments, and is new memory: the
anchor's objects stay in the cache, ours do not. A fan-out is compared with the bare loop over as many handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import ClassVar

import numpy as np

import headrace
from benches.baselines.across_threads import deque_event, queue_queue
from benches.baselines.asyncio_event_bus import asyncio_event_bus
from benches.baselines.asyncio_queue import asyncio_queue
from benches.baselines.bare_loop import bare_loop
from benches.harness import Case, Patience, Rounds, Row, Span, Timer, interleave, rate
from benches.workload import CYCLE, INSTRUMENTS, check, columns, instrument_ids, instrument_names, quote_objects

FAN_OUTS = (1, 4, 16, 64)
BATCHES = (64, 256, 1_024)
ANCHOR = "bare loop (A)"


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


@cache
def quotes(count: int, instruments: int = INSTRUMENTS) -> np.ndarray:
    """An array of so many quotes, for a dispatcher that knows ``instrument_names(instruments)``."""
    bid, ask = columns(count)
    return headrace.ticks(
        instrument=instrument_ids(count, instruments),
        instruments=instrument_names(instruments),
        ts_init=np.arange(count),
        venue_seq=np.arange(1, count + 1),
        bid_price=bid,
        ask_price=ask,
        bid_size=np.ones(count),
        ask_size=np.ones(count),
    )


def through_ring(
    strategy: Callable[[], headrace.Strategy],
    count: int,
    strategies: int = 1,
    *,
    batch: int = CYCLE,
    instruments: int = INSTRUMENTS,
    bystanders: int = 0,
) -> Span:
    """Time per tick; ``bystanders`` are subscribed to an instrument that never ticks."""
    ticks = quotes(count, instruments)
    names = [*instrument_names(instruments), "IDLE.BINANCE"]
    with headrace.Dispatcher(instruments=names, instruments_max=max(16, len(names))) as dispatcher:
        handlers = [strategy() for _ in range(strategies)]
        for handler in handlers:
            dispatcher.subscribe(handler, batch_max=batch)
        for _ in range(bystanders):
            dispatcher.subscribe(strategy(), instruments="IDLE.BINANCE")
        with Timer() as timer:
            for start in range(0, count, batch):
                dispatcher.publish(ticks[start : start + batch])
                dispatcher.dispatch()
    check(handlers, count)
    return timer.per(count)


def _sizes(calls: int) -> Iterable[tuple[int, int]]:
    """How many ticks at which fan-out, so that each takes about as long."""
    return ((fan_out, max(CYCLE, calls // fan_out)) for fan_out in FAN_OUTS)


def rows(calls: int, rounds: int, patience: Patience) -> list[Row]:
    """Measure everything with ``calls`` handler calls a case, a multiple of 64 cycles."""
    objects = quote_objects()
    cases = []
    for fan_out, count in _sizes(calls):
        cases += [
            Case(f"{ANCHOR}, {fan_out}", partial(bare_loop, objects, count, fan_out)),
            Case(f"on_quote, {fan_out}", partial(through_ring, PerQuote, count, fan_out)),
            Case(f"on_tick, {fan_out}", partial(through_ring, PerTick, count, fan_out)),
            Case(f"on_quotes, {fan_out}", partial(through_ring, PerBatch, min(calls, 4 * count), fan_out)),
        ]
    cases += [
        Case(f"on_quotes, batch {batch}", partial(through_ring, PerBatch, calls, batch=batch)) for batch in BATCHES[:-1]
    ]
    few = max(CYCLE, calls // 8)
    cases += [
        Case("asyncio.Queue, 1", partial(asyncio_queue, objects, few)),
        Case("asyncio.Queue, 16", partial(asyncio_queue, objects, max(CYCLE, few // 16), 16)),
        Case("asyncio event bus, 1", partial(asyncio_event_bus, objects, few)),
        Case("asyncio event bus, 16", partial(asyncio_event_bus, objects, max(CYCLE, few // 16), 16)),
        Case("queue.Queue across threads", partial(queue_queue, objects, few), clock="wall"),
        Case("deque + Event across threads", partial(deque_event, objects, few), clock="wall"),
        Case(f"{ANCHOR}, by the wall", partial(bare_loop, objects, few), clock="wall"),
    ]
    return list(_rows(interleave(cases, rounds, patience)))


# (form, row and target at 1 strategy, row and target at 16)
FORMS = (
    ("on_quote", "(bid_price, ask_price)", {1: ("1", 0.90), 16: ("2", 0.90)}),
    ("on_tick", "(tick)", {1: ("3", 0.75)}),
    ("on_quotes", "(bid_price, ask_price)", {1: ("4", 7.0)}),
)


def _rows(result: Rounds) -> Iterable[Row]:
    def row(name: str, what: str, base: str, to: str, number: str = "", target: float | None = None) -> Row:
        return Row(number, what, rate(result.median_ns(name)), result.speed(name, base), to, target)

    for fan_out in FAN_OUTS:
        base = f"{ANCHOR}, {fan_out}"
        to, who = ("A", "1 strategy") if fan_out == 1 else (f"A to {fan_out}", f"{fan_out} strategies")
        yield row(base, f"{ANCHOR}, {who}", base, to)
        for form, parameters, targets in FORMS:
            yield row(f"{form}, {fan_out}", f"{form}{parameters}, {who}", base, to, *targets.get(fan_out, ()))
    one, sixteen = f"{ANCHOR}, 1", f"{ANCHOR}, 16"
    for batch in BATCHES[:-1]:
        yield row(f"on_quotes, batch {batch}", f"on_quotes, batches of {batch}", one, "A")
    for way in ("asyncio.Queue", "asyncio event bus"):
        yield row(f"{way}, 1", f"{way}, 1 strategy", one, "A")
        yield row(f"{way}, 16", f"{way}, 16 strategies", sixteen, "A to 16")
    for way in ("queue.Queue across threads", "deque + Event across threads"):
        yield row(way, way, f"{ANCHOR}, by the wall", "A")

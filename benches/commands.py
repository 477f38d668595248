"""Commands to a running engine: from submission to answer while ticks saturate the core, and what they cost the ticks.

    array feed, a speed of 10^9 ─▶ engine ─▶ strategy        every 2 ms: submit(command) ─▶ handler ─▶ Ack

Guarantees: every command is accepted, every tick is handled and the sum is exact, before a time counts.
Does not: measure waiting for a processor. Times are the process's own, so what other processes take is not in them;
with one thread at work, or two that share the interpreter's lock, a quiet machine's wall would show the same.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benches.fan_out import quotes
from benches.harness import Case, Patience, Row, Span, interleave, rate
from benches.workload import check, instrument_names
from headrace import Strategy
from headrace.commands import Command, Outcome
from headrace.engine.engine import Engine

# Recorded seconds per second: the array is over as fast as its ticks are handled.
FAST = 1e9
EVERY_S = 0.002
P99_INLINE_MS = 1.0
P99_BESIDE_MS = 5.0
THROUGHPUT_MIN = 0.8


class Quotes(Strategy):
    """The workload's handler."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.sum += (bid_price + ask_price) / 2
        self.count += 1


class Plain(Command, frozen=True):
    """Answered in one go."""

    verb = "plain"


class Awaited(Command, frozen=True):
    """Answered by a task."""

    verb = "awaited"


def at_once(_: Plain) -> Outcome:
    return Outcome("accepted")


async def awaited(_: Awaited) -> Outcome:
    return Outcome("accepted")


async def session(count: int, command: Command | None, latencies_ms: list[float]) -> Span:
    """Time per tick of an engine over ``count`` quotes, with a stream of commands or without."""
    strategy = Quotes()
    with tempfile.TemporaryDirectory() as folder:
        feed = quotes(count)
        engine = Engine(
            feeds=[feed],
            strategies=[strategy],
            instruments=instrument_names(),
            speed=FAST,
            on_fault="raise",
            state_folder=folder,
        )
        engine.commands.register(Plain, at_once)
        engine.commands.register(Awaited, awaited)
        gc.collect()
        async with engine:
            wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
            while strategy.count < count and not engine.is_stopping:
                if command is not None:
                    submitted_ns = time.process_time_ns()
                    ack = await engine.commands.submit(command)
                    latencies_ms.append((time.process_time_ns() - submitted_ns) / 1e6)
                    assert ack.status == "accepted", ack
                await asyncio.sleep(EVERY_S)
            span = Span((time.perf_counter_ns() - wall_ns) / count, (time.process_time_ns() - cpu_ns) / count)
    check([strategy], count)
    return span


@contextmanager
def busy_thread() -> Iterator[None]:
    """A thread that computes in Python all the while."""
    stop = threading.Event()

    def compute() -> None:
        number = 0
        while not stop.is_set():
            number += 1

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def run(count: int, command: Command | None, latencies_ms: list[float], *, beside: bool = False) -> Span:
    """One session in a loop of its own."""
    if not beside:
        return asyncio.run(session(count, command, latencies_ms))
    with busy_thread():
        return asyncio.run(session(count, command, latencies_ms))


def rows(ticks: int, rounds: int, patience: Patience) -> list[Row]:
    """Latencies pooled over all rounds; the throughput's ratio within each round."""
    latencies: dict[str, list[float]] = {"plain": [], "awaited": [], "beside": []}
    cases = [
        Case("without", partial(run, ticks, None, [])),
        Case("plain", partial(run, ticks, Plain(), latencies["plain"])),
        Case("awaited", partial(run, ticks, Awaited(), latencies["awaited"])),
        Case("beside", partial(run, ticks // 4, Awaited(), latencies["beside"], beside=True)),
    ]
    measured = interleave(cases, rounds, patience)
    found = [
        _latency("command, plain handler, ticks saturating", latencies["plain"], P99_INLINE_MS),
        _latency("command, async handler, ticks saturating", latencies["awaited"], P99_INLINE_MS),
        _latency("the same beside a thread that computes", latencies["beside"], P99_BESIDE_MS),
    ]
    for name, what in (("plain", "plain"), ("awaited", "async")):
        found.append(
            Row(
                number="12",
                what=f"ticks with {1 / EVERY_S:.0f} commands/s at most, {what} handler",
                ours=rate(measured.median_ns(name)),
                ratio=measured.speed(name, "without"),
                to="without",
                target=THROUGHPUT_MIN,
            )
        )
    return found


def _latency(what: str, latencies_ms: list[float], target_ms: float) -> Row:
    ordered = sorted(latencies_ms)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    ours = f"p50 {statistics.median(ordered):.2f} ms of {len(ordered):,}"
    return Row(number="12", what=what, ours=ours, ratio=p99, to="p99, ms", target=target_ms, at_most=True)

"""Row 12: commands to a running engine while ticks saturate the core.

    ticks, as fast as they are handled      every 2 ms: submit(command) ─▶ handler ─▶ Ack

Guarantees: every command is accepted, every tick is handled and the sum is exact, before a time counts.
Does not: measure waiting for a processor. Times are the process's own, so what other processes take is not in them;
with one thread at work, or two that share the interpreter's lock, a quiet machine's wall would show the same.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from benches.bench import Bench, Row, Work
from benches.handlers import PerQuote, quotes, saturated
from benches.workload import check
from headrace.commands import Command, Outcome

EVERY_S = 0.002


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


@contextmanager
def busy_thread() -> Iterator[None]:
    """Run a thread that computes in Python all the while."""
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


def session(count: int, command: Command | None, latencies_ms: list[float], *, beside: bool = False) -> Iterator[Work]:
    """Run an engine over ``count`` quotes, with a stream of commands or without."""
    strategy = PerQuote()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        engine = saturated(quotes(count), strategy, folder)
        engine.commands.register(Plain, at_once)
        engine.commands.register(Awaited, awaited)

        async def work() -> None:
            async with engine:
                while strategy.count < count and not engine.is_stopping:
                    if command is not None:
                        submitted_ns = time.process_time_ns()
                        ack = await engine.commands.submit(command)
                        latencies_ms.append((time.process_time_ns() - submitted_ns) / 1e6)
                        assert ack.status == "accepted", ack
                    await asyncio.sleep(EVERY_S)

        with busy_thread() if beside else nullcontext():
            yield lambda: runner.run(work())
    check([strategy], count)


def measured(bench: Bench, count: int, command: Command | None, *, beside: bool = False) -> None:
    """Run one session, and note the percentiles of its commands."""
    latencies_ms: list[float] = []
    bench.items(count)(session, count, command, latencies_ms, beside=beside)
    if latencies_ms:
        bench.note("p50_ms", statistics.median(latencies_ms))
        bench.note("p99_ms", sorted(latencies_ms)[int(0.99 * (len(latencies_ms) - 1))])


class TestCommands:
    """A stream of 500 commands a second at most."""

    rows = (
        Row("12", "command, plain handler, p99", "plain", at_most=1.0, unit="ms", figure="p99_ms"),
        Row("12", "command, async handler, p99", "awaited", at_most=1.0, unit="ms", figure="p99_ms"),
        Row("12", "the same beside a thread that computes, p99", "beside", at_most=5.0, unit="ms", figure="p99_ms"),
        Row("12", "ticks with 500 commands/s, plain handler", "plain", "without", at_least=0.8),
        Row("12", "ticks with 500 commands/s, async handler", "awaited", "without", at_least=0.8),
    )

    def test_without(self, bench: Bench) -> None:
        measured(bench, 4 * bench.size.calls, None)

    def test_plain(self, bench: Bench) -> None:
        measured(bench, 4 * bench.size.calls, Plain())

    def test_awaited(self, bench: Bench) -> None:
        measured(bench, 4 * bench.size.calls, Awaited())

    def test_beside(self, bench: Bench) -> None:
        measured(bench, bench.size.calls, Awaited(), beside=True)

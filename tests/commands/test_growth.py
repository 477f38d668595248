"""Nothing grows with what is over: answered commands, their keys and audits, dead letters, lines of audit and log."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace import Dispatcher
from headrace.bus import EventBus
from headrace.bus.audit import AuditSink
from headrace.commands import Ack, CommandBus, Idempotency, Outcome, RateLimit
from headrace.dispatch.log import DispatchLog
from headrace.errors import LaneFullError
from headrace.market.clock import EngineClock
from headrace.market.dead_letters import DeadLetter, DeadLetters
from headrace.market.events import Signal
from tests.support.commanding import Note
from tests.support.feeding import BTC, HandClock

pytestmark = pytest.mark.asyncio

# What is kept of the newest, so that the first fifth fills every bounded store.
KEPT = 500
GROWTH_BYTES_MAX = 128 << 10
MEMORY_BYTES_MAX = 8 << 20
FAST = 10_000
DEEP = 100_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


@contextmanager
def flat(count: int) -> Iterator[Callable[[int], None]]:
    """Call what is given with each number; from a fifth of ``count`` on, memory stays as it is then."""
    first: list[tuple[int, int]] = []

    def look(number: int) -> None:
        if number == count // 5:
            gc.collect()
            first.append((tracemalloc.get_traced_memory()[0], resident_bytes()))

    tracemalloc.start()
    try:
        yield look
        gc.collect()
        traced, resident = tracemalloc.get_traced_memory()[0], resident_bytes()
    finally:
        tracemalloc.stop()
    assert traced - first[0][0] < GROWTH_BYTES_MAX, f"{traced - first[0][0]:,} bytes more"
    assert resident - first[0][1] < MEMORY_BYTES_MAX, f"{resident - first[0][1]:,} bytes more"


async def commands(look: Callable[[int], None], count: int, _folder: Path) -> None:
    """Commands of every outcome: new and repeated keys, targets of their own, malformed ones, audits without room."""
    clock = HandClock(1)
    events = EventBus(clock=clock)
    bus = CommandBus(bus=events, clock=clock, middleware=[RateLimit(1e9), Idempotency(keys_max=KEPT)], timeout_s=0.5)

    async def slow(command: Note) -> Outcome:
        await asyncio.sleep(0)
        if command.subject.endswith("7"):
            return Outcome("failed", command.subject)
        return Outcome("accepted", detail={"heard": command.subject})

    bus.register(Note, slow)
    await bus.start()
    for number in range(count):
        look(number)
        clock.at_ns += 1_000_000
        ack = await bus.submit(Note(f"subject {number}"), key=f"key {number}", actor=f"actor {number}")
        assert isinstance(ack, Ack)
        if number % 10 == 0:
            await bus.submit({"command": f"Unknown{number}"})
            await bus.submit(Note(f"subject {number}"), key=f"key {number}")
        if number % 3 == 0:
            events.drain()
    await bus.stop()


async def letters(look: Callable[[int], None], count: int, _folder: Path) -> None:
    """Dead letters of failed events, redriven or not."""
    store = DeadLetters(letters_max=20)
    drops = [DeadLetter("call", "ValueError", "handler", 1)] * 20

    def drop_all() -> None:
        for own in drops:
            store.add(own)

    for number in range(count):
        look(number)
        event = Signal(instrument=BTC, side=1, reason=f"because of {number}")
        letter = DeadLetter("event", f"ValueError: {number}", "handler", number, event=event)
        kept = store.add(letter, redrive=drop_all if number % 10 == 0 else lambda: None)
        if number % 2 == 0:
            store.redrive(kept.id)


async def audited(look: Callable[[int], None], count: int, folder: Path) -> None:
    """Events in an audit, some of them lost for want of room."""
    bus = EventBus(clock=HandClock(1))
    with AuditSink(folder / "audit") as sink:
        sink.attach(bus)
        for number in range(count):
            look(number)
            try:
                bus.publish_nowait(Signal(instrument=BTC, side=1, reason=f"because of {number}"))
            except LaneFullError:
                bus.drain()


async def logged(look: Callable[[int], None], count: int, folder: Path) -> None:
    """Marks in a dispatch log, and subscriptions that come and go."""
    with (
        Dispatcher(instruments=[BTC], clock=EngineClock()) as dispatcher,
        DispatchLog(folder / "log", dispatcher) as log,
    ):
        for number in range(count):
            look(number)
            log.mark("turn", (number, None))
            if number % 50 == 0:
                dispatcher.subscribe(lambda seq: None, callback="on_quote", name=f"name {number}").close()


WORK: list[Callable[[Callable[[int], None], int, Path], Awaitable[None]]] = [commands, letters, audited, logged]


@pytest.mark.parametrize("work", WORK)
async def test_what_is_over_takes_no_memory(work, tmp_path: Path) -> None:
    with flat(FAST) as look:
        await work(look, FAST, tmp_path)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("work", WORK)
async def test_a_hundred_thousand_that_are_over_take_no_memory(work, tmp_path: Path) -> None:
    with flat(DEEP) as look:
        await work(look, DEEP, tmp_path)

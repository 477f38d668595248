"""Nothing grows with what is over: a table of things that end, each ended again and again."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace import Dispatcher, Strategy
from headrace.bus import EventBus
from headrace.market.clock import Mode
from headrace.market.events import Signal
from headrace.strategies.timers import Timers
from tests.support.feeding import BTC

# How often a thing ends: the first ones warm up, and memory is compared with what it was behind these.
WARM = {"fast": 2_000, "deep": 20_000}
TIMES = {"fast": 10_000, "deep": 100_000}
GROWTH_BYTES_MAX = {"fast": 2 << 20, "deep": 8 << 20}

Loop = Callable[[int], None]


class Listens(Strategy):
    """A strategy with one handler."""

    def on_quote(self, seq: int) -> None: ...


@contextmanager
def closed_subscriptions() -> Iterator[Loop]:
    with Dispatcher(instruments=[BTC]) as dispatcher:

        def end(number: int) -> None:
            dispatcher.subscribe(Listens(), name=f"own-{number}").close()

        yield end


@contextmanager
def closed_subscriptions_without_a_name() -> Iterator[Loop]:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        kept = dispatcher.subscribe(Listens())
        yield lambda _number: dispatcher.subscribe(Listens()).close()
        assert kept.is_open


@contextmanager
def closed_pulls() -> Iterator[Loop]:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        yield lambda _number: dispatcher.subscribe().close()


@contextmanager
def closed_bus_subscriptions() -> Iterator[Loop]:
    bus = EventBus()

    def end(number: int) -> None:
        bus.subscribe(Signal, lambda event: None, name=f"own-{number}").close()
        bus.publish_nowait(Signal(instrument=BTC, side=1))
        bus.drain()

    yield end


@contextmanager
def closed_consumers() -> Iterator[Loop]:
    bus = EventBus()
    yield lambda number: bus.consumer(Signal, name=f"own-{number}").close()


@contextmanager
def timers() -> Iterator[Timers]:
    yield Timers(mode=Mode.LIVE, on_due=lambda due_ns: None, advance_to=lambda due_ns: None)


@contextmanager
def fired_timers() -> Iterator[Loop]:
    with timers() as own:

        def end(number: int) -> None:
            own.set(f"strategy-{number}", f"own-{number}", number + 1, lambda timer: None)
            assert own.fire_next(number + 1)

        yield end


@contextmanager
def cancelled_timers() -> Iterator[Loop]:
    """Far in the future, behind one that is due first, so that no look at the heap's top finds them."""
    with timers() as own:
        own.set("strategy", "first", 1, lambda timer: None)

        def end(number: int) -> None:
            own.set("strategy", f"own-{number}", 10**18 + number, lambda timer: None)
            assert own.cancel("strategy", f"own-{number}")

        yield end


@contextmanager
def replaced_timers() -> Iterator[Loop]:
    with timers() as own:
        own.set("strategy", "first", 1, lambda timer: None)
        yield lambda number: own.set("strategy", "own", 10**18 + number, lambda timer: None)


# A room adds a row for each of its things that end.
ENDED = [
    *(closed_subscriptions, closed_subscriptions_without_a_name, closed_pulls),
    *(closed_bus_subscriptions, closed_consumers),
    *(fired_timers, cancelled_timers, replaced_timers),
]


def resident_bytes() -> int:
    """How much memory the process holds now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param("fast", marks=pytest.mark.timeout(120)),
        pytest.param("deep", marks=[pytest.mark.deep, pytest.mark.timeout(600)]),
    ],
)
@pytest.mark.parametrize("ended", ENDED, ids=lambda ended: ended.__name__)
def test_memory_does_not_grow_with_what_is_over(ended: Callable[[], Iterator[Loop]], scale: str) -> None:
    with ended() as end:  # type: ignore[attr-defined]
        for number in range(WARM[scale]):
            end(number)
        before = resident_bytes()
        for number in range(WARM[scale], TIMES[scale]):
            end(number)
        assert resident_bytes() - before < GROWTH_BYTES_MAX[scale]


def test_a_heap_of_timers_holds_few_that_are_over() -> None:
    """Exact, where memory is coarse: cancelled and replaced timers leave the heap."""
    with timers() as own:
        own.set("strategy", "first", 1, lambda timer: None)
        for number in range(10_000):
            own.set("strategy", "own", 10**18 + number, lambda timer: None)
            own.set("strategy", f"own-{number}", 10**18, lambda timer: None)
            own.cancel("strategy", f"own-{number}")
        assert len(own._heap) < 100
        assert own.due_ns == 1
        assert own.fire_next(1)
        assert own.due_ns == 10**18 + 9_999

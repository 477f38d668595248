"""The tree of errors: the drawing is true, facts survive pickling, and a test provokes each error."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import (
    BacktestResult,
    DeadLetters,
    Decoder,
    Dispatcher,
    Engine,
    Instruments,
    Ring,
    Sequencer,
    Strategy,
    errors,
    register_kind,
    replay,
    ticks,
)
from headrace.app.config import load_config
from headrace.bus import EventBus
from headrace.bus.audit import audit_header
from headrace.bus.lane import LaneOptions
from headrace.commands import CommandBus
from headrace.control import ControlClient
from headrace.engine.service import Service
from headrace.errors import HeadraceError
from headrace.feeds import CandleFeed
from headrace.market.events import Audit, Lane, Signal
from headrace.strategies.states import LifeCycle
from headrace.trading.orders.request import request_of
from headrace.trading.state_folder import checked_folder
from tests.support.feeding import BTC, HandClock, quotes
from tests.support.frames import START, depth, encoded, snapshot
from tests.support.trading import SilentBroker

CLASSES = {name: getattr(errors, name) for name in errors.__all__}


def drawn() -> dict[str, str]:
    """Return each class of the drawing with its parent."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    above = ["HeadraceError"]
    for line in errors.__doc__.splitlines():
        match = re.match(r"\s{4}([│ ]*)(?:├──|└──) (\w+)", line)
        if match:
            depth = len(match[1]) // 4 + 1
            above[depth:] = [match[2]]
            parents[match[2]] = above[depth - 1]
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    parents = drawn()
    assert set(parents) | {"HeadraceError"} == set(CLASSES)
    for name, parent in parents.items():
        assert CLASSES[name].__bases__[0].__name__ == parent


def test_the_second_parents_are_as_they_are_drawn() -> None:
    assert errors.__doc__ is not None
    also = dict(re.findall(r"─ (\w+) \.*.*\(also an? (\w+)\)", errors.__doc__))
    assert also
    for name, cls in CLASSES.items():
        builtin = [base.__name__ for base in cls.__mro__ if base.__module__ == "builtins"]
        expected = also.get(name) or next((also[base.__name__] for base in cls.__mro__ if base.__name__ in also), None)
        if expected:
            assert expected in builtin, name


def test_facts_become_attributes_and_survive_a_pickle() -> None:
    error = errors.RingHeldError("full", published=3, asked=9)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.RingHeldError
    assert (str(again), again.published, again.asked) == ("full", 3, 9)


def test_every_error_has_a_docstring() -> None:
    assert all(inspect.getdoc(cls) for cls in CLASSES.values())


def held(dispatcher: Dispatcher) -> None:
    dispatcher.subscribe()
    dispatcher.publish(quotes(dispatcher, np.zeros(100_000)))


def reentrant(dispatcher: Dispatcher) -> None:
    dispatcher.subscribe(
        lambda: dispatcher.publish(quotes(dispatcher, np.zeros(100_000))), callback="on_quote", on_fault="raise"
    )
    dispatcher.publish(quotes(dispatcher, [1.0]))
    dispatcher.dispatch()


def reentrant_dispatch(dispatcher: Dispatcher) -> None:
    dispatcher.subscribe(lambda: dispatcher.dispatch(), callback="on_quote", on_fault="raise")
    dispatcher.publish(quotes(dispatcher, [1.0]))
    dispatcher.dispatch()


def concurrent(dispatcher: Dispatcher) -> None:
    stand, inside = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        stand.wait(10)

    dispatcher.subscribe(hold, callback="on_quote", mode="thread", overflow="block")
    first = threading.Thread(target=lambda: dispatcher.publish(quotes(dispatcher, np.zeros(100_000))))
    first.start()
    inside.wait(5)
    try:
        while True:
            dispatcher.publish(quotes(dispatcher, [1.0]))
            if not first.is_alive():
                return
    finally:
        stand.set()
        first.join()


def stopped(dispatcher: Dispatcher) -> None:
    dispatcher.subscribe(lambda: None, callback="on_quote")
    dispatcher.stop()
    dispatcher.publish(quotes(dispatcher, np.zeros(100_000)))


def exits(dispatcher: Dispatcher) -> None:
    def leave() -> None:
        raise SystemExit

    dispatcher.subscribe(leave, callback="on_quote", on_fault="raise")
    dispatcher.publish(quotes(dispatcher, [1.0]))
    dispatcher.dispatch()


def closed(dispatcher: Dispatcher) -> None:
    dispatcher.close()
    dispatcher.subscribe()


def full_bus() -> None:
    bus = EventBus(lanes={Lane.SIGNAL: LaneOptions(capacity=1)})
    for _ in range(2):
        bus.publish_nowait(Signal(instrument=BTC, side=1))


def drained_twice() -> None:
    bus, other = EventBus(), ThreadPoolExecutor()
    bus.subscribe(Signal, lambda _: refused.append(other.submit(bus.drain).exception()))
    refused: list[BaseException | None] = []
    bus.publish_nowait(Signal(instrument=BTC, side=1))
    bus.drain()
    other.shutdown()
    assert refused[0] is not None
    raise refused[0]


def deadlocked() -> None:
    bus = EventBus()
    bus.consumer(Signal)
    bus.publish_nowait(Signal(instrument=BTC, side=1))
    asyncio.run(bus.wait_until_idle(0.01))


class FailingService(Service):
    """Ends a replay with its error."""

    async def run(self) -> None:
        msg = "no disk"
        raise OSError(msg)


class ExitingFeed:
    """Leaves the process instead of yielding."""

    name = "exiting"
    venue = None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def __aiter__(self) -> Any:
        raise SystemExit


def kept_book(dispatcher: Dispatcher) -> None:
    decoder, kept = Decoder("BINANCE", dispatcher.instruments), []
    dispatcher.subscribe(lambda book: kept.append(book), callback="on_book")
    levels = [(9.0, 1.0)], [(10.0, 1.0)]
    for frame in (snapshot(5, *levels), depth(6, 6), depth(7, 7), depth(8, 8)):
        dispatcher.publish_frame(decoder, encoded(frame), START)
        dispatcher.dispatch()
    kept[0].bids(1)


PROVOKED: dict[str, Callable[[Dispatcher], Any]] = {
    "OptionError": lambda dispatcher: dispatcher.subscribe(batch_max=0),
    "SubscriptionError": lambda dispatcher: dispatcher.subscribe(print),
    "InstrumentError": lambda dispatcher: dispatcher.instruments.add("nothing"),
    "KindError": lambda _: register_kind("quote", []),
    "DecoderError": lambda dispatcher: dispatcher.publish_frame(Decoder("BINANCE", Instruments()), b"", 0),
    "RecordingError": lambda _: replay("no such file", []),
    "DataError": lambda _: CandleFeed("no such file.csv", instrument=BTC).read(),
    "SourceOrderError": lambda _: replay(
        ticks(instrument=BTC, ts_init=[1, 2], bid_price=[1, 2], ask_price=[1, 2])[::-1].copy(), []
    ),
    "RestoreError": lambda dispatcher: Sequencer(dispatcher.instruments).restore((0, [(BTC, "trade", 1 << 63, 3)])),
    "RingError": lambda _: Ring(3),
    "ConcurrentPublishError": concurrent,
    "ReentrantPublishError": reentrant,
    "RingHeldError": held,
    "StoppedError": stopped,
    "ReentrantDispatchError": reentrant_dispatch,
    "ClosedError": closed,
    "BookError": kept_book,
    "StrategyFaultError": exits,
    "OrderError": lambda _: request_of("A", BTC, 1, -1, {}, 0),
    "BusError": lambda _: drained_twice(),
    "EventTypeError": lambda _: EventBus().subscribe(Audit | Signal, print),  # type: ignore[arg-type]
    "LaneFullError": lambda _: full_bus(),
    "DeadlockError": lambda _: deadlocked(),
    "StateFolderError": lambda _: checked_folder(Path(__file__)),
    "LifeCycleError": lambda _: LifeCycle("momentum").move("resume"),
    "LetterError": lambda _: DeadLetters().redrive(1),
    "ConfigError": lambda _: load_config(environment={}, overrides=["engine.nmae=x"]),
    "ResultError": lambda _: BacktestResult.load("no such file"),
    "AuditError": lambda _: audit_header("no such file"),
    "ControlError": lambda _: ControlClient("no/engine"),
    "EngineError": lambda _: Strategy().buy(BTC, 1),
    "BrokerError": lambda _: Engine(broker=SilentBroker(raises=OSError("no network")), mode="replay").run(),
    "FeedError": lambda _: Engine(feeds=[ExitingFeed()], mode="replay").run(),
    "ServiceError": lambda _: Engine(services=[FailingService()], mode="replay").run(),
    "DispatchLogError": lambda _: Engine(mode="repeat", dispatch_log="no such file"),
    "CommandError": lambda _: CommandBus(bus=EventBus(), clock=HandClock(), workers=0),
}
# Bases that are never raised themselves; a fork, a missing extra and a recording without venue have their own tests.
ELSEWHERE = {
    "HeadraceError",
    "PublishError",
    "ForkedError",
    "MissingExtraError",
    "VenueError",
    "VenueRequestError",
    *(
        name
        for name in CLASSES
        if name.startswith(("Route", "Snapshot", "Store", "Commit", "Schema", "Recommendation"))
    ),
}


@pytest.mark.parametrize("name", PROVOKED)
def test_each_error_can_be_provoked_and_names_a_remedy(name: str) -> None:
    with Dispatcher() as dispatcher, pytest.raises(HeadraceError) as raised:
        PROVOKED[name](dispatcher)
    assert type(raised.value).__name__ == name
    assert len(str(raised.value)) > 30
    # The fact, then what to do next.
    assert re.search("[:;] ", str(raised.value))


def test_every_error_is_provoked_by_a_test() -> None:
    assert set(PROVOKED) | ELSEWHERE == set(CLASSES)

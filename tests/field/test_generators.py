"""A callback whose body has a ``yield`` never runs: it is refused where that is visible, else its call is a fault."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import Dispatcher, Engine, Strategy
from headrace.bus import EventBus
from headrace.dispatch.signature import LIFE_CYCLE
from headrace.engine.service import Service
from headrace.errors import BrokerError, HeadraceError, OptionError, ServiceError, SubscriptionError
from headrace.market.bars import BarSpec
from headrace.market.events import Signal
from headrace.market.user_functions import refuse_generator
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC, holds_the_law, quotes
from tests.support.trading import Desk, SilentBroker, simulated

CALLBACKS = {
    **LIFE_CYCLE,
    "on_quote": ("seq",),
    "on_quotes": ("seq",),
    "on_gap": ("missing",),
    "on_tick": ("tick",),
    "on_ticks": ("ticks",),
}
# What holds the generators that callbacks returned, to see whether they were closed.
MADE: list[Any] = []


def generator(*names: str, is_async: bool) -> Callable[..., Any]:
    """A function with these parameters and a ``yield``."""
    space: dict[str, Any] = {}
    prefix = "async def" if is_async else "def"
    exec(f"{prefix} handler({', '.join(names)}):\n    yield", space)
    made: Callable[..., Any] = space["handler"]
    return made


def hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as decorators do."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        MADE.append(function(*arguments, **keywords))
        return MADE[-1]

    return wrapper


def strategy_with(name: str, function: Callable[..., Any]) -> Strategy:
    """A strategy with one callback, and a plain one for quotes."""
    body: dict[str, Any] = {"on_quote": lambda self, seq: None, name: function}
    if name in ("on_quotes", "on_tick", "on_ticks"):
        del body["on_quote"]
    made: Strategy = type("Yields", (Strategy,), body)()
    return made


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_generator_callback_is_refused(name: str, is_async: bool) -> None:
    strategy = strategy_with(name, generator("self", *CALLBACKS[name], is_async=is_async))
    with pytest.raises(SubscriptionError, match=f"Yields.{name} is a generator, whose body would never run"):
        headrace.replay(market([100.0] * 3), strategy, instruments=[BTC])


class Wrapped(Strategy):
    """Its callbacks return generators; its orders make each of them called."""

    bars = (BarSpec(BTC, "200ms", price="mid"),)

    def on_start(self) -> None:
        self.set_timer("soon", after="150ms")

    def on_quote(self, seq: int) -> None:
        if seq in (2, 3):
            self.buy(BTC, 1)


def wrapped_with(name: str, *, is_async: bool) -> Strategy:
    function = hidden(generator("self", *CALLBACKS[name], is_async=is_async))
    made: Strategy = type("Wrapped", (Wrapped,), {name: function})()
    return made


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    "name", ["on_start", "on_stop", "on_timer", "on_order", "on_fill", "on_bar", "on_quote", "on_tick"]
)
def test_a_hidden_generator_is_a_fault_and_closed(name: str, is_async: bool) -> None:
    MADE.clear()
    strategy = wrapped_with(name, is_async=is_async)
    engine = engine_over(market([100.0] * 6), [strategy], on_fault="quarantine")
    engine.run()
    letters = engine.dead_letters.list()
    assert letters, name
    assert {letter.reason for letter in letters} == {
        "TypeError: it returned a generator, whose body would never run: remove yield"
    }
    assert {letter.handler.rpartition(".")[2] for letter in letters if letter.handler} == {name}
    assert MADE
    if not is_async:
        assert all(made.gi_frame is None for made in MADE)


def test_a_hidden_generator_of_a_windowed_handler_is_a_fault() -> None:
    class Windows(Strategy):
        subscription = {"every": "200ms"}  # noqa: RUF012 - as users write it

        @hidden
        def on_quotes(self, seq: Any) -> Any:
            yield

    engine = engine_over(market([100.0] * 6), [Windows()], on_fault="quarantine")
    report = engine.run()
    assert report.strategies["Windows"].is_quarantined
    assert report.strategies["Windows"].faults == 3


def test_an_async_handler_whose_result_is_a_generator_is_a_fault() -> None:
    class Later(Strategy):
        async def on_quote(self, seq: int) -> Any:
            return (number for number in range(seq))

    with pytest.raises(TypeError, match="returned a generator") as raised:
        headrace.replay(market([100.0] * 3), Later(), instruments=[BTC])
    assert any("in Later.on_quote" in note for note in raised.value.__notes__)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_bus_handler_that_is_a_generator_is_refused(is_async: bool) -> None:
    with pytest.raises(SubscriptionError, match="handler own is a generator"):
        EventBus().subscribe(Signal, generator("event", is_async=is_async), name="own")


def test_a_hidden_generator_on_the_bus_is_a_dead_letter() -> None:
    bus = EventBus()
    bus.subscribe(Signal, hidden(generator("event", is_async=False)), name="own")
    bus.publish_nowait(Signal(instrument=BTC, side=1))
    bus.drain()
    assert bus.is_idle
    assert [letter.reason for letter in bus.dead_letters.list()] == [
        "TypeError: it returned a generator, whose body would never run: remove yield"
    ]


@pytest.mark.parametrize("choose", ["what", "where"])
@pytest.mark.parametrize("kind", ["generator", "async"])
def test_a_choice_that_is_always_true_is_refused(choose: str, kind: str) -> None:
    async def later(_key: object) -> bool:
        return False

    never = later if kind == "async" else generator("key", is_async=False)
    subscribe: Callable[..., object] = EventBus().subscribe
    chosen = {"what": never} if choose == "what" else {"what": Signal, "where": never}
    with pytest.raises(HeadraceError, match=f"{choose} is .*; it would be true of every event"):
        subscribe(handler=print, **chosen)


@pytest.mark.parametrize("method", ["attach", "submit", "cancel", "close"])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_broker_with_a_generator_method_is_refused(method: str, is_async: bool) -> None:
    broker = type("Yields", (SilentBroker,), {method: generator("self", "*given", is_async=is_async)})()
    with pytest.raises(OptionError, match=f"Yields.{method} is a generator"):
        Engine(broker=broker, mode="replay")


def test_a_broker_whose_method_returns_a_generator_is_named() -> None:
    desk = Desk(broker=type("Yields", (SilentBroker,), {"cancel": hidden(generator("self", "*_", is_async=False))})())
    desk.quote(99.0, 101.0)
    order = desk.ask()
    with pytest.raises(BrokerError, match=r"raised TypeError in Yields.cancel: it returned a generator"):
        desk.orders.cancel(order)


def test_a_gate_that_is_a_generator_is_refused_or_refuses() -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    yields = {"name": "own", "check": generator("self", "request", is_async=False)}
    with pytest.raises(OptionError, match=r"Yields.check is a generator"):
        desk.gates.add(type("Yields", (), yields)())
    desk.gates.add(type("Yields", (), {**yields, "check": hidden(yields["check"])})())  # type: ignore[arg-type]
    assert "it returned a generator" in desk.order(desk.ask()).reason


@pytest.mark.parametrize("method", ["setup", "run", "stop", "health", "metrics"])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_service_with_a_generator_method_is_refused(method: str, is_async: bool) -> None:
    service = type("Yields", (Service,), {method: generator("self", "*given", is_async=is_async)})()
    with pytest.raises(OptionError, match=f"Yields.{method} is a generator"):
        Engine(services=[service], mode="replay")


@pytest.mark.parametrize("method", ["health", "metrics"])
def test_an_async_answer_of_a_service_is_refused(method: str) -> None:
    async def later(self: object) -> None: ...

    with pytest.raises(OptionError, match=f"Later.{method} is async, and nothing can await it"):
        Engine(services=[type("Later", (Service,), {method: later})()], mode="replay")


@pytest.mark.parametrize("method", ["setup", "run"])
@pytest.mark.parametrize("made", ["generator", "nothing"])
def test_a_service_method_with_nothing_to_await_is_named(method: str, made: str) -> None:
    function = hidden(generator("self", "*given", is_async=False)) if made == "generator" else lambda *_given: None
    service = type("Odd", (Service,), {method: function})()
    with pytest.raises((TypeError, ServiceError), match=r"returned a generator|write async def") as raised:
        Engine(services=[service], mode="replay", feeds=[market([100.0])]).run()
    assert "Odd" in str(raised.value) + "".join(getattr(raised.value, "__notes__", ()))


def test_a_generator_that_is_refused_is_closed() -> None:
    made: Any
    for made in (generator(is_async=False)(), (number for number in "ab")):
        with pytest.raises(TypeError, match="remove yield"):
            refuse_generator(made)
        assert made.gi_frame is None


@pytest.mark.asyncio
async def test_a_plain_handler_beside_an_async_one_is_awaited_too() -> None:
    done: list[str] = []

    class Mixed(Strategy):
        async def on_quote(self, seq: int) -> None:
            done.append(f"quote {seq}")

        def on_tick(self, seq: int) -> Any:
            return self.later(seq)

        async def later(self, seq: int) -> None:
            await asyncio.sleep(0)
            done.append(f"tick {seq}")

    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(Mixed())
        dispatcher.publish(quotes(dispatcher, [1.0] * 2))
        async with asyncio.timeout(20):
            while len(done) < 4:  # noqa: ASYNC110 - the public face has no event for it
                await asyncio.sleep(0)
        assert sorted(done) == ["quote 1", "quote 2", "tick 1", "tick 2"]
        assert holds_the_law(subscription.stats())

"""What a plain handler returns to be awaited is awaited, from the first call on, or the call is a fault."""

from __future__ import annotations

import asyncio
import functools
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import headrace
from headrace import Dispatcher, Strategy
from headrace.bus import EventBus
from headrace.limits import OWED_MAX
from headrace.market.events import OrderFill, Signal
from headrace.strategies.timers import Timer
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC, holds_the_law, quotes


def logged(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap a function as decorators do: a plain function that returns the coroutine."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Awaitable[None]:
        return function(*arguments, **keywords)

    return wrapper


class Recorded(Strategy):
    """Counts what its handlers began and ended."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []

    async def work(self, what: Any) -> None:
        self.begun.append(what)
        await asyncio.sleep(0)
        self.ended.append(what)


class Decorated(Recorded):
    @logged
    async def on_quote(self, seq: int) -> None:
        await self.work(seq)


class ReturnsCoroutine(Recorded):
    def on_quote(self, seq: int) -> Awaitable[None]:
        return self.work(seq)


class ReturnsTask(Recorded):
    def on_quote(self, seq: int) -> Awaitable[None]:
        return asyncio.get_running_loop().create_task(self.work(seq))


class Plural(Recorded):
    def on_quotes(self, seq: Any) -> Awaitable[None]:
        return self.work(list(seq))


@pytest.mark.parametrize("shape", [Decorated, ReturnsCoroutine, ReturnsTask])
@pytest.mark.parametrize("road", ["replay", "engine"])
def test_a_returned_awaitable_is_awaited_at_its_tick(shape: type[Recorded], road: str) -> None:
    strategy = shape()
    if road == "replay":
        report = headrace.replay(market([100.0] * 5), strategy, instruments=[BTC])
    else:
        report = engine_over(market([100.0] * 5), [strategy]).run()
    own = report.strategies[shape.__name__]
    assert strategy.begun == strategy.ended == [1, 2, 3, 4, 5]
    assert (own.delivered, own.faults) == (5, 0)


def test_a_batch_that_returns_an_awaitable_is_awaited() -> None:
    strategy = Plural()
    headrace.replay(market([100.0] * 5), strategy, instruments=[BTC])
    assert [seq for batch in strategy.ended for seq in batch] == [1, 2, 3, 4, 5]


def test_awaited_calls_are_done_before_the_next_time_of_a_replay() -> None:
    order: list[tuple[str, int]] = []

    class First(Strategy):
        def on_quote(self, seq: int) -> Awaitable[None]:
            return self.later(seq)

        async def later(self, seq: int) -> None:
            await asyncio.sleep(0)
            order.append(("awaited", seq))

    class Second(Strategy):
        def on_quote(self, seq: int) -> None:
            order.append(("plain", seq))

    engine_over(market([100.0] * 3), [First(), Second()]).run()
    assert order == [(what, seq) for seq in (1, 2, 3) for what in ("plain", "awaited")]


@pytest.mark.asyncio
async def test_a_live_dispatcher_awaits_what_plain_handlers_return() -> None:
    strategy = ReturnsCoroutine()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(strategy)
        dispatcher.publish(quotes(dispatcher, [1.0] * 3))
        dispatcher.dispatch()
        async with asyncio.timeout(20):
            while len(strategy.ended) < 3:  # noqa: ASYNC110 - the public face has no event for it
                await asyncio.sleep(0)
        assert strategy.ended == [1, 2, 3]
        assert holds_the_law(subscription.stats())


def test_without_a_loop_a_returned_awaitable_is_a_fault_and_closed() -> None:
    strategy = ReturnsCoroutine()
    with warnings.catch_warnings(), Dispatcher(instruments=[BTC]) as dispatcher:
        warnings.simplefilter("error")
        subscription = dispatcher.subscribe(strategy, on_fault="raise")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(TypeError, match="returned an awaitable") as raised:
            dispatcher.dispatch()
        assert "in ReturnsCoroutine.on_quote" in "".join(raised.value.__notes__)
        assert (subscription.stats().faults, strategy.begun) == (1, [])


@pytest.mark.asyncio
async def test_in_a_thread_a_returned_awaitable_is_a_fault() -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(ReturnsCoroutine(), mode="thread")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        async with asyncio.timeout(20):
            while not subscription.stats().faults:  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(0.01)
        assert "mode='thread'" in dispatcher.dead_letters.list()[0].reason


@pytest.mark.asyncio
async def test_more_awaitables_than_may_wait_are_faults() -> None:
    strategy = ReturnsCoroutine()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(strategy)
        dispatcher.publish(quotes(dispatcher, [1.0] * (OWED_MAX + 5)))
        dispatcher.dispatch()
        assert subscription.stats().faults == 3
        assert subscription.state == "quarantined"


def test_what_was_never_awaited_is_a_letter() -> None:
    strategy = ReturnsCoroutine()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Dispatcher(instruments=[BTC], mode="replay") as dispatcher:
            dispatcher.subscribe(strategy)
            dispatcher.publish(quotes(dispatcher, [1.0] * 2))
            dispatcher.dispatch()
    assert [letter.reason for letter in dispatcher.dead_letters.list()] == [
        "CancelledError: it had not ended when its subscription did"
    ] * 2


def test_a_quarantine_ends_the_awaitables_that_wait() -> None:
    class Fails(Recorded):
        def on_quote(self, seq: int) -> Awaitable[None]:
            return self.fail(seq)

        async def fail(self, seq: int) -> None:
            self.begun.append(seq)
            raise ValueError(seq)

    strategy = Fails()
    ticks = market([100.0] * 8, every_ns=0)
    report = headrace.replay(ticks, strategy, instruments=[BTC], on_fault="quarantine")
    assert (strategy.begun, report.strategies["Fails"].faults) == ([1, 2, 3], 3)


def test_an_awaited_failure_names_the_handler() -> None:
    class Fails(Strategy):
        @logged
        async def on_quote(self, seq: int) -> None:
            await asyncio.sleep(0)
            raise ValueError(seq)

    with pytest.raises(ValueError, match="1") as raised:
        headrace.replay(market([100.0] * 3), Fails(), instruments=[BTC])
    assert any(f"in Fails.on_quote, at {BTC} quote seq 1 at position 0" in note for note in raised.value.__notes__)


class Buys(Recorded):
    @logged
    async def on_fill(self, fill: OrderFill) -> None:
        await self.work(fill.price)

    def on_quote(self, seq: int) -> None:
        if seq == 1:
            self.buy(BTC, 1)


def test_a_decorated_on_fill_is_awaited() -> None:
    strategy = Buys()
    engine_over(market([100.0] * 3), [strategy]).run()
    assert len(strategy.ended) == 1


class FailingFill(Buys):
    async def work(self, what: Any) -> None:
        raise ValueError("bad fill")


def test_a_decorated_on_fill_that_fails_is_its_strategys_fault() -> None:
    engine = engine_over(market([100.0] * 3), [FailingFill()], on_fault="quarantine")
    engine.run()
    letters = [letter for letter in engine.dead_letters.list() if "bad fill" in letter.reason]
    assert [letter.source for letter in letters] == ["FailingFill.on_fill"]


@pytest.mark.asyncio
async def test_a_bus_handler_that_returns_an_awaitable_is_awaited() -> None:
    bus, seen = EventBus(), []

    async def handle(event: Signal) -> None:
        await asyncio.sleep(0)
        seen.append(event.side)

    bus.subscribe(Signal, lambda event: handle(event), name="wrapped")
    await bus.start()
    for side in (1, -1):
        bus.publish_nowait(Signal(instrument=BTC, side=side))
    await bus.wait_until_idle()
    assert seen == [1, -1]
    assert bus.stats().handlers["wrapped"].calls == 2
    await bus.shutdown()


@pytest.mark.asyncio
async def test_a_bus_handler_whose_awaitable_fails_leaves_a_letter() -> None:
    bus = EventBus()

    async def handle(event: Signal) -> None:
        raise ValueError("bad signal")

    bus.subscribe(Signal, lambda event: handle(event), name="wrapped")
    await bus.start()
    bus.publish_nowait(Signal(instrument=BTC, side=1))
    await bus.wait_until_idle()
    assert [(letter.source, letter.reason) for letter in bus.dead_letters.list()] == [
        ("wrapped", "ValueError: bad signal")
    ]
    await bus.shutdown()


class TimerReturns(Recorded):
    def on_start(self) -> None:
        self.set_timer("one", after="100ms")

    def on_timer(self, timer: Timer) -> Awaitable[None]:
        return self.work(timer.name)


def test_a_timer_that_returns_an_awaitable_is_a_fault_and_closed() -> None:
    strategy = TimerReturns()
    engine = engine_over(market([100.0] * 5), [strategy], on_fault="quarantine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.run()
    letters = engine.dead_letters.list()
    assert [(letter.source, letter.handler) for letter in letters] == [("TimerReturns", "on_timer")]
    assert "returned an awaitable" in letters[0].reason
    assert strategy.begun == []

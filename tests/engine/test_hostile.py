"""Hostile strategies beside good ones: the good ones get all their ticks and events, and the engine goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import BarSpec, Engine, Strategy, StrategySpec
from headrace.bus.audit import read_audit
from headrace.commands import Flatten, PauseStrategy, RestartStrategy, ResumeStrategy, StopStrategy
from headrace.engine.service import Service
from headrace.errors import StrategyFaultError, SubscriptionError
from headrace.market.events import Cause, OrderFill
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import (
    FAST,
    INSTRUMENTS,
    LIMITS,
    SECOND,
    START,
    HandFeed,
    Recorder,
    engine_over,
    market,
    until,
)
from tests.support.feeding import BTC, HandClock

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a state folder of the test's own, so that no latch of this machine halts it and none is left."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Own(BaseException):
    """A BaseException that no ``except Exception`` catches."""


class SilentError(Exception):
    """An exception whose ``str`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Rotten:
    """Has an ``__await__`` that is broken."""

    def __await__(self) -> Any:
        yield from ()
        raise ValueError("rotten")


def raises() -> object:
    raise ValueError("bad")


def exits() -> object:
    sys.exit(3)


def raises_base() -> object:
    raise Own("bad")


def is_cancelled() -> object:
    raise asyncio.CancelledError


def recurses() -> object:
    return recurses()


def raises_silently() -> object:
    raise SilentError


def returns_garbage() -> object:
    return object()


def returns_rot() -> object:
    return Rotten()


BAD = (raises, exits, raises_base, is_cancelled, recurses, raises_silently, returns_garbage, returns_rot)
HARMLESS = (returns_garbage, returns_rot)
OF_TICKS = ("on_quote",)
OF_THE_BUS = ("on_bar", "on_fill", "on_order", "on_signal")
OF_ITS_LIFE = ("on_start", "on_stop", "on_pause", "on_resume", "on_save", "on_load", "on_timer")


class Good(Recorder):
    """Trades, and keeps all that its callbacks get."""

    bars = (BarSpec(BTC, "1s", price="mid"),)
    # A hostile strategy misbehaves until its class is healed.
    healed = False
    times = 0

    def on_start(self) -> None:
        super().on_start()
        self.set_timer("often", every="1s")


def hostile(callback: str, bad: Callable[[], object], *, is_async: bool) -> type[Good]:
    """Return a class that misbehaves in one callback, until it is healed."""

    class Hostile(Good):
        """One of its callbacks is replaced."""

    def misbehave(self: Hostile, arguments: tuple[Any, ...]) -> object:
        getattr(Good, callback)(self, *arguments)
        if type(self).healed:
            return None
        type(self).times += 1
        return bad()

    def of_ticks(self: Hostile, seq: int, instrument: str, bid_price: float) -> object:
        return misbehave(self, (seq, instrument, bid_price))

    def of_others(self: Hostile, *arguments: Any) -> object:
        return misbehave(self, arguments)

    async def awaited(self: Hostile, *arguments: Any) -> object:
        await asyncio.sleep(0)
        return misbehave(self, arguments)

    own = of_ticks if callback in OF_TICKS else awaited if is_async and callback != "on_timer" else of_others
    setattr(Hostile, callback, own)
    return Hostile


class Market:
    """One engine that runs on a clock moved by hand."""

    def __init__(self, strategies: list[Any], **options: Any) -> None:
        self.clock, self.feed, self.count = HandClock(START), HandFeed(), 0
        defaults = {"broker": SimulatedBroker(), "instruments": INSTRUMENTS, "limits": LIMITS}
        self.engine = Engine(feeds=[self.feed], strategies=strategies, clock=self.clock, **{**defaults, **options})

    async def quotes(self, count: int, *, step_ns: int = SECOND // 4) -> None:
        """Send some quotes, and wait until every strategy had them."""
        for _ in range(count):
            self.clock.at_ns += step_ns
            self.feed.put(market([100.0], start_ns=self.clock.at_ns))
            self.count += 1
            await self.settle()

    async def settle(self) -> None:
        engine = self.engine
        await until(lambda: engine.dispatcher.ring.cursor >= self.count and engine.dispatcher.is_caught_up)
        await until(lambda: engine.bus.is_idle and engine._parts.driver.is_at_rest)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("bad", BAD)
async def test_hostile_callbacks_are_kept_and_cost_others_nothing(bad: Callable[[], object], is_async: bool) -> None:
    callbacks = ["on_quote", *OF_THE_BUS, *OF_ITS_LIFE]
    classes = {f"hostile {name}": hostile(name, bad, is_async=is_async) for name in callbacks}
    buys = {n: (lambda own: own.buy(BTC, "0.1")) for n in range(1, 30, 3)}
    good = Good({**buys, 2: lambda own: own.signal(BTC, 1)})
    specs = [StrategySpec(strategy=own, name=name, parameters={"acts": buys}) for name, own in classes.items()]
    venue = Market([*specs, StrategySpec(strategy=good, name="good")])
    async with venue.engine as engine:
        submit = engine.commands.submit
        await venue.quotes(12)
        for command in (PauseStrategy, ResumeStrategy):
            for name in classes:
                await submit(command(name))
            await venue.quotes(3)
        for name in classes:
            await submit(RestartStrategy(name))
        await venue.quotes(12)
        assert good.quotes == list(range(1, 31))
        assert len(good.bars_seen) == 7
        assert [timer.due_ns for timer in good.timers] == [START + n * SECOND for n in range(1, 8)]
        assert len(good.fills) == 10
        assert all(isinstance(fill.cause, Cause) for fill in good.fills)
        own = {order.order_id for order in engine.orders.orders(strategy="good")}
        assert {event.order_id for event in good.orders} == own
        # Once healed, each of them can be started again, from any state.
        for name, made in classes.items():
            made.healed = True
            assert (await submit(RestartStrategy(name))).status == "accepted"
            assert str(engine.strategies[name].state) == "running"
        for name in classes:
            await submit(StopStrategy(name))
        assert not engine.orders.orders(strategy="hostile on_stop", open_only=True)
        await submit(Flatten())
        await venue.quotes(2)
        report = engine.report()
    assert engine.report().ended_by == "left"
    for name, made in classes.items():
        callback = name.split()[1]
        letters = [
            letter
            for letter in engine.dead_letters.list()
            if letter.source.split("@")[0] in (name, f"{name}.{callback}")
        ]
        # What a plain callback returns is awaited; what an async one returns is not awaited again.
        is_awaited = bad is returns_rot and (callback in ("on_quote", "on_timer") or not is_async)
        is_failure = bad not in HARMLESS or is_awaited
        assert made.times > 0, name
        assert bool(letters) == is_failure, (name, letters)
    for strategy in report.strategies.values():
        assert all(law.accounted == law.published for law in strategy.subscriptions.values())
        assert all(position.quantity == 0 for position in strategy.positions), strategy
    assert good.calls[-1] == "stop"


async def test_a_failed_start_can_be_repeated_while_others_run() -> None:
    failing = hostile("on_start", exits, is_async=False)
    good = Good()
    venue = Market([StrategySpec(strategy=failing, name="failing"), good])
    async with venue.engine as engine:
        await venue.quotes(3)
        assert good.quotes == [1, 2, 3]
        runner = engine.strategies["failing"]
        assert str(runner.state) == "failed"
        for command in (PauseStrategy, ResumeStrategy, StopStrategy):
            assert (await engine.commands.submit(command("failing"))).status == "rejected"
        ack = await engine.commands.submit(RestartStrategy("failing"))
        assert (ack.status, str(runner.state)) == ("failed", "failed")
        failing.healed = True
        ack = await engine.commands.submit(RestartStrategy("failing"))
        assert (ack.status, ack.target_version) == ("accepted", runner.life.version)
        await venue.quotes(2)
        assert runner.strategy.quotes[-1] == 5  # type: ignore[union-attr]


async def test_a_hanging_callback_ends_in_a_state_of_the_table() -> None:
    class Hanging(Good):
        where = ""

        async def on_start(self) -> None:  # type: ignore[override]  # a callback may be async
            await self.hang("on_start")

        async def on_stop(self) -> None:  # type: ignore[override]  # a callback may be async
            await self.hang("on_stop")

        async def on_resume(self) -> None:  # type: ignore[override]  # a callback may be async
            await self.hang("on_resume")

        async def hang(self, where: str) -> None:
            if type(self).where == where:
                await asyncio.Event().wait()

    venue = Market([StrategySpec(strategy=Hanging, name="hanging")], command_timeout_s=0.1)
    async with venue.engine as engine:
        runner = engine.strategies["hanging"]

        async def timed_out(command: Any, where: str) -> None:
            Hanging.where = where
            ack = await engine.commands.submit(command("hanging"))
            assert (ack.status, ack.reason) == ("failed", "timeout, outcome unknown")
            Hanging.where = ""

        await venue.quotes(2)
        resting = runner.strategy.buy(BTC, 1, price="50")  # type: ignore[union-attr]
        await venue.settle()
        await timed_out(StopStrategy, "on_stop")
        await until(lambda: str(runner.state) == "stopped")
        await venue.settle()
        assert str(engine.orders.order(resting).state) == "canceled"  # type: ignore[union-attr]
        await timed_out(RestartStrategy, "on_start")
        await until(lambda: str(runner.state) == "failed")
        assert (await engine.commands.submit(RestartStrategy("hanging"))).status == "accepted"
        assert (await engine.commands.submit(PauseStrategy("hanging"))).status == "accepted"
        await timed_out(ResumeStrategy, "on_resume")
        await until(lambda: all(own.state != "paused" for own in runner.subscriptions))
        await venue.quotes(1)
        assert runner.strategy.quotes[-1] == 3  # type: ignore[union-attr]


async def test_a_broker_that_cannot_cancel_delays_no_quarantine() -> None:
    class Stubborn(SimulatedBroker):
        def cancel(self, order_id: str, cause: Cause | None = None) -> None:
            raise ConnectionError("no venue")

    def fail(own: Recorder) -> None:
        raise ZeroDivisionError("bad")

    faulty = Good({1: lambda own: own.buy(BTC, 1, price="50"), 2: fail, 3: fail, 4: fail})
    stopped = Good({1: lambda own: own.buy(BTC, 1, price="50")})
    venue = Market(
        [StrategySpec(strategy=faulty, name="faulty"), StrategySpec(strategy=stopped, name="stopped")],
        broker=Stubborn(),
    )
    async with venue.engine as engine:
        await venue.quotes(5)
        assert str(engine.strategies["faulty"].state) == "quarantined"
        assert (await engine.commands.submit(StopStrategy("stopped"))).status == "accepted"
        await venue.quotes(1)
    report = engine.report()
    assert [strategy.state for strategy in report.strategies.values()] == ["stopped", "stopped"]
    # An order that the broker could not cancel is still open.
    assert [len(strategy.open_orders) for strategy in report.strategies.values()] == [1, 1]


async def test_under_raise_a_failing_strategy_ends_the_engine(tmp_path: Path) -> None:
    class Watching(Service):
        stopped = False

        async def run(self) -> None:
            await asyncio.Event().wait()

        async def stop(self) -> None:
            self.stopped = True

    good, service = Good(), Watching()
    failing = hostile("on_quote", exits, is_async=False)
    engine = engine_over(
        market(range(100, 200)),
        [StrategySpec(strategy=failing, name="failing"), good],
        mode="live",
        speed=FAST,
        on_fault="raise",
        services=[service],
        audit=tmp_path / "audit",
    )
    with pytest.raises(StrategyFaultError, match="SystemExit"):
        await engine.run_async()
    assert engine.report().ended_by == "error"
    assert good.calls == ["start", "stop"]
    assert service.stopped
    assert len(list(read_audit(tmp_path / "audit"))) > 5


async def test_an_unbindable_strategy_leaves_no_other_half_started() -> None:
    class Wrong(Strategy):
        def on_quote(self, no_such_field: int) -> None: ...

    good = Good()
    engine = engine_over(market(range(100, 110)), [good, Wrong()], mode="live")
    with pytest.raises(SubscriptionError, match="no_such_field"):
        await engine.run_async()
    states = [str(runner.state) for runner in engine.strategies.values()]
    assert states == ["failed", "failed"]
    assert good.calls == []


async def test_a_restart_does_not_double_on_start_subscriptions() -> None:
    seen: list[int] = []

    class Greedy(Strategy):
        def on_start(self) -> None:
            self.subscribe(instruments=BTC)

        def on_quote(self, seq: int) -> None:
            seen.append(seq)

    venue = Market([StrategySpec(strategy=Greedy, name="greedy")])
    async with venue.engine as engine:
        await venue.quotes(1)
        for _ in range(2):
            assert (await engine.commands.submit(RestartStrategy("greedy"))).status == "accepted"
            await venue.quotes(1)
        before = len(seen)
        await venue.quotes(1)
        assert seen[before:] == [4, 4]


async def test_a_restart_delivers_a_gap_and_others_get_every_tick() -> None:
    class Slow(Recorder):
        async def on_stop(self) -> None:  # type: ignore[override]  # a callback may be async
            await asyncio.sleep(0.02)

    good = Good()
    venue = Market([StrategySpec(strategy=Slow, name="slow"), StrategySpec(strategy=good, name="good")])
    async with venue.engine as engine:
        await venue.quotes(5)
        restart = asyncio.ensure_future(engine.commands.submit(RestartStrategy("slow")))
        while not restart.done():
            await venue.quotes(1)
        await venue.quotes(5)
        fresh = engine.strategies["slow"].strategy
        assert isinstance(fresh, Slow)
        assert good.quotes == list(range(1, venue.count + 1))
        last = venue.count
        assert fresh.gaps
        # All quotes are accounted for: the old object's, the gap's and the new object's (the newest quote comes twice).
        assert fresh.quotes[-5:] == list(range(last - 4, last + 1))
        (law,) = engine.report().strategies["slow"].subscriptions.values()
        assert law.published == last == law.accounted
        assert law.skipped == sum(fresh.gaps)


async def test_timers_due_in_a_pause_fire_at_resume_with_a_count() -> None:
    good = Good()
    venue = Market([good])
    async with venue.engine as engine:
        await venue.quotes(4)
        assert len(good.timers) == 1
        await engine.commands.submit(PauseStrategy("Good"))
        await venue.quotes(12)
        assert len(good.timers) == 1
        await engine.commands.submit(ResumeStrategy("Good"))
        assert len(good.timers) == 2
        assert good.timers[-1].missed == 2
        await venue.quotes(4)
        assert [timer.missed for timer in good.timers] == [0, 2, 0]


async def test_a_resume_does_not_end_a_later_quarantine() -> None:
    class Slow(Good):
        async def on_resume(self) -> None:  # type: ignore[override]  # a callback may be async
            self.acts = dict.fromkeys(range(100), _fail)
            for _ in range(3):
                self.bus_fails()
            await asyncio.sleep(0.01)

        def bus_fails(self) -> None:
            venue.engine.strategies["slow"]._callbacks.judge("on_resume", ValueError("bad"))

    def _fail(own: Recorder) -> None:
        raise ZeroDivisionError("bad")

    slow = Slow()
    venue = Market([StrategySpec(strategy=slow, name="slow")])
    async with venue.engine as engine:
        await venue.quotes(2)
        await engine.commands.submit(PauseStrategy("slow"))
        resume = asyncio.ensure_future(engine.commands.submit(ResumeStrategy("slow")))
        await until(lambda: str(engine.strategies["slow"].state) == "quarantined")
        assert not resume.done()
        assert (await resume).status == "accepted"
        assert str(engine.strategies["slow"].state) == "quarantined"
        before = len(slow.quotes)
        await venue.quotes(2)
        assert len(slow.quotes) == before


async def test_fills_during_a_stop_reach_the_strategy() -> None:
    got: list[OrderFill] = []

    class Leaving(Recorder):
        async def on_stop(self) -> None:  # type: ignore[override]  # a callback may be async
            self.sell(BTC, 1)
            while not got:
                await venue.quotes(1)

        def on_fill(self, fill: OrderFill) -> None:
            if fill.side < 0:
                got.append(fill)

    venue = Market([Leaving({1: lambda own: own.buy(BTC, 1)})])
    async with venue.engine as engine:
        await venue.quotes(3)
        assert (await engine.commands.submit(StopStrategy("Leaving"))).status == "accepted"
        assert len(got) == 1
        assert engine.positions.position("Leaving", BTC).quantity == 0

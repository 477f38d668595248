"""A restart waits for what the old object awaits, and what the old object does later is no fault of the new one."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from headrace import Engine, Strategy, StrategySpec
from headrace.commands import RestartStrategy, StopStrategy
from headrace.errors import EngineError
from headrace.market.events import Signal
from headrace.strategies.timers import Timer
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import INSTRUMENTS, LIMITS, START, HandFeed, market, until
from tests.support.feeding import BTC, HandClock

pytestmark = pytest.mark.asyncio


class Slow(Strategy):
    """Awaits in each call, and then uses its engine; ``made`` are all its objects."""

    made: ClassVar[list[Slow]] = []
    # How long a call takes, and whether it outlives its cancellation.
    call_s: ClassVar[float] = 0.02
    is_stubborn: ClassVar[bool] = False

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.saved_at: list[int] = []
        Slow.made.append(self)

    async def on_quote(self, seq: int) -> None:
        self.begun.append(seq)
        try:
            await asyncio.sleep(self.call_s)
        except asyncio.CancelledError:
            if not self.is_stubborn:
                raise
            await asyncio.sleep(0.1)
            raise ValueError(seq) from None
        self.position(BTC)
        self.set_timer("later", after="1h")
        self.ended.append(seq)

    def on_save(self) -> object:
        self.saved_at = list(self.ended)
        return self.saved_at


class Plain(Slow):
    """The same from a plain handler."""

    def on_quote(self, seq: int) -> Any:  # a handler may return an awaitable
        return Slow.on_quote(self, seq)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slow, "made", [])


async def quotes(feed: HandFeed, numbers: range) -> None:
    for number in numbers:
        feed.put(market([100.0], start_ns=START + number))
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("kind", [Slow, Plain])
async def test_restarts_of_a_healthy_async_strategy_are_no_faults(kind: type[Slow]) -> None:
    feed = HandFeed()
    engine = Engine(feeds=[feed], strategies=[StrategySpec(strategy=kind, name="slow")], instruments=INSTRUMENTS)
    async with engine:
        sending = asyncio.create_task(quotes(feed, range(150)))
        for _ in range(5):
            now = Slow.made[-1]
            await until(lambda now=now: len(now.begun) > len(now.ended))  # type: ignore[misc]
            assert (await engine.commands.submit(RestartStrategy("slow"))).status == "accepted"
        await sending
        await until(lambda: bool(Slow.made[-1].ended))
        report = engine.report().strategies["slow"]
        assert (report.state, report.faults, report.is_quarantined) == ("running", 0, False)
        assert len(Slow.made) == 6
        for old in Slow.made[:-1]:
            assert old.begun == old.ended == old.saved_at
    assert engine.dead_letters.total == 0


async def test_a_restart_cancels_a_call_that_does_not_end() -> None:
    feed, wait = HandFeed(), asyncio.Event()

    class Hangs(Slow):
        async def on_quote(self, seq: int) -> None:
            self.begun.append(seq)
            if len(Slow.made) == 1:
                await wait.wait()
            self.ended.append(seq)

    engine = Engine(feeds=[feed], strategies=[Hangs], instruments=INSTRUMENTS)
    async with engine:
        await quotes(feed, range(1))
        await until(lambda: Slow.made[0].begun == [1])
        async with asyncio.timeout(20):
            assert (await engine.commands.submit(RestartStrategy("Hangs"))).status == "accepted"
        await quotes(feed, range(1, 4))
        await until(lambda: len(Slow.made[1].ended) >= 3)
        assert engine.report().strategies["Hangs"].faults == 0
    assert Slow.made[0].ended == []
    assert [letter.handler for letter in engine.dead_letters.list()] == ["on_quote"]
    assert "CancelledError" in engine.dead_letters.list()[0].reason


async def test_what_an_old_object_raises_late_counts_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slow, "call_s", 60.0)
    monkeypatch.setattr(Slow, "is_stubborn", True)
    monkeypatch.setattr("headrace.dispatch.awaited_calls.DRAIN_RUNNING_S", 0.02)
    feed = HandFeed()
    engine = Engine(feeds=[feed], strategies=[Slow], instruments=INSTRUMENTS)
    async with engine:
        for number in range(5):
            await quotes(feed, range(number, number + 1))
            await until(lambda: bool(Slow.made[-1].begun))
            assert (await engine.commands.submit(RestartStrategy("Slow"))).status == "accepted"
        await asyncio.sleep(0.15)
        report = engine.report().strategies["Slow"]
        assert (report.state, report.faults) == ("running", 0)
    assert {letter.reason for letter in engine.dead_letters.list()} == {f"ValueError: {seq}" for seq in range(1, 6)}


async def test_an_event_callback_of_an_old_object_counts_for_nobody() -> None:
    begun: list[int] = []

    class Hears(Strategy):
        async def on_signal(self, signal: Signal) -> None:
            begun.append(signal.side)
            await asyncio.sleep(0.02)
            self.set_timer("later", after="1h")

    engine = Engine(feeds=[HandFeed()], strategies=[Hears], instruments=INSTRUMENTS)
    async with engine:
        for count in range(1, 6):
            engine.bus.publish_nowait(Signal(source="other", instrument=BTC, side=1))
            await until(lambda count=count: len(begun) == count)  # type: ignore[misc]
            assert (await engine.commands.submit(RestartStrategy("Hears"))).status == "accepted"
        assert engine.report().strategies["Hears"].state == "running"
    assert engine.dead_letters.total == 0


async def test_an_event_callback_that_does_not_end_is_cancelled_by_a_restart() -> None:
    begun: list[int] = []

    class Hears(Strategy):
        async def on_signal(self, signal: Signal) -> None:
            begun.append(signal.side)
            if signal.side > 0:
                await asyncio.Event().wait()

    engine = Engine(feeds=[HandFeed()], strategies=[Hears], instruments=INSTRUMENTS)
    async with engine:
        engine.bus.publish_nowait(Signal(source="other", instrument=BTC, side=1))
        await until(lambda: begun == [1])
        async with asyncio.timeout(20):
            assert (await engine.commands.submit(RestartStrategy("Hears"))).status == "accepted"
        engine.bus.publish_nowait(Signal(source="other", instrument=BTC, side=-1))
        await until(lambda: begun == [1, -1])
        assert engine.report().strategies["Hears"].faults == 0


async def test_fresh_object_trades_and_has_no_timer_of_the_old_one() -> None:
    made: list[Trades] = []
    heard: list[tuple[int, str]] = []

    class Trades(Strategy):
        def on_start(self) -> None:
            made.append(self)
            self.set_timer(f"of {len(made)}", every="10ms")

        def on_quote(self, bid_price: float) -> None:
            self.buy(BTC, 1)

        def on_timer(self, timer: Timer) -> None:
            heard.append((made.index(self) + 1, timer.name))

    feed = HandFeed()
    engine = Engine(
        feeds=[feed],
        strategies=[Trades],
        instruments=INSTRUMENTS,
        broker=SimulatedBroker(),
        limits=LIMITS,
        clock=(clock := HandClock(START)),
    )
    async with engine:
        for command in (StopStrategy("Trades"), RestartStrategy("Trades")):
            assert (await engine.commands.submit(command)).status == "accepted"
        with pytest.raises(EngineError, match="was stopped, and a fresh one runs"):
            made[0].subscribe()
        clock.at_ns += 10_000_000
        await quotes(feed, range(10_000_000, 10_000_001))
        await until(lambda: engine.orders.stats().submitted == 1)
        await until(lambda: bool(heard))
    assert heard == [(2, "of 2")]
    assert engine.orders.stats().rejected == 0

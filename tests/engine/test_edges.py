"""The edges of a turn: faults, timers and subscriptions that a handler causes, and endless events."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar

import pytest

from headrace import Engine, Strategy
from headrace.commands import RestartStrategy, StopStrategy
from headrace.errors import DeadlockError, EngineError, OptionError
from headrace.market.events import OrderCanceled, OrderEvent, OrderRejected, Signal
from headrace.strategies.timers import Timer
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import INSTRUMENTS, SECOND, HandFeed, all_events, engine_over, market, until
from tests.support.feeding import BTC


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch) -> None:
    """Use a state folder of the test's own, so that no latch of this machine halts it and none is left."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Stubborn(Strategy):
    """Sends an order again at each refusal; every order is refused."""

    refused = 0

    def on_quote(self, seq: int) -> None:
        if seq == 3:
            self.buy(BTC, 10_000)

    def on_order(self, event: OrderEvent) -> None:
        if isinstance(event, OrderRejected):
            self.refused += 1
            self.buy(BTC, 10_000)


@pytest.mark.asyncio
async def test_a_refusal_loop_starves_neither_operator_nor_ticks() -> None:
    stubborn = Stubborn()
    feed = HandFeed()
    engine = Engine(feeds=[feed], strategies=[stubborn], broker=SimulatedBroker(), instruments=INSTRUMENTS)
    async with engine:
        feed.put(market([100.0] * 3, every_ns=0, start_ns=time.time_ns()))
        await until(lambda: stubborn.refused > 0)
        feed.put(market([100.0] * 3, every_ns=0, start_ns=time.time_ns()))
        await until(lambda: engine.dispatcher.ring.cursor == 6 and engine.dispatcher.is_caught_up)
        ack = await engine.commands.submit(StopStrategy("Stubborn"))
        assert ack.status == "accepted"
        await until(lambda: engine.bus.is_idle)


def test_endless_handlers_end_a_replay_with_a_diagnosis(monkeypatch) -> None:
    monkeypatch.setattr("headrace.engine.loop.replay.BARRIER_S", 0.2)
    with pytest.raises(DeadlockError, match="go on publishing more"):
        engine_over(market([100.0] * 5), [Stubborn]).run()


def test_events_without_end_are_repeated_to_the_same_one(tmp_path: Path) -> None:
    class Chain(Stubborn):
        def on_order(self, event: OrderEvent) -> None:
            if self.refused < 6_000:
                super().on_order(event)

    log = tmp_path / "run.log"
    ticks = market([100.0] * 200, every_ns=SECOND // 1_000)
    engine_over(ticks, [Chain], mode="live", speed=2.0, dispatch_log=log).run()
    again = engine_over(ticks, [Chain], mode="repeat", dispatch_log=log).run()
    assert again.repeated is not None
    assert again.repeated.difference == ""
    assert again.repeated.decisions > 12_000


class Late:
    """A timer that is set while the engine is idle; both strategies below use it."""

    fired: Timer | None = None

    def on_timer(self, timer: Timer) -> None:
        self.fired = timer


class LateInATask(Late, Strategy):
    async def on_quote(self, seq: int) -> None:
        await asyncio.sleep(0.05)
        self.set_timer("late", after="60ms")


class LateInAThread(Late, Strategy):
    subscription: ClassVar = {"mode": "thread"}

    def on_quote(self, seq: int) -> None:
        time.sleep(0.05)
        self.set_timer("late", after="60ms")


@pytest.mark.parametrize("strategy", [LateInATask, LateInAThread])
@pytest.mark.asyncio
async def test_a_timer_set_by_a_thread_fires_without_a_tick(strategy) -> None:
    own = strategy()
    feed = HandFeed()
    async with Engine(feeds=[feed], strategies=[own], instruments=INSTRUMENTS):
        feed.put(market([100.0], start_ns=time.time_ns()))
        await until(lambda: own.fired is not None)


def test_quarantine_cancels_orders_before_the_next_time() -> None:
    class Failing(Strategy):
        def on_quote(self, seq: int) -> None:
            if seq == 5:
                self.buy(BTC, 1, price="90")
            if 18 <= seq <= 20:
                raise ValueError(seq)

    ticks = market([100.0] * 20 + [80.0] * 5)
    engine = engine_over(ticks, [Failing], on_fault="quarantine")
    events = all_events(engine)
    report = engine.run()
    assert report.strategies["Failing"].orders.filled == 0
    assert [event.ts for event in events if isinstance(event, OrderCanceled)] == [int(ticks["ts_init"][19])]


class Joining(Strategy):
    """Publishes a signal for each quote, and adds a subscription in the middle."""

    def on_quote(self, seq: int) -> None:
        if seq == 50:
            self.subscribe(kinds=["quote"])
        self.signal(BTC, 1, strength=float(seq))


class JoiningByTimer(Strategy):
    """Adds the subscription in a timer, and closes it later."""

    def on_start(self) -> None:
        self.set_timer("join", after="100ms")

    def on_timer(self, _timer: Timer) -> None:
        self.joined = self.subscribe(kinds=["quote"], overflow="conflate")

    def on_quote(self, seq: int) -> None:
        self.signal(BTC, 1, strength=float(seq))
        if seq == 150:
            self.unsubscribe(self.joined)


@pytest.mark.parametrize("strategy", [Joining, JoiningByTimer])
def test_a_subscription_added_in_flight_is_repeated_there(strategy, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    ticks = market([100.0] * 200, every_ns=SECOND // 1_000)
    engine_over(ticks, [strategy], mode="live", speed=2.0, dispatch_log=log).run()
    again = engine_over(ticks, [strategy], mode="repeat", dispatch_log=log).run()
    assert again.repeated is not None
    assert again.repeated.difference == ""
    assert again.repeated.same


@pytest.mark.asyncio
async def test_shutdown_leaves_a_handler_that_ignores_cancellation(monkeypatch) -> None:
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_S", 0.2)
    done = asyncio.Event()

    async def deaf(_event: Signal) -> None:
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue

    engine = Engine()
    engine.bus.subscribe(Signal, deaf)
    async with asyncio.timeout(20):
        async with engine:
            engine.bus.publish_nowait(Signal(source="test", instrument=BTC, side=1))
            await asyncio.sleep(0)
    assert sum(engine.report().left.values()) >= 1
    done.set()
    await until(lambda: not [task for task in asyncio.all_tasks() if "headrace-bus" in task.get_name()])


@pytest.mark.asyncio
async def test_a_handler_of_a_replaced_object_can_send_no_order() -> None:
    tails: list[asyncio.Event] = []
    refused: list[EngineError] = []

    class Lingering(Strategy):
        async def on_quote(self) -> None:
            if tails:
                return
            tails.append(asyncio.Event())
            while not tails[0].is_set():
                try:
                    await tails[0].wait()
                except asyncio.CancelledError:
                    continue
            for act in (lambda: self.buy(BTC, 1), lambda: self.signal(BTC, 1), lambda: self.set_timer("x", after="1s")):
                with pytest.raises(EngineError, match="a fresh one runs") as caught:
                    act()
                refused.append(caught.value)

    feed = HandFeed()
    engine = Engine(feeds=[feed], strategies=[Lingering], broker=SimulatedBroker(), instruments=INSTRUMENTS)
    async with engine:
        feed.put(market([100.0], start_ns=time.time_ns()))
        await until(lambda: bool(tails))
        assert (await engine.commands.submit(RestartStrategy("Lingering"))).status == "accepted"
        tails[0].set()
        await until(lambda: len(refused) == 3)
    assert engine.orders.orders() == []


def test_refused_engine_options_leave_no_thread_behind() -> None:
    def threads() -> set[str]:
        return {thread.name for thread in Path("/proc/self/task").iterdir()}

    before = threads()
    with pytest.raises(OptionError, match="given twice") as kept:
        Engine(instruments=[*INSTRUMENTS, *INSTRUMENTS])
    assert threads() <= before, kept

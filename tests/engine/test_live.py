"""An engine on a live clock under commands: what a paused, quarantined, stopped or restarted strategy gets."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import FrameType
from typing import Any, ClassVar

import pytest

from headrace import Engine, Strategy, StrategySpec
from headrace.commands import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    Flatten,
    Halt,
    PauseStrategy,
    Rearm,
    RestartStrategy,
    ResumeStrategy,
    SetSubscription,
    Status,
    StopStrategy,
)
from headrace.engine.loop.live import LiveDriver
from headrace.engine.service import Service
from headrace.errors import RecordingError
from headrace.market.bars import BarSpec
from headrace.market.events import Bar, OrderCanceled, OrderRejected, StrategyStateChanged
from headrace.trading.brokers.simulated import SimulatedBroker
from headrace.trading.orders import Order
from tests.support.engines import FAST, INSTRUMENTS, LIMITS, HandFeed, Recorder, engine_over, market, until
from tests.support.feeding import BTC, ETH

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch) -> None:
    """Use a state folder of the test's own, so that no latch of this machine halts it and none is left."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


@asynccontextmanager
async def running(strategies: list[Any], **options: Any) -> AsyncIterator[tuple[Engine, HandFeed]]:
    """Run an engine over a feed that the test moves."""
    feed = HandFeed()
    defaults = {"broker": SimulatedBroker(), "instruments": INSTRUMENTS, "limits": LIMITS}
    engine = Engine(feeds=[feed], strategies=strategies, **{**defaults, **options})
    async with engine:
        yield engine, feed


def order_of(engine: Engine, order_id: str) -> Order:
    """Return an order that must exist."""
    order = engine.orders.order(order_id)
    assert order is not None
    return order


class Hand:
    """Puts quotes into a feed, one after the other, and waits until the engine has dispatched them."""

    def __init__(self, engine: Engine, feed: HandFeed) -> None:
        self.engine, self.feed = engine, feed
        self.published = 0

    async def quotes(self, *bids: float) -> None:
        self.feed.put(market(bids, every_ns=0, start_ns=time.time_ns()))
        self.published += len(bids)
        await until(
            lambda: self.engine.dispatcher.ring.cursor >= self.published and self.engine.dispatcher.is_caught_up
        )
        await until(lambda: self.engine.bus.is_idle)


async def test_a_live_run_over_an_array_accounts_for_every_tick() -> None:
    strategy = Recorder({5: lambda own: own.buy(BTC, 1)})
    engine = engine_over(market(range(100, 5_100)), [strategy], mode="live", speed=FAST)
    report = await engine.run_async()
    assert report.ended_by == "feeds ended"
    assert strategy.quotes == list(range(1, 5_001))
    (law,) = report.strategies["Recorder"].subscriptions.values()
    assert law.accounted == law.published == 5_000
    assert len(strategy.fills) == 1
    assert strategy.calls == ["start", "stop"]
    assert all(lane.left == 0 for lane in report.lanes.values())


async def test_a_paused_strategy_gets_fills_only_and_may_reduce() -> None:
    strategy = Recorder()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100, 100)
        strategy.buy(BTC, 1)
        resting = strategy.buy(BTC, 1, price="50")
        await until(lambda: engine.bus.is_idle)
        ack = await engine.commands.submit(PauseStrategy("Recorder"))
        assert ack.status == "accepted"
        assert (await engine.commands.submit(PauseStrategy("Recorder"))).status == "noop"
        seen = len(strategy.quotes)
        # The market order fills at the next quote, though its strategy is paused.
        await hand.quotes(101, 102)
        assert len(strategy.quotes) == seen
        assert [fill.quantity for fill in strategy.fills] == [Decimal(1)]
        more = strategy.buy(BTC, 1)
        less = strategy.sell(BTC, "0.5")
        assert strategy.cancel(resting) == "accepted"
        await hand.quotes(103)
        states = {order.order_id: str(order.state) for order in engine.orders.orders()}
        assert states[more] == "rejected"
        assert states[less] == "filled"
        assert states[resting] == "canceled"
        assert order_of(engine, more).gate == "permission"
        assert (await engine.commands.submit(ResumeStrategy("Recorder"))).status == "accepted"
        await hand.quotes(104)
        assert strategy.gaps == [3]
        assert strategy.quotes[-1] == 6
    assert strategy.calls == ["start", "pause", "resume", "stop"]


async def test_a_restart_makes_a_fresh_object_and_loads_its_state() -> None:
    class Other(Strategy):
        seen = 0

        def on_quote(self, seq: int) -> None:
            self.seen += 1

    made: list[Any] = []

    class Remembering(Recorder):
        def __init__(self, start: int) -> None:
            super().__init__()
            self.start = start
            made.append(self)

    other = Other()
    spec = StrategySpec(strategy=Remembering, parameters={"start": 7})
    async with running([spec, other]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100, 101)
        resting = made[-1].buy(BTC, 1, price="50")
        await until(lambda: engine.bus.is_idle)
        assert (await engine.commands.submit(RestartStrategy("Remembering"))).status == "accepted"
        await hand.quotes(102, 103)
        old, new = made[-2:]
        assert old.calls == ["start", "save", "stop"]
        assert new.calls[:2] == ["load", "start"]
        assert new.loaded == {"quotes": 2}
        assert new.start == 7
        assert old.quotes == [1, 2]
        assert new.quotes[-2:] == [3, 4]
        assert other.seen == 4
        assert str(order_of(engine, resting).state) == "canceled"
        report = engine.report()
        assert [law.accounted for law in report.strategies["Remembering"].subscriptions.values()] == [4]


async def test_quarantine_cancels_orders_and_keeps_the_position() -> None:
    def fail(own: Recorder) -> None:
        raise ZeroDivisionError("bad")

    strategy = Recorder({4: fail, 5: fail, 6: fail})
    good = Recorder()
    states: list[str] = []
    async with running([strategy, StrategySpec(strategy=good, name="good")]) as (engine, feed):
        engine.bus.subscribe(StrategyStateChanged, lambda event: states.append(event.after), name="states")
        hand = Hand(engine, feed)
        await hand.quotes(100)
        strategy.buy(BTC, 1)
        resting = strategy.buy(BTC, 1, price="50")
        await hand.quotes(100, 101)
        await hand.quotes(101, 102, 103)
        await until(lambda: "quarantined" in states)
        await hand.quotes(104, 105)
        assert strategy.quotes == [1, 2, 3, 4, 5, 6]
        assert len(good.quotes) == 8
        assert str(order_of(engine, resting).state) == "canceled"
        assert strategy.position(BTC).quantity == 1
        assert not any(isinstance(event, OrderCanceled) for event in strategy.orders), "its callbacks no longer run"
        reducing = engine.orders.submit(strategy="Recorder", instrument=BTC, side=-1, quantity=1, reduce_only=True)
        # Not even what reduces.
        await until(lambda: order_of(engine, reducing).gate == "permission")
        assert (await engine.commands.submit(ResumeStrategy("Recorder"))).status == "accepted"
        await hand.quotes(106)
        assert strategy.quotes[-1] == 9
        strategy.sell(BTC, 1)
        await hand.quotes(106)
        assert strategy.position(BTC).is_flat


async def test_restart_gives_a_quarantined_strategy_its_permission_back() -> None:
    class Fails(Recorder):
        made: ClassVar[list[Fails]] = []

        def __init__(self) -> None:
            def fail(_: Recorder) -> None:
                raise ZeroDivisionError("bad")

            super().__init__({} if self.made else {1: fail, 2: fail, 3: fail})
            self.made.append(self)

    async with running([Fails]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100, 101, 102)
        await until(lambda: str(engine.strategies["Fails"].state) == "quarantined")
        refused = engine.orders.submit(strategy="Fails", instrument=BTC, side=1, quantity=1)
        await until(lambda: order_of(engine, refused).gate == "permission")
        assert (await engine.commands.submit(RestartStrategy("Fails"))).status == "accepted"
        Fails.made[-1].buy(BTC, 1)
        await hand.quotes(103, 104)
        assert Fails.made[-1].position(BTC).quantity == 1


async def test_orders_are_kept_in_quarantine_by_option() -> None:
    def fail(own: Recorder) -> None:
        raise ZeroDivisionError("bad")

    strategy = Recorder({2: fail, 3: fail, 4: fail})
    spec = StrategySpec(strategy=strategy, on_quarantine="keep")
    async with running([spec]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        resting = strategy.buy(BTC, 1, price="50")
        await hand.quotes(100, 101, 102)
        await until(lambda: str(engine.strategies["Recorder"].state) == "quarantined")
        await hand.quotes(103)
        assert order_of(engine, resting).is_open


async def test_order_commands_are_answered_by_their_outcome() -> None:
    strategy = Recorder()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        filled = strategy.buy(BTC, 1)
        resting = strategy.buy(BTC, 1, price="50")
        await hand.quotes(100)
        submit = engine.commands.submit
        assert (await submit(CancelOrder("nobody's"))).status == "rejected"
        assert (await submit(CancelOrder(filled))).status == "noop"
        assert (await submit(CancelOrder(resting))).status == "accepted"
        await until(lambda: engine.bus.is_idle)
        assert (await submit(CancelOrder(resting))).status == "noop"
        assert (await submit(CancelAll())).status == "noop"
        flatten = await submit(Flatten(strategy="Recorder"))
        assert flatten.status == "accepted"
        await hand.quotes(101)
        assert strategy.position(BTC).quantity == 0
        assert (await submit(Flatten(strategy="Recorder"))).status == "noop"
        assert (await submit(PauseStrategy("Nobody"))).status == "rejected"


async def test_an_operator_amends_an_open_order() -> None:
    strategy = Recorder()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        resting = strategy.buy(BTC, 1, price="50")
        await hand.quotes(100)
        submit = engine.commands.submit
        assert (await submit(AmendOrder(resting, price="60", quantity="2"))).status == "accepted"
        await until(lambda: order_of(engine, resting).price == Decimal(60))
        assert order_of(engine, resting).quantity == 2
        wrong = await submit(AmendOrder(resting, trail="2%"))
        assert (wrong.status, "trail is nothing that a limit order" in wrong.reason) == ("rejected", True)
        assert (await submit(AmendOrder(resting))).status == "rejected"
        assert (await submit(AmendOrder("nobody's", price="1"))).status == "rejected"
        assert (await submit(CancelOrder(resting))).status == "accepted"
        await until(lambda: not order_of(engine, resting).is_open)
        assert (await submit(AmendOrder(resting, price="70"))).status == "noop"


async def test_flatten_says_what_it_waits_for_and_until_when() -> None:
    class Deaf(SimulatedBroker):
        """Answers no cancel."""

        def cancel(self, order_id: str, cause: object = None) -> None: ...

    strategy = Recorder()
    async with running([strategy], broker=Deaf()) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        strategy.buy(BTC, 1)
        await hand.quotes(100)
        resting = strategy.buy(BTC, 1, price="50")
        await hand.quotes(100)
        ack = await engine.commands.submit(Flatten())
        assert (ack.status, ack.detail["waits_for"]) == ("accepted", [resting])
        assert f"as soon as {resting} ended, after 5 s at the latest" in ack.reason


@pytest.mark.parametrize("command", [CancelAll, Flatten])
async def test_a_command_for_an_unknown_name_is_rejected(command: Any) -> None:
    strategy = Recorder()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        strategy.buy(BTC, 1)
        await hand.quotes(101)
        submit = engine.commands.submit
        unknown = await submit(command(instrument="BTCUSDT"))
        assert (unknown.status, BTC in unknown.reason) == ("rejected", True)
        unknown = await submit(command(strategy="Recoder"))
        assert (unknown.status, "there are Recorder" in unknown.reason) == ("rejected", True)
        assert strategy.position(BTC).quantity == 1
        assert (await submit(command(strategy="Recorder", instrument=ETH))).status == "noop"


class Buys(Strategy):
    """Buys at each bar, and then raises."""

    bars = (BarSpec(BTC, "1t", price="mid"),)

    def on_bar(self, bar: Bar) -> Any:
        self.buy(BTC, 1, price="50")
        raise ValueError("behind the order")


class BuysLater(Buys):
    async def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)


@pytest.mark.parametrize("strategy", [Buys, BuysLater])
async def test_a_bar_handler_that_buys_and_raises_buys_once(strategy: type[Strategy]) -> None:
    async with running([strategy]) as (engine, feed):
        await Hand(engine, feed).quotes(100)
        await until(lambda: engine.bus.is_idle)
        assert engine.orders.stats().submitted == 1
        assert [letter.attempts for letter in engine.dead_letters.list()] == [1]
        assert str(engine.strategies[strategy.__name__].state) == "running"


async def test_a_timer_without_on_timer_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Strategy):
        def on_start(self) -> None:
            self.set_timer("beat", every="1ms")

    async with running([Deaf()]) as (engine, _feed):
        began_ns = engine.clock.now_ns()
        await until(lambda: engine.clock.now_ns() > began_ns + 20_000_000)
    assert [record.message for record in caplog.records].count("timer 'beat' fires, and Deaf has no on_timer") == 1


async def test_a_halt_refuses_orders_and_lets_cancels_pass() -> None:
    strategy = Recorder()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        resting = strategy.buy(BTC, 1, price="50")
        await until(lambda: engine.bus.is_idle)
        assert (await engine.commands.submit(Halt("test"))).status == "accepted"
        assert (await engine.commands.submit(Halt("test"))).status == "noop"
        refused = strategy.buy(BTC, 1)
        await until(lambda: engine.bus.is_idle)
        rejected = next(event for event in strategy.orders if isinstance(event, OrderRejected))
        assert (rejected.order_id, rejected.gate) == (refused, "halted")
        assert strategy.cancel(resting) == "accepted"
        assert (await engine.commands.submit(Rearm())).status == "accepted"
        passed = strategy.buy(BTC, 1)
        await hand.quotes(101)
        assert str(order_of(engine, passed).state) == "filled"


async def test_a_stopped_strategy_stays_stopped_until_it_is_restarted(caplog: pytest.LogCaptureFixture) -> None:
    strategy = Recorder()
    async with running([StrategySpec(strategy=strategy, factory=Recorder)]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        assert (await engine.commands.submit(StopStrategy("Recorder"))).status == "accepted"
        assert (await engine.commands.submit(StopStrategy("Recorder"))).status == "noop"
        refused = await engine.commands.submit(ResumeStrategy("Recorder"))
        assert (refused.status, refused.reason.endswith(": restart it")) == ("rejected", True)
        await hand.quotes(101)
        assert strategy.quotes == [1]
        assert (await engine.commands.submit(RestartStrategy("Recorder"))).status == "accepted"
        await hand.quotes(102)
        fresh = engine.strategies["Recorder"].strategy
        assert isinstance(fresh, Recorder)
        assert fresh is not strategy
        assert "Recorder is stopped and saves nothing: it starts without what it knew" in caplog.messages
        assert fresh.quotes[-1] == 3


async def test_delivery_options_can_change_while_ticks_flow() -> None:
    class Batches(Strategy):
        def __init__(self) -> None:
            self.lengths: list[int] = []

        def on_quotes(self, bid_price) -> None:
            self.lengths.append(len(bid_price))

    strategy = Batches()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(*range(10))
        ack = await engine.commands.submit(SetSubscription("Batches", batch_max=5))
        assert ack.status == "accepted"
        await hand.quotes(*range(10))
        assert strategy.lengths == [10, 5, 5]
        refused = await engine.commands.submit(SetSubscription("Batches", on_lag="skip"))
        assert refused.status == "rejected"
        assert "lag_max" in refused.reason


async def test_status_holds_strategy_states_and_tick_counts() -> None:
    async with running([Recorder()]) as (engine, feed):
        await Hand(engine, feed).quotes(100)
        ack = await engine.commands.submit(Status())
        assert ack.detail["strategies"]["Recorder"]["state"] == "running"
        assert ack.detail["ticks"] == 1


async def test_a_service_that_fails_is_started_again_and_counted() -> None:
    class Flaky(Service):
        starts = 0

        async def run(self) -> None:
            self.starts += 1
            if self.starts < 2:
                raise OSError("gone")
            await asyncio.Event().wait()

    flaky = Flaky()
    async with running([Recorder()], services=[flaky]) as (engine, _):
        await until(lambda: flaky.starts == 2)
        assert engine.services.restarts["Flaky"] == 1
        assert engine.services.health()["Flaky"] == "ok"


async def test_subscriptions_can_be_added_and_removed_in_a_run() -> None:
    class Growing(Strategy):
        subscription: ClassVar = {"instruments": "NONE.BINANCE"}

        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_quote(self, seq: int) -> None:
            self.seen.append(seq)

    strategy = Growing()
    async with running([strategy]) as (engine, feed):
        hand = Hand(engine, feed)
        await hand.quotes(100)
        added = strategy.subscribe(instruments=BTC)
        await hand.quotes(101)
        strategy.unsubscribe(added)
        await hand.quotes(102)
        assert strategy.seen[-1:] == [2]
        assert 3 not in strategy.seen


async def test_timers_fire_by_wall_time_and_count_missed_firings() -> None:
    class Timed(Recorder):
        def on_start(self) -> None:
            self.set_timer("fast", every="5ms")
            self.set_timer("once", after="1ms")

    strategy = Timed()
    async with running([strategy]):
        await until(lambda: len(strategy.timers) >= 5)
    names = [timer.name for timer in strategy.timers]
    assert names.count("once") == 1
    dues = [timer.due_ns for timer in strategy.timers if timer.name == "fast"]
    assert dues == sorted(set(dues))
    assert all(due % 5_000_000 == 0 for due in dues)


@pytest.mark.parametrize("wait", ["park", "spin"])
async def test_every_way_of_waiting_delivers_the_same_ticks(wait: str) -> None:
    strategy = Recorder()
    async with running([strategy], wait=wait) as (engine, feed):
        await Hand(engine, feed).quotes(100, 101)
    assert strategy.quotes == [1, 2]


async def test_a_spinning_engine_has_no_turn_where_nothing_is_due() -> None:
    turns = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal turns
        turns += event == "call" and frame.f_code is LiveDriver.turn.__code__

    strategy = Recorder()
    async with running([strategy], wait="spin") as (engine, feed):
        await Hand(engine, feed).quotes(100)
        await until(lambda: engine.bus.is_idle)
        sys.setprofile(count)
        try:
            for _ in range(1_000):
                await asyncio.sleep(0)
        finally:
            sys.setprofile(None)
        # One for each, if a turn came with each look at the sockets; now and then a service has something to do.
        assert turns < 10
        await Hand(engine, feed).quotes(101)
    assert strategy.quotes == [1, 2]


async def test_a_spinning_engine_follows_a_clock_faster_than_the_loops() -> None:
    class Waits(Strategy):
        def __init__(self) -> None:
            self.fired = False

        def on_start(self) -> None:
            self.set_timer("hour", after="1h")

        def on_timer(self, timer) -> None:
            self.fired = True

    class Fast:
        began_ns = time.time_ns()

        def now_ns(self) -> int:
            return self.began_ns + (time.time_ns() - self.began_ns) * 100_000

    strategy = Waits()
    async with running([strategy], wait="spin", clock=Fast()):
        await until(lambda: strategy.fired)


async def test_the_idle_collector_restores_the_interpreter() -> None:
    assert gc.isenabled()
    async with running([Recorder()], gc="idle") as (engine, feed):
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        await Hand(engine, feed).quotes(100)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


async def test_a_feed_that_fails_to_open_ends_the_run_first(tmp_path) -> None:
    strategy = Recorder()
    engine = Engine(feeds=[str(tmp_path / "missing.gz")], strategies=[strategy])
    with pytest.raises(RecordingError, match="missing"):
        await engine.run_async()
    assert strategy.calls == []


async def test_bars_without_on_bar_and_on_bar_without_bars_are_warned(caplog: pytest.LogCaptureFixture) -> None:
    class Forgot(Strategy):
        bars = ("1s",)

        def on_quote(self, seq: int) -> None: ...

    class Waits(Strategy):
        def on_bar(self, bar) -> None: ...

    async with running([Forgot(), Waits()]):
        said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "Forgot has bars and no on_bar: no bar will reach it" in said
    assert "Waits has on_bar and no bars: no bar will reach it" in said


async def test_an_order_for_a_bare_symbol_names_the_instrument() -> None:
    strategy = Recorder()
    async with running([strategy]) as (engine, feed):
        await Hand(engine, feed).quotes(100)
        refused = strategy.buy("BTCUSDT", 1)
        await until(lambda: engine.bus.is_idle)
        assert "order SYMBOL.VENUE, like BTCUSDT.BINANCE" in order_of(engine, refused).reason

"""A live run and its repeat from the dispatch log make equal decisions, whatever was dropped, folded or commanded."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import BarSpec, Engine, Strategy, StrategySpec
from headrace.commands import (
    CancelAll,
    Command,
    Drain,
    Flatten,
    Halt,
    PauseStrategy,
    Rearm,
    RestartStrategy,
    ResumeStrategy,
    SetSubscription,
)
from headrace.engine.report import Report
from headrace.errors import DispatchLogError
from headrace.market.events import Lane
from tests.support.engines import FAST, SECOND, Recorder, engine_over, market, until
from tests.support.feeding import BTC, ETH

COMMANDS: tuple[Command, ...] = (
    PauseStrategy("Trading"),
    ResumeStrategy("Trading"),
    RestartStrategy("Trading"),
    PauseStrategy("Second"),
    ResumeStrategy("Second"),
    SetSubscription("Second", batch_max=7),
    CancelAll(),
    Flatten(),
    Halt("for a while"),
    Rearm(),
)


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch) -> None:
    """Use a state folder of the test's own, so that no latch of this machine halts it and none is left."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Trading(Recorder):
    """Buys and sells by the numbers of its quotes, bars and timers, so any changed call changes its decisions."""

    bars = (BarSpec(BTC, "1s", price="mid"),)

    def on_start(self) -> None:
        self.set_timer("each", every="700ms")

    def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
        if seq % 97 == 3:
            self.buy(instrument, "0.5")
        if seq % 89 == 5:
            self.sell(instrument, "0.25", price=str(bid_price + 1))
        if seq % 211 == 0:
            self.signal(instrument, 1, strength=float(seq))

    def on_gap(self, missing: int | None) -> None:
        self.signal(BTC, -1, strength=float(missing or 0))

    def on_bar(self, bar) -> None:
        if bar.close > bar.open:
            self.buy(bar.instrument, "0.125")

    def on_timer(self, timer) -> None:
        self.signal(BTC, 0, strength=float(timer.missed))

    def on_save(self) -> object:
        return None


class Second(Strategy):
    """Publishes the length and the sum of each batch as a signal."""

    def on_quotes(self, bid_price: np.ndarray) -> None:
        self.signal(ETH, 1, strength=float(len(bid_price)), price=float(bid_price.sum()))

    def on_gap(self, missing: int | None) -> None:
        self.signal(ETH, -1, strength=float(missing or 0))


def ticks_of(seed: int, count: int = 6_000) -> list[np.ndarray]:
    """Two markets at random."""
    draw = random.Random(seed)
    prices = [100.0]
    for _ in range(count):
        prices.append(max(50.0, prices[-1] + draw.choice((-1.0, 0.0, 1.0))))
    return [
        market(prices, every_ns=SECOND // 2_000),
        market(prices[::-2], instrument=ETH, every_ns=SECOND // 1_000),
    ]


def engine(seed: int, subscription: dict[str, Any], trading: type[Strategy] = Trading, **options: Any) -> Engine:
    strategies = [
        StrategySpec(strategy=trading, subscription=subscription),
        StrategySpec(strategy=Second, subscription=subscription),
    ]
    # So small that each lossy reader loses ticks.
    return engine_over(ticks_of(seed), strategies, ring_capacity=512, **options)


async def live(seed: int, subscription: dict[str, Any], log: Path, *, commands: bool) -> Report:
    """Run live over the ticks, as fast as it goes, with commands at random moments."""
    draw = random.Random(seed)
    running = engine(seed, subscription, mode="live", speed=20.0, slice_ns=20_000, dispatch_log=log)
    task = asyncio.create_task(running.run_async())
    # An early halt would leave too little to compare.
    await until(lambda: task.done() or running.bus.stats().lanes[Lane.SIGNAL].processed > 10)
    while commands and not task.done():
        await asyncio.sleep(draw.random() / 100)
        await running.commands.submit(draw.choice(COMMANDS))
    return await task


def repeat(seed: int, subscription: dict[str, Any], log: Path, trading: type[Strategy] = Trading) -> Report:
    return engine(seed, subscription, trading, mode="repeat", dispatch_log=log).run()


@pytest.mark.parametrize("commands", [False, True], ids=["alone", "commanded"])
@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "conflate"])
def test_a_live_run_and_its_repetition_decide_alike(overflow: str, commands: bool, tmp_path: Path, seed: int) -> None:
    subscription = {"overflow": overflow, "kinds": ["quote"]}
    log = tmp_path / "run.log"
    first = asyncio.run(live(seed, subscription, log, commands=commands))
    again = repeat(seed, subscription, log)
    assert again.repeated is not None
    assert again.repeated.difference == ""
    assert again.repeated.same
    assert again.repeated.whole
    assert again.repeated.decisions > 10
    for name, strategy in first.strategies.items():
        other = again.strategies[name]
        assert strategy.orders == other.orders
        assert [own.quantity for own in strategy.positions] == [own.quantity for own in other.positions]
        assert [(law.delivered, law.missed, law.conflated) for law in strategy.subscriptions.values()] == [
            (law.delivered, law.missed, law.conflated) for law in other.subscriptions.values()
        ]


class Stalling(Trading):
    """Holds the loop once, so that more ticks fall due than the ring holds."""

    def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
        if seq == 600:
            time.sleep(0.05)
        super().on_quote(seq, instrument, bid_price)


def test_ticks_are_lost_live_and_lost_again(tmp_path: Path, seed: int) -> None:
    subscription = {"overflow": "drop_oldest", "kinds": ["quote"], "batch_max": 1}
    log = tmp_path / "run.log"

    async def flooded() -> Report:
        running = engine(seed, subscription, Stalling, mode="live", speed=FAST, slice_ns=1, dispatch_log=log)
        return await running.run_async()

    first = asyncio.run(flooded())
    again = repeat(seed, subscription, log, Stalling)
    missed = [law.missed for strategy in first.strategies.values() for law in strategy.subscriptions.values()]
    assert sum(missed) > 0
    assert missed == [law.missed for strategy in again.strategies.values() for law in strategy.subscriptions.values()]
    assert again.repeated is not None
    assert again.repeated.same, again.repeated.difference


def test_a_run_drained_by_command_is_repeated_to_that_point(tmp_path: Path, seed: int) -> None:
    subscription = {"overflow": "block", "kinds": ["quote"]}
    log = tmp_path / "run.log"

    async def drained() -> Report:
        running = engine(seed, subscription, mode="live", speed=5.0, dispatch_log=log)
        async with running:
            await until(lambda: running.dispatcher.ring.cursor > 500)
            await running.commands.submit(Drain())
            await until(lambda: running.report().ended_by == "drained by command")
        return running.report()

    first = asyncio.run(drained())
    again = repeat(seed, subscription, log)
    assert again.repeated is not None
    assert again.repeated.same, again.repeated.difference
    assert again.repeated.whole
    assert 500 < sum(first.ticks.values()) < sum(len(own) for own in ticks_of(seed))
    assert [law.delivered for own in first.strategies.values() for law in own.subscriptions.values()] == [
        law.delivered for own in again.strategies.values() for law in own.subscriptions.values()
    ]


def test_a_different_decision_is_reported_with_both_versions(tmp_path: Path, seed: int, monkeypatch) -> None:
    subscription = {"kinds": ["quote"]}
    log = tmp_path / "run.log"
    asyncio.run(live(seed, subscription, log, commands=False))
    monkeypatch.setattr(Trading, "on_bar", lambda self, bar: self.buy(bar.instrument, "0.75"))
    again = repeat(seed, subscription, log)
    assert again.repeated is not None
    assert not again.repeated.same
    assert again.repeated.difference.startswith("decision ")
    assert '"quantity":"0.75"' in again.repeated.difference


def test_other_ticks_are_refused_where_they_end(tmp_path: Path, seed: int) -> None:
    log = tmp_path / "run.log"
    asyncio.run(live(seed, {"kinds": ["quote"]}, log, commands=False))
    strategies = [
        StrategySpec(strategy=Trading, subscription={"kinds": ["quote"]}),
        StrategySpec(strategy=Second, subscription={"kinds": ["quote"]}),
    ]
    shorter = [own[: len(own) // 2] for own in ticks_of(seed)]
    short = engine_over(shorter, strategies, ring_capacity=512, mode="repeat", dispatch_log=log)
    with pytest.raises(DispatchLogError, match="the sources end at position"):
        short.run()


def test_a_subscription_tuned_before_its_first_tick_is_repeated(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    subscription = {"kinds": ["quote"]}

    async def tuned_at_once() -> None:
        running = engine(7, subscription, mode="live", speed=1.0, dispatch_log=log)
        running.dispatcher.stop()
        async with running:
            assert (await running.commands.submit(SetSubscription("Second", batch_max=7))).status == "accepted"

    asyncio.run(tuned_at_once())
    assert repeat(7, subscription, log).strategies["Second"].state == "stopped"

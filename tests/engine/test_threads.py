"""Strategies that trade in their own threads under an operator's commands: nothing is lost, doubled or torn."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.commands import CancelAll, Flatten, PauseStrategy, RestartStrategy, ResumeStrategy, StopStrategy
from headrace.market.events import OrderFill
from tests.support.engine_world import NAMES, Checked, Every, Threaded, World
from tests.support.engines import INSTRUMENTS, SECOND, HandFeed, Recorder, market, until

ROUNDS = 60
STEERING = (PauseStrategy, ResumeStrategy, ResumeStrategy, RestartStrategy, StopStrategy)


@pytest.mark.asyncio
async def test_threads_that_trade_under_commands_keep_every_law(tmp_path: Path, seed: int) -> None:
    numbers = random.Random(seed)
    kinds: dict[str, type[Checked]] = {"one": Threaded, "two": Threaded, "inline": Every}
    world = World(tmp_path, kinds)
    async with world.engine:
        for name in NAMES:
            # No order passes the gates before the first trade, since these strategies use trades.
            world.flow(name, "trade", [100.0])
        for number in range(ROUNDS):
            prices = [100.0 + numbers.randrange(-3, 4) for _ in range(numbers.randrange(1, 60))]
            world.flow(numbers.choice(NAMES), "quote", prices)
            world.clock.at_ns += SECOND // 100
            if numbers.random() < 0.6:
                world.submit(numbers.choice(STEERING)(numbers.choice(["one", "two"])))
            if numbers.random() < 0.1:
                world.submit(numbers.choice([CancelAll(), Flatten("one")]))
            if numbers.random() < 0.1:
                world.planned["two", "ticks"] = [ValueError] * 3
            await asyncio.sleep(numbers.random() ** 3 * 0.005)
            if number % 10 == 9:
                await world.settle()
        await world.settle()
    world.check()
    report = world.engine.report()
    assert report.left == {}
    assert sum(isinstance(event, OrderFill) for event in world.events) > 0
    assert not any(law.pending for own in report.strategies.values() for law in own.subscriptions.values())
    (inline,) = report.strategies["inline"].subscriptions.values()
    assert inline.delivered == inline.published == world.put, "nobody else's thread costs the inline one a tick"


@pytest.mark.asyncio
async def test_a_stuck_strategy_thread_does_not_delay_the_stop(tmp_path: Path) -> None:
    inside, let_go = threading.Event(), threading.Event()

    class Stuck(Strategy):
        subscription: ClassVar = {"mode": "thread"}

        def on_quote(self, seq: int) -> None:
            inside.set()
            let_go.wait(20)

    inline, feed = Recorder(), HandFeed()
    engine = Engine(feeds=[feed], strategies=[Stuck(), inline], instruments=INSTRUMENTS, state_folder=tmp_path)
    async with engine:
        feed.put(market([100.0]))
        await until(inside.is_set)
        stop = asyncio.ensure_future(engine.commands.submit(StopStrategy("Stuck")))
        await until(lambda: str(engine.strategies["Stuck"].state) == "stopped")
        feed.put(market([101.0, 102.0]))
        await until(lambda: inline.quotes == [1, 2, 3])
        assert not stop.done(), "its thread is waited for, but not by everybody"
        let_go.set()
        assert (await stop).status == "accepted"


@pytest.mark.asyncio
@pytest.mark.parametrize("ends", [True, False], ids=["that ends", "that does not end"])
async def test_an_ending_engine_waits_for_a_threads_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_S", 10.0 if ends else 0.1)
    monkeypatch.setattr("headrace.dispatch.dispatcher.CLOSE_DEADLINE_S", 0.2)
    inside, let_go = threading.Event(), threading.Event()

    class Stuck(Strategy):
        subscription: ClassVar = {"mode": "thread"}

        def on_quote(self, seq: int) -> None:
            inside.set()
            let_go.wait(20)

    windows: list[int] = []

    class Windowed(Strategy):
        subscription: ClassVar = {"every": "1h"}

        def on_quotes(self, bid_price: np.ndarray) -> None:
            windows.append(len(bid_price))

    feed = HandFeed()
    engine = Engine(feeds=[feed], strategies=[Stuck(), Windowed()], instruments=INSTRUMENTS, state_folder=tmp_path)
    async with engine:
        feed.put(market([100.0, 101.0]))
        await until(inside.is_set)
        if ends:
            asyncio.get_running_loop().call_later(0.05, let_go.set)
    let_go.set()
    assert windows == [2]
    assert [str(runner.state) for runner in engine.strategies.values()] == ["stopped", "stopped"]
    # The ticks of a thread that is left behind are not known.
    names = ["Stuck", "Windowed"] if ends else ["Windowed"]
    laws = [law for name in names for law in engine.report().strategies[name].subscriptions.values()]
    assert all(law.accounted == law.published == 2 for law in laws)

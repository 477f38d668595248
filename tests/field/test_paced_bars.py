"""Bars of a paced live run are those of the replay at every speed: the clock closed them before ticks that were due."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import BarSpec, Engine, Strategy, replay
from headrace.market.events import Bar
from headrace.strategies.timers import Timer
from tests.support.engines import START, market
from tests.support.feeding import BTC, ETH


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a state folder of the test's own."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Bars(Strategy):
    """Keeps bars, and when each timer fired; spends its time as a strategy does."""

    bars: ClassVar = [BarSpec("*", "1s", price="mid"), BarSpec("*", "7s", price="mid", empty=True)]

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_start(self) -> None:
        self.set_timer("every", every="3s")

    def on_bar(self, bar: Bar) -> None:
        prices = (bar.open, bar.high, bar.low, bar.close)
        self.seen.append((bar.instrument, bar.timeframe, bar.ts_close, prices, bar.count))

    def on_timer(self, timer: Timer) -> None:
        self.seen.append(timer.due_ns)

    def on_quote(self, bid_price: float) -> None:
        sum(range(20))


def quotes(seconds: int, seed: int) -> list[np.ndarray]:
    """Two instruments, a hundred quotes a second in bursts, one of them silent now and then."""
    random = np.random.default_rng(seed)
    arrays = []
    for instrument in (BTC, ETH):
        array = market(100 + random.integers(-50, 50, 100 * seconds), instrument=instrument)
        at_ms = np.sort(random.choice(np.arange(seconds * 1_000), len(array)))
        array["ts_init"] = array["ts_event"] = START + at_ms * 1_000_000
        arrays.append(array)
    return arrays


@pytest.mark.parametrize("speed", [20.0, 100.0, 1_000.0, 20_000.0, 1e7])
def test_bars_of_a_paced_run_are_those_of_the_replay(speed: float, seed: int) -> None:
    ticks = quotes(30, seed)
    expected, paced = Bars(), Bars()
    replay(ticks, expected)
    Engine(feeds=ticks, strategies=paced, speed=speed).run()
    assert len(expected.seen) > 50
    assert paced.seen == expected.seen


def test_bars_wait_for_a_feed_that_reads_in_blocks(seed: int) -> None:
    class Blocks:
        """A feed of the past that takes a moment for each block, as a file does."""

        name, venue = "blocks", None

        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def __aiter__(self) -> AsyncIterator[np.ndarray]:
            for block in np.array_split(quotes(30, seed)[0], 60):
                await asyncio.sleep(0.005)
                yield block

    expected, paced = Bars(), Bars()
    replay(Blocks(), expected)
    Engine(feeds=Blocks(), strategies=paced, speed=1_000.0).run()
    assert paced.seen == expected.seen


def test_time_goes_on_when_a_feed_of_the_past_has_nothing_for_long() -> None:
    class Silent:
        """Yields an item, and waits for something else."""

        name, venue = "silent", None

        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def __aiter__(self) -> AsyncIterator[np.ndarray]:
            yield market([1.0])
            await asyncio.Event().wait()

    class Timed(Strategy):
        def on_start(self) -> None:
            self.set_timer("once", after="5s")

        def on_timer(self, timer: object) -> None:
            engine.stop()

    engine = Engine(feeds=Silent(), strategies=Timed(), speed=1_000.0)
    assert engine.run().ended_by == "stopped"

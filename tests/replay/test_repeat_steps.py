"""A repetition drains events, cuts batches and makes calls where the live run did, also where no tick was dispatched.

Guarantees: the interleavings are certain: the clock is the test's own, and commands come from a handler.
Does not: lose ticks or run for long; ``test_repeat`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import Engine, Strategy, StrategySpec
from headrace.commands import PauseStrategy, ResumeStrategy
from headrace.engine.repeat import RepeatReport
from headrace.market.tick import Flags
from tests.support.engines import START, engine_over, market, until
from tests.support.feeding import BTC

STEP_NS = 1_000


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class HandClock:
    """Stands where a test sets it, and goes on by ``step_ns`` with each look."""

    def __init__(self, at_ns: int = START) -> None:
        self.at_ns = at_ns
        self.step_ns = 0

    def now_ns(self) -> int:
        self.at_ns += self.step_ns
        return self.at_ns


def quotes(count: int) -> np.ndarray:
    return market([100.0] * count, every_ns=STEP_NS)


async def caught_up(engine: Engine, ticks: int) -> None:
    await until(lambda: engine.dispatcher.ring.cursor == ticks and engine.dispatcher.is_caught_up)


async def ran(engine: Engine, during: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
    async with engine:
        await during(engine)


def decided_alike(report: RepeatReport | None, decisions: int) -> None:
    assert report is not None
    assert report.difference == ""
    assert (report.same, report.whole, report.decisions) == (True, True, decisions)


class BuysOnSnapshots(Strategy):
    """Buys when it gets the newest quote behind a pause."""

    def on_quote(self, instrument: str, flags: int) -> None:
        if flags & Flags.SNAPSHOT:
            self.buy(instrument, "0.5")


def test_an_order_on_a_snapshot_is_repeated_at_its_time(tmp_path: Path) -> None:
    """Behind the pause no tick waits: the snapshot comes in a call that dispatches none."""
    clock, log = HandClock(), tmp_path / "run.log"

    def engine(**options: Any) -> Engine:
        return engine_over(quotes(30), [BuysOnSnapshots()], dispatch_log=log, **options)

    async def resumed(running: Engine) -> None:
        await caught_up(running, 1)
        await running.commands.submit(PauseStrategy("BuysOnSnapshots"))
        clock.at_ns += 10 * STEP_NS
        await caught_up(running, 11)
        # Each turn has a time of its own.
        clock.step_ns = 1
        await running.commands.submit(ResumeStrategy("BuysOnSnapshots"))
        await until(lambda: running.report().strategies["BuysOnSnapshots"].orders.submitted == 1)
        clock.at_ns += 50 * STEP_NS
        await caught_up(running, 30)

    asyncio.run(ran(engine(mode="live", clock=clock), resumed))
    decided_alike(engine(mode="repeat").run().repeated, decisions=3)


class BuysByWindow(Strategy):
    """Buys at the end of each window."""

    def on_quotes(self, seq: np.ndarray) -> None:
        self.buy(BTC, "0.5")


def test_what_follows_from_the_last_window_is_repeated_at_its_time(tmp_path: Path) -> None:
    """The engine ends while a window is open, and delivers it then."""
    clock, log = HandClock(), tmp_path / "run.log"

    def engine(**options: Any) -> Engine:
        window = StrategySpec(strategy=BuysByWindow, subscription={"every": "1s"})
        return engine_over(quotes(30), [window], dispatch_log=log, **options)

    async def fed(running: Engine) -> None:
        clock.at_ns += 30 * STEP_NS
        await caught_up(running, 30)
        clock.step_ns = 1

    asyncio.run(ran(engine(mode="live", clock=clock), fed))
    decided_alike(engine(mode="repeat").run().repeated, decisions=3)


class SetsAlarm(Strategy):
    """Acts at its 1,056th quote; when it is paused, it sets a timer for the quote that comes next."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.seen = 0

    def on_quote(self, seq: int) -> None:
        self.seen = seq
        if seq == 1_056:
            self.act()

    def on_pause(self) -> None:
        self.set_timer("next", at_ns=START + STEP_NS * self.seen)


class TellsGaps(Strategy):
    def on_quote(self, seq: int) -> None: ...

    def on_gap(self, missing: int) -> None:
        self.signal(BTC, 1, strength=float(missing))


def test_a_batch_that_a_timer_cuts_between_two_calls_is_cut_again(tmp_path: Path) -> None:
    """Both strategies are paused, so the turn that cuts the batch calls no handler and dispatches no tick."""
    clock, log = HandClock(START + 9_000 * STEP_NS), tmp_path / "run.log"

    def engine(act: Callable[[], object], **options: Any) -> Engine:
        strategies = [
            StrategySpec(strategy=SetsAlarm(act)),
            StrategySpec(strategy=TellsGaps, subscription={"overflow": "conflate"}),
        ]
        return engine_over(quotes(6_000), strategies, broker=None, dispatch_log=log, **options)

    async def meddle() -> None:
        await running.commands.submit(PauseStrategy("SetsAlarm"))
        # It goes on at the end of the batch.
        await running.commands.submit(ResumeStrategy("TellsGaps"))

    meddling: list[asyncio.Task[None]] = []

    async def fed(running: Engine) -> None:
        await running.commands.submit(PauseStrategy("TellsGaps"))
        await caught_up(running, 6_000)

    # A turn of one nanosecond ends inside of a batch.
    running = engine(lambda: meddling.append(asyncio.create_task(meddle())), mode="live", clock=clock, slice_ns=1)
    asyncio.run(ran(running, fed))
    assert len(meddling) == 1
    decided_alike(engine(lambda: None, mode="repeat").run().repeated, decisions=1)


class SignalsSlowly(Strategy):
    """Signals at each quote from 300 to 360, so that a turn dispatches one of them; ``acts`` by its number."""

    def __init__(self, acts: dict[int, Callable[[], object]]) -> None:
        self.acts = acts
        self.seen = 0

    def on_quote(self, seq: int) -> None:
        self.seen = seq
        if 300 <= seq < 360:
            self.signal(BTC, 0)
        self.acts.get(seq, lambda: None)()


class Resumed(Strategy):
    """Signals what it lost; its timer is due before the next quote: set when it is resumed, or when it gets the gap."""

    def __init__(self, beside: SignalsSlowly, act: Callable[[], object], *, at_the_gap: bool) -> None:
        self.beside = beside
        self.act = act
        self.at_the_gap = at_the_gap

    def _set(self) -> None:
        self.set_timer("next", at_ns=START + STEP_NS * self.beside.seen)

    def on_quote(self, seq: int) -> None: ...

    def on_resume(self) -> None:
        self.act()
        if not self.at_the_gap:
            self._set()

    def on_gap(self, missing: int) -> None:
        self.signal(BTC, 1, strength=float(missing))
        if self.at_the_gap:
            self._set()


# The feed publishes at every second step of the event loop, turns are at each: ticks come before the turn or behind it.
@pytest.mark.parametrize("at", [300, 301])
@pytest.mark.parametrize("at_the_gap", [False, True], ids=["held before the gap", "held behind the gap"])
def test_what_a_resume_reads_is_read_again_where_a_timer_holds_it(tmp_path: Path, at_the_gap: bool, at: int) -> None:
    """The turn behind the resume dispatches no tick; what is read behind it decides how much a later lap loses."""
    clock, log = HandClock(), tmp_path / "run.log"
    resuming: list[asyncio.Task[Any]] = []

    def engine(acts: dict[int, Callable[[], object]], at_resume: Callable[[], object], **options: Any) -> Engine:
        slow = SignalsSlowly(acts)
        strategies = [
            StrategySpec(strategy=own, subscription={"overflow": "drop_oldest"})
            for own in (slow, Resumed(slow, at_resume, at_the_gap=at_the_gap))
        ]
        return engine_over(quotes(1_500), strategies, broker=None, ring_capacity=512, dispatch_log=log, **options)

    def publish(more: int) -> None:
        clock.at_ns += more * STEP_NS

    async def fed(running: Engine) -> None:
        await caught_up(running, 1)
        await running.commands.submit(PauseStrategy("Resumed"))
        publish(499)
        await caught_up(running, 1_500)

    acts: dict[int, Callable[[], object]] = {
        at: lambda: resuming.append(asyncio.create_task(running.commands.submit(ResumeStrategy("Resumed")))),
        320: lambda: publish(700),
    }
    running = engine(acts, lambda: publish(300), mode="live", clock=clock, slice_ns=1)
    asyncio.run(ran(running, fed))
    assert len(resuming) == 1
    assert running.report().strategies["Resumed"].subscriptions["Resumed"].missed > 0
    decided_alike(engine({}, lambda: None, mode="repeat").run().repeated, decisions=62)

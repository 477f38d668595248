"""HALTED and REARMED: each change of the kill switch is published once, with its actor and its reason."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine
from headrace.commands import Halt, Rearm
from headrace.limits import HALT_S
from headrace.market.events import Control, OrderRejected
from headrace.trading.kill_switch import KillSwitch
from tests.support.engines import HandFeed, Recorder, engine_over, market, until
from tests.support.feeding import BTC

pytestmark = pytest.mark.asyncio

Change = tuple[str, object, object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def changes_of(engine: Engine) -> list[Change]:
    """Return the list to which each HALTED and REARMED event is appended, as name, actor and reason."""
    seen: list[Change] = []

    def keep(event: Any) -> None:
        if event.name in ("HALTED", "REARMED"):
            seen.append((event.name, event.detail["actor"], event.detail["reason"]))

    engine.bus.subscribe(Control, keep)
    return seen


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[tuple[Engine, list[Change]]]:
    """Run a live engine, and yield the list of its published changes; at the end it waits for two more checks."""
    engine = Engine(strategies=[Recorder()], feeds=[HandFeed()], state_folder=folder, **options)
    seen = changes_of(engine)
    async with engine:
        yield engine, seen
        await asyncio.sleep(2.5 * HALT_S)
        await until(lambda: engine.bus.is_idle)


def by_code(engine: Engine) -> None:
    assert engine.kill_switch is not None
    engine.kill_switch.halt("by hand", "code")


def by_file(engine: Engine) -> None:
    assert isinstance(engine.kill_switch, KillSwitch)
    with KillSwitch(engine.kill_switch.path.parent, watch=False) as other:
        other.halt("from outside", "cron")


def by_signal(_: Engine) -> None:
    signal.raise_signal(signal.SIGUSR2)


@pytest.mark.parametrize(
    ("act", "change"),
    [
        (by_code, ("HALTED", "code", "by hand")),
        (by_file, ("HALTED", "cron", "from outside")),
        (by_signal, ("HALTED", "signal", "a signal that halts")),
    ],
)
async def test_a_halt_that_is_no_command_is_published_once(
    folder: Path, act: Callable[[Engine], None], change: Change
) -> None:
    async with running(folder, halt_signal=True) as (engine, seen):
        act(engine)
        await until(lambda: bool(seen))
        assert (await engine.commands.submit(Rearm("all is well"), actor="bob")).status == "accepted"
    assert seen == [change, ("REARMED", "bob", "all is well")]


async def test_a_command_publishes_its_change_at_once_with_its_actor(folder: Path) -> None:
    async with running(folder) as (engine, seen):
        submit = engine.commands.submit
        assert (await submit(Halt("enough"), actor="alice")).status == "accepted"
        await until(lambda: engine.bus.is_idle)
        assert seen == [("HALTED", "alice", "enough")]
        assert isinstance(engine.kill_switch, KillSwitch)
        assert (engine.kill_switch.actor, engine.kill_switch.reason) == ("alice", "enough")
        assert (await submit(Halt("me too"), actor="bob")).status == "noop"
        assert (await submit(Rearm("fine again"), actor="bob")).status == "accepted"
        assert (await submit(Rearm(), actor="bob")).status == "noop"
    assert seen == [("HALTED", "alice", "enough"), ("REARMED", "bob", "fine again")]


async def test_changes_between_two_checks_are_all_published(folder: Path) -> None:
    async with running(folder) as (engine, seen):
        switch = engine.kill_switch
        assert switch is not None
        for number in range(3):
            switch.halt(f"reason {number}", "alice")
            switch.rearm("bob")
    expected = [change for n in range(3) for change in (("HALTED", "alice", f"reason {n}"), ("REARMED", "bob", ""))]
    assert seen == expected


async def test_an_engine_that_starts_halted_publishes_the_actor(folder: Path) -> None:
    with KillSwitch(folder, watch=False) as operator:
        operator.halt("overnight", "alice")
    async with running(folder) as (_engine, seen):
        pass
    assert seen == [("HALTED", "alice", "overnight")]


@pytest.mark.parametrize("is_noticed", [False, True])
async def test_a_halt_whose_latch_came_first_is_accepted_once(folder: Path, is_noticed: bool) -> None:
    async with running(folder) as (engine, seen):
        by_file(engine)
        if is_noticed:
            await until(lambda: bool(seen))
        submit = engine.commands.submit
        assert (await submit(Halt("from outside"), actor="alice")).status == "noop"
        assert (await submit(Halt("another"), actor="cron")).status == "noop"
        first = await submit(Halt("from outside"), actor="cron")
        assert (first.status, first.version) == ("accepted", 1)
        again = await submit(Halt("from outside"), actor="cron")
        assert (again.status, again.reason) == ("noop", "it is halted already: from outside")
    assert seen == [("HALTED", "cron", "from outside")]


async def test_a_halt_that_cannot_be_written_fails_and_is_published(folder: Path) -> None:
    async with running(folder) as (engine, seen):
        await asyncio.to_thread(folder.rmdir)
        ack = await engine.commands.submit(Halt("enough"), actor="alice")
        assert (ack.status, "a restart would not be" in ack.reason) == ("failed", True)
    assert seen == [("HALTED", "alice", "enough")]


async def test_a_repetition_publishes_the_same_changes(folder: Path) -> None:
    log = folder.parent / "run.log"
    bids = range(100, 140)
    engine = engine_over(
        market(bids), [Recorder()], mode="live", speed=10.0, state_folder=folder, dispatch_log=log, halt_signal=True
    )
    live = changes_of(engine)
    async with engine:
        by_file(engine)
        await until(lambda: len(live) == 1)
        await engine.commands.submit(Rearm("fine"), actor="bob")
        await until(lambda: len(live) == 2)
        by_signal(engine)
        await until(lambda: len(live) == 3)
    repetition = engine_over(market(bids), [Recorder()], mode="repeat", dispatch_log=log)
    repeated = changes_of(repetition)
    report = await repetition.run_async()
    assert report.repeated is not None
    assert report.repeated.same, report.repeated.difference
    assert repeated == live
    assert [actor for _, actor, _ in live] == ["cron", "bob", "signal"]
    assert report.halted


async def test_a_halt_by_a_strategy_is_repeated(folder: Path) -> None:
    log = folder.parent / "run.log"
    engines: list[Engine] = []

    async def run(**options: Any) -> tuple[list[Change], list[str]]:
        def halt(own: Recorder) -> None:
            own.buy(BTC, 1)
            switch = engines[-1].kill_switch
            assert switch is not None
            assert switch.halt("too fast", "strategy")
            assert not switch.halt("too fast", "strategy")

        def rearm(_: Recorder) -> None:
            switch = engines[-1].kill_switch
            assert switch is not None
            assert switch.rearm("strategy")
            assert not switch.rearm("strategy")

        strategy = Recorder({3: halt, 5: lambda own: own.buy(BTC, 1), 6: rearm, 7: lambda own: own.buy(BTC, 1)})
        engines.append(engine_over(market(range(100, 140)), [strategy], dispatch_log=log, **options))
        seen = changes_of(engines[-1])
        report = await engines[-1].run_async()
        assert report.repeated is None or report.repeated.same, report.repeated
        return seen, [event.gate for event in strategy.orders if isinstance(event, OrderRejected)]

    live = await run(mode="live", speed=20.0, state_folder=folder)
    assert live[0] == [("HALTED", "strategy", "too fast"), ("REARMED", "strategy", "")]
    assert "halted" in live[1]
    assert await run(mode="repeat") == live


async def test_a_halt_by_the_last_call_is_told_and_repeated(folder: Path) -> None:
    log = folder.parent / "run.log"
    engines: list[Engine] = []

    async def run(**options: Any) -> list[Change]:
        def halt(_: Recorder) -> None:
            switch = engines[-1].kill_switch
            assert switch is not None
            assert switch.halt("too fast", "strategy")

        quotes = market(range(100, 140))
        engines.append(engine_over(quotes, [Recorder({40: halt})], dispatch_log=log, **options))
        seen = changes_of(engines[-1])
        report = await engines[-1].run_async()
        assert report.halted
        assert report.repeated is None or report.repeated.same, report.repeated
        return seen

    live = await run(mode="live", speed=1_000.0, state_folder=folder)
    assert live == [("HALTED", "strategy", "too fast")]
    assert await run(mode="repeat") == live

"""A user's coroutine may hang and swallow its cancellation: the end of a run waits within bounds, and names it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine, Strategy
from headrace.engine.report import Report
from headrace.engine.service import Service, ServiceContext
from headrace.feeds import Frame
from headrace.market.user_waits import UserWaits
from tests.support.engines import market

pytestmark = pytest.mark.alone

# A forced end, and the process around it, under load.
FORCED_S = 1.0


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a state folder of the test's own."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


async def stubborn() -> None:
    """Swallow every cancellation."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3_600)


async def hanging() -> None:
    await asyncio.sleep(3_600)


class Calls:
    """Awaits in each method what the test set."""

    def __init__(self, **calls: Callable[[], Awaitable[None]]) -> None:
        self.calls = calls

    async def _call(self, method: str) -> None:
        if method in self.calls:
            await self.calls[method]()


class FeedOf(Calls):
    """What all feeds here have."""

    name, venue = "mine", "BINANCE"

    async def open(self) -> None:
        await self._call("open")

    async def close(self) -> None:
        await self._call("close")


class LiveFeed(FeedOf):
    """Pushes nothing until it is cancelled."""

    async def run(self, push: object) -> None:
        await self._call("run")
        await asyncio.Event().wait()


class PastFeed(FeedOf):
    """Is asked for its items."""

    async def __aiter__(self) -> AsyncIterator[Frame]:
        await self._call("__anext__")
        yield Frame(0, b"")


class PulledFeed(PastFeed):
    """Is asked for its items, which come now."""

    is_live = True


class Beside(Calls, Service):
    """A service."""

    async def setup(self, context: ServiceContext) -> None:
        await self._call("setup")

    async def run(self) -> None:
        await self._call("run")

    async def stop(self) -> None:
        await self._call("stop")


class Stopping(Calls, Strategy):
    """A strategy without ticks."""

    async def on_start(self) -> None:
        await self._call("on_start")

    async def on_stop(self) -> None:
        await self._call("on_stop")


class Awaiting(Strategy):
    """Its handler never returns."""

    async def on_quote(self, bid_price: float) -> None:
        await stubborn()


def run_and_end(engine: Engine, *, stop: bool, force: bool, after_s: float = 0.2) -> tuple[Report, float]:
    """Run an engine, end it from another thread; return its report, and how long the end took."""
    ended_s: list[float] = []

    def end() -> None:
        time.sleep(after_s)
        ended_s.append(time.monotonic())
        if stop:
            engine.stop()
        if force:
            time.sleep(0.1 if stop else 0)
            ended_s.append(time.monotonic())
            engine.force()

    threading.Thread(target=end).start()
    report = engine.run()
    return report, time.monotonic() - ended_s[-1]


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "LiveFeed.open of feed mine": lambda: {"feeds": LiveFeed(open=stubborn)},
    "LiveFeed.run of feed mine": lambda: {"feeds": LiveFeed(run=stubborn)},
    "LiveFeed.close of feed mine": lambda: {"feeds": LiveFeed(close=stubborn)},
    "PulledFeed.__anext__ of feed mine": lambda: {"feeds": PulledFeed(__anext__=stubborn)},
    "Beside.setup of service Beside": lambda: {"feeds": LiveFeed(), "services": [Beside(setup=stubborn)]},
    "Beside.run of service Beside": lambda: {"feeds": LiveFeed(), "services": [Beside(run=stubborn)]},
    "Beside.stop of service Beside": lambda: {"feeds": LiveFeed(), "services": [Beside(stop=stubborn)]},
    "on_start of strategy Stopping": lambda: {"feeds": LiveFeed(), "strategies": Stopping(on_start=stubborn)},
    "on_quote of subscription Awaiting": lambda: {"feeds": [market([1.0, 2.0]), LiveFeed()], "strategies": Awaiting()},
}


@pytest.mark.parametrize("where", PARTS)
def test_force_returns_within_a_second_and_names_what_is_left(where: str) -> None:
    report, took_s = run_and_end(Engine(**PARTS[where]()), stop=False, force=True)
    assert took_s < FORCED_S
    assert list(report.left_behind) == [where]
    assert where in str(report)


def test_force_shares_its_second_among_all_that_hang() -> None:
    feeds = [LiveFeed(run=stubborn, close=stubborn) for _ in range(3)]
    for number, feed in enumerate(feeds):
        feed.name = f"mine {number}"
    services = [Beside(run=stubborn, stop=stubborn)]
    report, took_s = run_and_end(
        Engine(feeds=feeds, services=services, strategies=Stopping(on_stop=stubborn)), stop=False, force=True
    )
    assert took_s < FORCED_S + 0.3
    assert len(report.left_behind) == 8


@pytest.mark.parametrize("where", ["LiveFeed.close of feed mine", "on_stop of strategy Stopping"])
def test_a_stop_names_what_is_left_when_its_time_is_over(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_S", 0.3)
    parts: dict[str, dict[str, Any]] = {
        "LiveFeed.close of feed mine": {"feeds": LiveFeed(close=stubborn)},
        "on_stop of strategy Stopping": {"feeds": LiveFeed(), "strategies": Stopping(on_stop=stubborn)},
    }
    engine = Engine(**parts[where])
    with contextlib.suppress(TimeoutError):  # A feed that fails to close is a failure of the run.
        run_and_end(engine, stop=True, force=False)
    assert list(engine.report().left_behind) == [where]


def test_a_stop_gives_every_feed_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_S", 0.3)
    closed: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.1)
        closed.append("slow")

    feeds = [LiveFeed(close=slow), LiveFeed(close=hanging)]
    feeds[0].name = "slow"
    with pytest.raises(TimeoutError, match=r"LiveFeed\.close of feed mine did not return within 0"):
        run_and_end(Engine(feeds=feeds), stop=True, force=False)
    assert closed == ["slow"]


async def ends_in_turns() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(12):
            await asyncio.sleep(0)


def test_a_busy_loop_leaves_nothing_that_ends_in_a_few_turns() -> None:
    """Half a second has five turns of this loop; a feed's group of tasks needs more, and is well."""

    async def ended() -> list[str]:
        loop, waits = asyncio.get_running_loop(), UserWaits()
        task = asyncio.ensure_future(ends_in_turns())
        await asyncio.sleep(0)

        def work() -> None:
            time.sleep(0.1)
            if not task.done():
                loop.call_soon(work)

        loop.call_soon(work)
        await waits.end({task: "ends in turns"})
        return waits.left

    assert asyncio.run(ended()) == []


@pytest.mark.parametrize("mode", ["replay", "live"])
def test_a_forced_run_leaves_a_handler_that_never_returns(mode: Any) -> None:
    report, took_s = run_and_end(
        Engine(feeds=[market([1.0, 2.0])], strategies=Awaiting(), mode=mode), stop=False, force=True
    )
    assert took_s < FORCED_S
    assert report.left_behind == ("on_quote of subscription Awaiting",)


def test_a_forced_replay_leaves_a_feed_that_never_returns() -> None:
    engine = Engine(feeds=PastFeed(__anext__=stubborn), mode="replay")
    report, took_s = run_and_end(engine, stop=False, force=True)
    assert took_s < FORCED_S
    assert report.left_behind == ("PastFeed.__anext__ of feed mine",)


def test_a_blocked_thread_and_a_task_of_the_user_do_not_keep_a_run() -> None:
    release = threading.Event()
    tasks: list[asyncio.Task[None]] = []

    async def blocked() -> None:
        tasks.append(asyncio.create_task(stubborn(), name="stubborn"))
        await asyncio.to_thread(release.wait, 30)

    try:
        report, took_s = run_and_end(Engine(feeds=LiveFeed(run=blocked)), stop=False, force=True)
    finally:
        release.set()
    assert took_s < FORCED_S
    assert len(report.left_behind) == 2
    assert report.left_behind[0] == "task stubborn"
    assert "asyncio.to_thread" in report.left_behind[1]


def test_what_is_left_keeps_no_loop_of_the_users_from_ending() -> None:
    async def main() -> Report:
        engine = Engine(feeds=LiveFeed(run=stubborn), services=[Beside(run=stubborn)])
        async with engine:
            engine.stop()
        return engine.report()

    began_s = time.monotonic()
    report = asyncio.run(main())
    assert time.monotonic() - began_s < 3
    assert set(report.left_behind) == {"LiveFeed.run of feed mine", "Beside.run of service Beside"}

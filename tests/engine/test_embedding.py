"""An engine inside another program: loops, threads, signals, cancellation, and a stop before the start."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.bus.audit import read_audit
from headrace.commands import RestartStrategy
from headrace.engine.report import Report
from headrace.engine.service import Service, ServiceContext
from headrace.market.clock import ModeName
from headrace.market.events import Control, Event, Lane, Signal
from tests.support.engines import FAST, INSTRUMENTS, HandFeed, Recorder, engine_over, market, until
from tests.support.feeding import BTC


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a state folder of the test's own, so that no latch of this machine halts it and none is left."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Closing(HandFeed):
    """A live feed that records its close."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1


class Watching(Service):
    """A service that records its steps."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.over = asyncio.Event()

    async def setup(self, desk: ServiceContext) -> None:
        self.said.append("setup")

    async def run(self) -> None:
        self.said.append("run")
        await self.over.wait()

    async def stop(self) -> None:
        self.said.append("stop")
        self.over.set()


class Bench:
    """An engine over a live feed, with each part that must be closed."""

    def __init__(self, tmp_path: Path, *, strategy: Strategy | None = None, **options: Any) -> None:
        self.feed, self.service = Closing(), Watching()
        self.strategy = strategy or Recorder()
        self.audit = tmp_path / "audit"
        self.engine = Engine(
            feeds=[self.feed],
            strategies=[self.strategy],
            services=[self.service],
            instruments=INSTRUMENTS,
            audit=self.audit,
            **options,
        )

    async def is_running(self) -> None:
        """Wait until the engine runs."""
        await until(lambda: "run" in self.service.said)

    def assert_closed(self, *, calls: list[str] | None = None) -> None:
        assert self.feed.closed
        assert self.service.said[-1] == "stop"
        assert self.service.said.count("stop") == self.service.said.count("setup")
        assert isinstance(self.strategy, Recorder)
        assert self.strategy.calls == (["start", "stop"] if calls is None else calls)
        report = self.engine.report()
        assert all(lane.left == report.left.get(name, 0) for name, lane in report.lanes.items())
        assert list(read_audit(self.audit))
        assert self.engine.dispatcher.subscriptions == {}


@pytest.mark.parametrize("mode", ["live", "replay"])
def test_an_engine_stopped_before_it_runs_ends_once_ready(mode: ModeName) -> None:
    strategy = Recorder()
    engine = engine_over(market(range(100, 100_000)), [strategy], mode=mode)
    engine.stop("changed my mind")
    report = engine.run()
    assert report.ended_by == "changed my mind"
    assert strategy.calls == ["start", "stop"]
    assert len(strategy.quotes) < 100_000 - 100


def test_an_engine_forced_before_it_runs_does_not_start() -> None:
    strategy = Recorder()
    engine = engine_over(market(range(100, 110)), [strategy], mode="live")
    engine.force("no")
    assert engine.run().ended_by == "no, forced"
    assert strategy.calls == []
    assert engine.dispatcher.subscriptions == {}


def test_an_engine_stopped_during_setup_ends_after_setup(tmp_path: Path) -> None:
    class Starting(Recorder):
        def on_start(self) -> None:
            super().on_start()
            thread = threading.Thread(target=bench.engine.stop, args=["from a thread"])
            thread.start()
            thread.join()

    bench = Bench(tmp_path, strategy=Starting())
    assert bench.engine.run().ended_by == "from a thread"
    assert bench.strategy.calls == ["start", "stop"]  # type: ignore[attr-defined]


def test_a_hanging_setup_is_abandoned_at_the_stop_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.run.DRAIN_S", 0.05)

    class Hanging(Recorder):
        async def on_start(self) -> None:  # type: ignore[override]  # a callback may be async
            self.calls.append("start")
            bench.engine.stop("enough")
            await asyncio.Event().wait()

    bench = Bench(tmp_path, strategy=Hanging())
    assert bench.engine.run().ended_by == "enough, forced"
    assert bench.feed.closed
    assert bench.service.said == ["setup", "stop"]


def test_hanging_parts_delay_the_stop_by_their_deadline_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_S", 0.3)
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_RUNNING_S", 0.1)

    class Hanging(Recorder):
        async def on_stop(self) -> None:  # type: ignore[override]  # a callback may be async
            self.calls.append("stop")
            await asyncio.Event().wait()

    class Stubborn(Watching):
        async def stop(self) -> None:
            self.said.append("stop")
            await asyncio.Event().wait()

    other, service = Recorder(), Stubborn()
    hanging = Hanging()
    engine = engine_over(
        market(range(100, 110)), [hanging, other], mode="live", speed=FAST, services=[service, Watching2()]
    )
    report = engine.run()
    assert report.ended_by == "feeds ended"
    assert hanging.calls == other.calls == ["start", "stop"]
    assert [strategy.state for strategy in report.strategies.values()] == ["failed", "stopped"]
    assert service.said == ["setup", "run", "stop"]
    assert [letter.handler for letter in engine.dead_letters.list()] == ["on_stop"]


class Watching2(Watching):
    """A second service, with another name."""


@pytest.mark.asyncio
async def test_a_thread_ends_a_run_and_other_tasks_go_on(tmp_path: Path) -> None:
    ticking = 0

    async def tick() -> None:
        nonlocal ticking
        while True:
            ticking += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(tick())
    bench = Bench(tmp_path)
    run = asyncio.create_task(bench.engine.run_async())
    await until(lambda: "run" in bench.service.said)
    bench.feed.put(market(range(100, 200)))
    await until(lambda: len(bench.strategy.quotes) == 100)  # type: ignore[attr-defined]
    before = ticking
    threading.Thread(target=bench.engine.stop, args=["from a thread"]).start()
    report = await run
    assert report.ended_by == "from a thread"
    bench.assert_closed()
    assert ticking > before
    assert not other.done()
    other.cancel()


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", ["running", "setting up", "ending"])
async def test_a_cancelled_run_cleans_up_and_stays_cancelled(tmp_path: Path, moment: str) -> None:
    class Slow(Recorder):
        async def on_start(self) -> None:  # type: ignore[override]  # a callback may be async
            super().on_start()
            if moment == "setting up":
                await asyncio.Event().wait()

        async def on_stop(self) -> None:  # type: ignore[override]  # a callback may be async
            super().on_stop()
            if moment == "ending":
                await asyncio.Event().wait()

    bench = Bench(tmp_path, strategy=Slow())
    run = asyncio.create_task(bench.engine.run_async())
    await until(lambda: bool(bench.strategy.calls))  # type: ignore[attr-defined]
    if moment != "setting up":
        await until(lambda: "run" in bench.service.said)
    if moment == "ending":
        bench.engine.stop("enough")
        await until(lambda: bench.strategy.calls[-1] == "stop")  # type: ignore[attr-defined]
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert run.cancelled()
    assert bench.engine.report().ended_by == ("enough" if moment == "ending" else "cancelled")
    assert bench.feed.closed
    assert bench.service.said[-1] == "stop"
    assert list(read_audit(bench.audit))
    states = {"running": "stopped", "setting up": "failed", "ending": "stopped"}
    assert str(bench.engine.strategies["Slow"].state) == states[moment]


@pytest.mark.asyncio
async def test_force_ends_the_run_and_not_the_users_task(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.02, bench.engine.force, "enough")
    report = await bench.engine.run_async()
    assert report.ended_by == "enough, forced"
    assert task.cancelling() == 0
    bench.engine.force("again")
    await asyncio.sleep(0.01)
    assert bench.feed.closed


@pytest.mark.parametrize("end", ["stop", "force"])
def test_a_stop_drains_the_ring_and_a_force_leaves_it(tmp_path: Path, end: str) -> None:
    bench = Bench(tmp_path, slice_ns=10_000)
    acts = {5: lambda _: getattr(bench.engine, end)("enough")}
    bench.strategy.acts = acts  # type: ignore[attr-defined]
    bench.feed.put(market([100.0] * 1_000))
    (law,) = bench.engine.run().strategies["Recorder"].subscriptions.values()
    assert law.accounted == law.published == 1_000
    assert (law.delivered == 1_000) == (end == "stop")
    assert law.delivered >= 5


def test_a_stop_drains_what_the_last_ticks_publish(tmp_path: Path) -> None:
    bench = Bench(tmp_path, slice_ns=10_000)
    strategy = bench.strategy
    assert isinstance(strategy, Recorder)
    signals = dict.fromkeys(range(6, 1_001), lambda own: own.signal(BTC, 1))
    strategy.acts = {5: lambda _: bench.engine.stop("enough"), **signals}
    received: list[Signal] = []
    bench.engine.bus.subscribe(Signal, received.append)
    bench.feed.put(market([100.0] * 1_000))
    report = bench.engine.run()
    assert len(received) == 995
    assert not any(report.left.values())


@pytest.mark.asyncio
async def test_a_force_right_after_a_stop_forces(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = asyncio.create_task(bench.engine.run_async())
    await bench.is_running()
    bench.engine.stop("enough")
    # The loop knows of the stop; its task does not yet.
    asyncio.get_running_loop().call_soon(bench.engine.force, "now")
    assert (await run).ended_by == "now, forced"


@pytest.mark.asyncio
async def test_a_timed_out_start_ends_the_run(tmp_path: Path) -> None:
    class Hanging(Recorder):
        async def on_start(self) -> None:  # type: ignore[override]  # a callback may be async
            await asyncio.Event().wait()

    bench = Bench(tmp_path, strategy=Hanging())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), bench.engine:
            pytest.fail("it never starts")
    assert bench.feed.closed
    assert bench.service.said == ["setup", "stop"]
    assert [task for task in asyncio.all_tasks() if "headrace" in task.get_name()] == []


@pytest.mark.asyncio
async def test_an_exception_of_the_body_propagates_after_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with bench.engine:
            raise ZeroDivisionError
    assert bench.engine.report().ended_by == "left"
    bench.assert_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["open", "iterate", "close"])
async def test_a_raising_feed_ends_the_run_with_its_error(tmp_path: Path, where: str) -> None:
    class Broken(Closing):
        async def open(self) -> None:
            if where == "open":
                raise ConnectionError("no venue")

        async def close(self) -> None:
            await super().close()
            if where == "close":
                raise ConnectionError("no venue")

        async def __aiter__(self) -> AsyncIterator[np.ndarray]:
            yield market(range(100, 110))
            if where == "iterate":
                raise ConnectionError("no venue")

    broken, other = Broken(), Closing()
    broken.name = "broken"
    strategy, service = Recorder(), Watching()
    goes_on: Literal["stop", "continue"] = "continue" if where == "close" else "stop"
    if where == "close":
        other.end()
    engine = Engine(
        feeds=[broken, other],
        strategies=[strategy],
        services=[service],
        instruments=INSTRUMENTS,
        on_feed_end=goes_on,
    )
    with pytest.raises(ConnectionError, match="no venue"):
        await engine.run_async()
    assert broken.closed
    assert other.closed
    assert engine.report().ended_by == ("feeds ended" if where == "close" else "error")
    if where != "open":
        assert strategy.quotes == list(range(1, 11))
        assert strategy.calls == ["start", "stop"]
        assert service.said == ["setup", "run", "stop"]


@pytest.mark.asyncio
async def test_two_engines_of_a_process_both_stop_on_a_signal(tmp_path: Path) -> None:
    benches = [Bench(tmp_path / str(number), name=f"engine-{number}") for number in range(2)]
    before = signal.getsignal(signal.SIGTERM)
    runs = [asyncio.create_task(bench.engine.run_async()) for bench in benches]
    for number, bench in enumerate(benches):
        await bench.is_running()
        bench.feed.put(market(range(100, 110 + number)))
    await until(lambda: all(bench.strategy.quotes for bench in benches))  # type: ignore[attr-defined]
    os.kill(os.getpid(), signal.SIGTERM)
    reports = await asyncio.gather(*runs)
    assert [report.ended_by for report in reports] == ["SIGTERM", "SIGTERM"]
    assert [sum(report.ticks.values()) for report in reports] == [10, 11]
    for bench in benches:
        bench.assert_closed()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.asyncio
async def test_the_last_engine_restores_the_signal_handlers(tmp_path: Path) -> None:
    elsewhere: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: elsewhere.append(number))
    try:
        first, second = Bench(tmp_path / "1", name="first"), Bench(tmp_path / "2", name="second")
        run = asyncio.create_task(first.engine.run_async())
        await first.is_running()
        async with second.engine:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: run.done() or bool(elsewhere))
        assert elsewhere == []
        assert (await run).ended_by == "SIGTERM"
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: bool(elsewhere))
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [signal.SIG_IGN, lambda _number, _frame: None])
async def test_sighup_that_means_something_is_left_alone(tmp_path: Path, before: Any) -> None:
    was = signal.signal(signal.SIGHUP, before)
    try:
        bench = Bench(tmp_path)
        async with bench.engine:
            assert signal.getsignal(signal.SIGHUP) is before
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            assert not bench.engine.is_stopping
    finally:
        signal.signal(signal.SIGHUP, was)


@pytest.mark.asyncio
async def test_sighup_ends_both_engines_of_a_process(tmp_path: Path) -> None:
    benches = [Bench(tmp_path / str(number), name=f"engine-{number}") for number in range(2)]
    runs = [asyncio.create_task(bench.engine.run_async()) for bench in benches]
    for bench in benches:
        await bench.is_running()
    os.kill(os.getpid(), signal.SIGHUP)
    assert [report.ended_by for report in await asyncio.gather(*runs)] == ["SIGHUP", "SIGHUP"]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_off_the_main_thread_no_signal_handler_is_touched(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(bench.engine.run()))
    thread.start()
    try:
        bench.engine.bus.subscribe(Control, lambda _: None)
        asyncio.run(until(lambda: "run" in bench.service.said))
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    finally:
        bench.engine.stop("from the main thread")
        thread.join(10)
    assert reports[0].ended_by == "from the main thread"
    bench.assert_closed()


def test_a_keyboard_interrupt_of_a_handler_ends_the_run(tmp_path: Path) -> None:
    def interrupt(_: Recorder) -> None:
        raise KeyboardInterrupt

    bench = Bench(tmp_path, strategy=Recorder({3: interrupt}))
    bench.feed.put(market(range(100, 110)))
    with pytest.raises(KeyboardInterrupt):
        bench.engine.run()
    bench.assert_closed()


def test_an_engine_that_never_ran_is_collected_whole(tmp_path: Path) -> None:
    def made() -> list[weakref.ref[Any]]:
        bench = Bench(tmp_path)
        engine = bench.engine
        return [weakref.ref(part) for part in (engine, engine.bus, engine.dispatcher, engine.orders, bench.strategy)]

    threads = set(Path("/proc/self/task").iterdir())
    parts = made()
    gc.collect()
    assert [part() for part in parts] == [None] * len(parts)
    asyncio.run(until(lambda: set(Path("/proc/self/task").iterdir()) <= threads))


def test_an_engine_that_ran_is_collected_whole(tmp_path: Path) -> None:
    def ran() -> list[weakref.ref[Any]]:
        bench = Bench(tmp_path)
        bench.feed.put(market(range(100, 110)))
        bench.feed.end()
        engine = bench.engine
        engine.run()
        return [weakref.ref(part) for part in (engine, engine.bus, engine.dispatcher, engine.orders, bench.strategy)]

    parts = ran()
    gc.collect()
    assert [part() for part in parts] == [None] * len(parts)


@pytest.mark.asyncio
async def test_events_that_never_fit_the_lane_are_counted_as_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.shutdown.DRAIN_S", 0.2)
    monkeypatch.setattr("headrace.bus.async_lanes.DRAIN_RUNNING_S", 0.1)
    engine = Engine(feeds=[HandFeed()], strategies=[Recorder], instruments=INSTRUMENTS)
    seen: list[Event] = []
    engine.bus.subscribe(Event, seen.append, name="seen")

    async def hold(_: Event) -> None:
        await asyncio.Event().wait()

    engine.bus.subscribe(Control, hold, name="hold")
    async with engine:
        # A handler holds the control lane from ENGINE_READY on; the events of restarts wait behind it.
        for _ in range(40):
            assert (await engine.commands.submit(RestartStrategy("Recorder"))).status == "accepted"
    report = engine.report()
    version = report.strategies["Recorder"].version
    assert version == 2 + 40 * 4 + 2
    lane = report.lanes[Lane.CONTROL]
    assert lane.published == lane.processed + lane.dead + lane.dropped + lane.left
    assert report.left[Lane.CONTROL] > lane.left > 0


@pytest.mark.parametrize("call", [Engine.report, Engine.status])
def test_an_engine_that_has_not_started_can_be_inspected(call: Callable[[Engine], object]) -> None:
    engine = engine_over(market(range(100, 110)), [Recorder()], mode="replay")
    assert call(engine)
    assert engine.report().wall_s == 0.0
    assert str(engine.strategies["Recorder"].state) == "created"
    assert engine.orders.orders(instrument=BTC) == []

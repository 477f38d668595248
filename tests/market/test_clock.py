"""Clocks: time never goes back, and a dispatcher reads the clock that it was created with."""

from __future__ import annotations

import time

import pytest

from headrace import Clock, Dispatcher, ReplayClock, WallClock
from headrace.errors import OptionError
from headrace.market.clock import EngineClock, PacedClock
from tests.support.feeding import HandClock, quotes


def test_every_clock_is_a_clock() -> None:
    assert isinstance(WallClock(), Clock)
    assert isinstance(ReplayClock(), Clock)
    assert isinstance(EngineClock(), Clock)
    assert isinstance(PacedClock(0), Clock)
    assert isinstance(HandClock(), Clock)
    assert not isinstance(time, Clock)


def test_the_wall_clock_returns_the_time() -> None:
    before = time.time_ns()
    assert before <= WallClock().now_ns() <= time.time_ns()


def test_the_wall_clock_stands_still_when_system_time_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WallClock()
    latest = clock.now_ns()
    monkeypatch.setattr(time, "time_ns", lambda: latest - 1_000_000_000)
    assert clock.now_ns() == latest
    monkeypatch.setattr(time, "time_ns", lambda: latest + 5)
    assert clock.now_ns() == latest + 5


def test_the_replay_clock_moves_on_and_never_back() -> None:
    clock = ReplayClock(100)
    clock.advance_to(250)
    clock.advance_to(200)
    assert clock.now_ns() == 250


def test_an_engine_clock_stands_still_until_it_is_moved() -> None:
    clock = EngineClock(1_000)
    lags = []
    with Dispatcher(clock=clock, ring_capacity=8) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda lag_ns: lags.append(lag_ns), callback="on_quote", overflow="drop_oldest"
        )
        dispatcher.publish(quotes(dispatcher, range(20), ts_init=500))
        dispatcher.dispatch()
        clock.advance_to(7_000)
        dispatcher.publish(quotes(dispatcher, [1.0], ts_init=500))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert set(lags[:-1]) == {500}
    assert lags[-1] == 6_500
    # Live: a lossy reader may be lapped, which a replay prevents.
    assert stats.missed > 0


def test_a_paced_clock_runs_in_the_recordings_time_at_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monotonic = [5_000]
    monkeypatch.setattr(time, "monotonic_ns", lambda: monotonic[0])
    clock = PacedClock(1_000_000, speed=4)
    assert clock.now_ns() == clock.due_ns() == 1_000_000
    monotonic[0] += 250
    assert clock.now_ns() == clock.due_ns() == 1_001_000
    assert clock.wait_s(1_005_000) == pytest.approx(1_000e-9)
    assert clock.wait_s(1_000_500) == 0.0
    clock.follow(1_001_500)
    assert clock.now_ns() == 1_001_500


def test_at_max_speed_the_paced_clock_follows_published_ticks() -> None:
    clock = PacedClock(1_000, speed="max")
    assert clock.now_ns() == 1_000
    clock.follow(5_000)
    clock.follow(4_000)
    assert clock.now_ns() == 5_000
    assert clock.due_ns() > 2**62
    assert clock.wait_s(2**62) == 0.0


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan"), "fast"])
def test_a_speed_that_is_no_number_above_0_is_refused(speed: float) -> None:
    with pytest.raises(OptionError, match="number above 0"):
        PacedClock(0, speed)


def test_a_dispatcher_reads_its_clock() -> None:
    clock = HandClock(1_000)
    lags = []
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(lambda lag_ns: lags.append(lag_ns), callback="on_quote")
        for now_ns in (1_000, 7_000):
            clock.at_ns = now_ns
            dispatcher.publish(quotes(dispatcher, [1.0], ts_init=500))
            dispatcher.dispatch()
    assert lags == [500, 6_500]


def test_a_replay_keeps_its_own_clock() -> None:
    with pytest.raises(OptionError, match="remove clock="):
        Dispatcher(mode="replay", clock=WallClock())
    with Dispatcher(mode="replay") as dispatcher:
        assert isinstance(dispatcher.clock, ReplayClock)


def test_a_failing_clock_raises_and_stops_nothing_for_good() -> None:
    class Broken(HandClock):
        broken = True

        def now_ns(self) -> int:
            if self.broken:
                raise OSError("no clock")
            return 1

    clock = Broken()
    got = []
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(lambda bid_price: got.append(bid_price), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(OSError, match="no clock"):
            dispatcher.dispatch()
        clock.broken = False
        dispatcher.dispatch()
    assert got == [1.0]

"""Clocks: time never goes back, and a dispatcher asks the one that it was given."""

from __future__ import annotations

import time

import pytest

from headrace import Clock, Dispatcher, ReplayClock, WallClock
from headrace.errors import OptionError
from tests.feeding import HandClock, quotes


def test_every_clock_is_a_clock() -> None:
    assert isinstance(WallClock(), Clock)
    assert isinstance(ReplayClock(), Clock)
    assert isinstance(HandClock(), Clock)
    assert not isinstance(time, Clock)


def test_the_wall_clock_tells_the_time() -> None:
    before = time.time_ns()
    assert before <= WallClock().now_ns() <= time.time_ns()


def test_the_wall_clock_stands_when_the_machines_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_dispatcher_asks_its_clock() -> None:
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
    with pytest.raises(OptionError, match="leave the clock out"):
        Dispatcher(replay=True, clock=WallClock())
    with Dispatcher(replay=True) as dispatcher:
        assert isinstance(dispatcher.clock, ReplayClock)


def test_a_clock_that_fails_is_the_callers_error_and_stops_nothing_for_good() -> None:
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

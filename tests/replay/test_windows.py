"""Windows on the clock: the same calls live and in replay, however the ticks were published.

The live side has a clock that the test moves; as in a live loop, it is never behind the receive times. The replay side
is ``headrace.replay`` itself.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

import headrace
from headrace import Dispatcher, Strategy
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, level_event, quotes, trades

MS = 1_000_000


class Windows(Strategy):
    """Keeps each of its windows."""

    subscription: ClassVar[Mapping[str, object]] = {"every": "100ms"}

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_quotes(self, ts_init, bid_price):
        self.calls.append(("quotes", ts_init.tolist(), bid_price.tolist()))

    def on_levels(self, ts_init):
        self.calls.append(("levels", ts_init.tolist()))

    def on_trade(self, trade_id):
        self.calls.append(("trade", trade_id))

    def on_gap(self, missing):
        self.calls.append(("gap", missing))


class AllTicks(Strategy):
    """Gets each window of all kinds in one call."""

    subscription: ClassVar[Mapping[str, object]] = {"every": "100ms", "instruments": "BTC*", "batch_max": 50}

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_ticks(self, position, ts_init):
        self.calls.append((position.tolist(), ts_init.tolist()))


def session(dispatcher: Dispatcher, random_: random.Random) -> list[np.ndarray]:
    """Single events in the order of their receive times: quotes, trades with gaps, depth events."""
    now_ns, trade_id = 10_000 * MS + 3, 1
    events = []
    for _ in range(400):
        now_ns += random_.choice([0, 0, 1, 5 * MS, 20 * MS, 60 * MS, 100 * MS, 350 * MS])
        choice = random_.randrange(10)
        instrument = random_.choice([BTC, BTC, ETH])
        if choice < 6:
            events.append(quotes(dispatcher, [random_.random()], instrument=instrument, ts_init=now_ns))
        elif choice < 8:
            trade_id += random_.choice([1, 1, 1, 4])
            events.append(trades(dispatcher, [1.0], ts_init=now_ns, trade_id=[trade_id]))
        else:
            events.append(level_event(dispatcher, random_.randrange(1, 8), instrument=instrument, ts_init=now_ns))
    return events


def live(events: list[np.ndarray], names: list[str], random_: random.Random | None) -> tuple[list[Any], list[Any]]:
    """Return the calls of a live session that publishes random numbers of events and dispatches at random times."""
    clock = HandClock()
    windows, all_ticks = Windows(), AllTicks()
    with Dispatcher(clock=clock, instruments=names, ring_capacity=1 << 14) as dispatcher:
        one = dispatcher.subscribe(windows)
        two = dispatcher.subscribe(all_ticks)
        index = 0
        while index < len(events):
            count = 1 if random_ is None else random_.randrange(1, 40)
            part = np.concatenate(events[index : index + count])
            index += count
            clock.at_ns = max(clock.at_ns, int(part["ts_init"][-1]))
            dispatcher.publish(part)
            dispatcher.dispatch()
            if random_ is not None and index < len(events) and random_.random() < 0.5:
                # Time passes without a tick, up to the time of the next one.
                clock.at_ns = random_.randrange(clock.at_ns, int(events[index]["ts_init"][0]) + 1)
                dispatcher.dispatch()
        dispatcher.finish()
        assert holds_the_law(one.stats())
        assert holds_the_law(two.stats())
        assert one.stats().pending == two.stats().pending == 0
    return windows.calls, all_ticks.calls


@pytest.mark.parametrize("case", range(12))
def test_windows_are_the_same_live_and_in_replay(case: int, seed: int) -> None:
    random_ = random.Random(seed * 31 + case)
    with Dispatcher() as builder:
        events = session(builder, random_)
        names = builder.instruments.names()
    one_by_one = live(events, names, None)
    assert live(events, names, random_) == one_by_one
    replayed = Windows(), AllTicks()
    headrace.replay(np.concatenate(events), list(replayed), instruments=names)
    assert (replayed[0].calls, replayed[1].calls) == one_by_one


def test_windows_align_to_the_clock_and_exclude_their_end() -> None:
    windows = Windows()
    with Dispatcher(clock=HandClock(20_000 * MS)) as dispatcher:
        dispatcher.subscribe(windows)
        times = [10_000 * MS, 10_099 * MS + 999_999, 10_100 * MS, 10_199 * MS, 10_500 * MS]
        dispatcher.publish(quotes(dispatcher, range(5), ts_init=times))
        dispatcher.dispatch()
    assert [call[1] for call in windows.calls] == [times[:2], times[2:4], times[4:]]


def test_a_window_ends_by_the_clock_without_a_tick() -> None:
    clock = HandClock(1_000 * MS)
    windows = Windows()
    with Dispatcher(clock=clock) as dispatcher:
        subscription = dispatcher.subscribe(windows)
        dispatcher.publish(quotes(dispatcher, [1.0], ts_init=1_000 * MS))
        for now_ms in (1_000, 1_050, 1_099):
            clock.at_ns = now_ms * MS
            dispatcher.dispatch()
            assert not windows.calls
            assert subscription.stats().pending == 1
        clock.at_ns = 1_100 * MS
        dispatcher.dispatch()
        assert len(windows.calls) == 1
        assert subscription.stats().pending == 0


def test_an_empty_window_makes_no_call() -> None:
    clock = HandClock(0)
    windows = Windows()
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(windows)
        for _ in range(10):
            clock.at_ns += 100 * MS
            dispatcher.dispatch()
    assert not windows.calls


def test_singular_handlers_do_not_wait_for_a_window() -> None:
    windows = Windows()
    with Dispatcher(clock=HandClock(1_000 * MS)) as dispatcher:
        dispatcher.subscribe(windows)
        dispatcher.publish(trades(dispatcher, [1.0], ts_init=1_000 * MS, trade_id=[7]))
        dispatcher.dispatch()
        assert windows.calls == [("trade", 7)]


def test_ticks_of_an_open_window_are_skipped_at_pause_or_close() -> None:
    with Dispatcher(clock=HandClock(1_000 * MS)) as dispatcher:
        paused = dispatcher.subscribe(Windows())
        closed = dispatcher.subscribe(Windows())
        dispatcher.publish(quotes(dispatcher, range(7), ts_init=1_000 * MS))
        dispatcher.dispatch()
        closed.close()
        paused.pause()
        dispatcher.publish(quotes(dispatcher, range(3), ts_init=1_500 * MS))
        dispatcher.dispatch()
        dispatcher.finish()
        assert (closed.stats().skipped, closed.stats().published) == (7, 7)
        assert paused.stats().skipped == 10
        assert holds_the_law(paused.stats())
        assert holds_the_law(closed.stats())


def test_windows_of_one_length_close_in_registration_order() -> None:
    log: list[str] = []
    clock = HandClock(1_000 * MS)
    with Dispatcher(clock=clock) as dispatcher:
        for name in "abc":
            dispatcher.subscribe(lambda seq, name=name: log.append(name), callback="on_quotes", every="100ms")
        dispatcher.subscribe(lambda seq: log.append("short"), callback="on_quotes", every="50ms")
        dispatcher.publish(quotes(dispatcher, [1.0], ts_init=1_000 * MS))
        dispatcher.dispatch()
        clock.at_ns = 2_000 * MS
        dispatcher.dispatch()
    assert log == ["short", "a", "b", "c"]

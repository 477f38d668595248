"""A window comes whole, whatever batch_max is, or says that it is a part; it costs time in proportion to its ticks."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Engine, Flags, Strategy, replay, ticks
from headrace.limits import WINDOW_TICKS_MAX
from tests.support.feeding import BTC, HandClock, level_event, quotes, trades

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


class Windows(Strategy):
    """Notes each window: its receive times, and whether it is a part."""

    subscription = {"every": "1m"}  # noqa: RUF012 - a plain class, as a user writes it

    def __init__(self) -> None:
        self.windows: list[tuple[list[int], bool]] = []

    def on_quotes(self, ts_init: np.ndarray, flags: np.ndarray) -> None:
        assert not (flags[:-1] & Flags.PARTIAL_WINDOW).any()
        self.windows.append((ts_init.tolist(), bool(flags[-1] & Flags.PARTIAL_WINDOW)))


@pytest.mark.parametrize("batch_max", [1, 7, 1_024, 65_536])
@pytest.mark.parametrize("capacity", [64, 65_536])
def test_a_window_is_whole_whatever_batch_max_is(batch_max: int, capacity: int, seed: int) -> None:
    random_ = random.Random(seed)
    times = np.sort([random_.randrange(4 * MINUTE) for _ in range(9_000)])
    windows = Windows()
    feed = ticks(instrument=BTC, ts_init=times, bid_price=1.0, ask_price=2.0)
    replay(feed, (windows, {"batch_max": batch_max}), instruments=[BTC], ring_capacity=capacity)
    assert [got for got, _ in windows.windows] == [times[times // MINUTE == minute].tolist() for minute in range(4)]
    # The data ends in the last one.
    assert [is_part for _, is_part in windows.windows] == [False, False, False, True]


def test_a_gap_cuts_a_window_and_each_part_says_so() -> None:
    class All(Strategy):
        subscription = {"every": "1m"}  # noqa: RUF012 - as above

        def __init__(self) -> None:
            self.got: list[Any] = []

        def on_trades(self, trade_id: np.ndarray, flags: np.ndarray) -> None:
            self.got.append((trade_id.tolist(), (flags & Flags.PARTIAL_WINDOW != 0).tolist()))

        def on_quotes(self, bid_price: np.ndarray, flags: np.ndarray) -> None:
            self.got.append((bid_price.tolist(), (flags & Flags.PARTIAL_WINDOW != 0).tolist()))

        def on_gap(self, missing: int) -> None:
            self.got.append(missing)

    one = All()
    with Dispatcher(clock=HandClock()) as dispatcher:
        dispatcher.subscribe(one)
        dispatcher.publish(trades(dispatcher, [1, 1], trade_id=[1, 2]))
        dispatcher.publish(quotes(dispatcher, [5.0]))
        dispatcher.publish(trades(dispatcher, [1, 1], trade_id=[4, 5]))
        dispatcher.publish(trades(dispatcher, [1, 1], trade_id=[6, 7], ts_init=MINUTE))
        dispatcher.publish(trades(dispatcher, [1], trade_id=[8], ts_init=2 * MINUTE))
        dispatcher.dispatch()
    assert one.got == [
        ([5.0], [True]),
        ([1, 2], [False, True]),
        1,
        ([4, 5], [False, True]),
        # The next window is whole.
        ([6, 7], [False, False]),
    ]


def test_a_window_of_over_a_million_ticks_comes_in_parts() -> None:
    sizes: list[tuple[int, bool]] = []

    def on_quotes(flags: np.ndarray) -> None:
        sizes.append((len(flags), bool(flags[-1] & Flags.PARTIAL_WINDOW)))

    more = 2_345
    feed = ticks(instrument=BTC, ts_init=np.zeros(WINDOW_TICKS_MAX + more, "i8"), bid_price=1.0, ask_price=2.0)
    next_one = ticks(instrument=BTC, ts_init=[MINUTE, 2 * MINUTE], bid_price=1.0, ask_price=2.0)
    replay(np.concatenate([feed, next_one]), (on_quotes, {"every": "1m"}), instruments=[BTC])
    assert sizes == [(WINDOW_TICKS_MAX, True), (more, True), (1, False), (1, True)]


def test_a_part_ends_with_a_whole_event() -> None:
    lengths: list[int] = []
    with Dispatcher(clock=HandClock(), ring_capacity=1 << 17) as dispatcher:
        dispatcher.subscribe(lambda price: lengths.append(len(price)), callback="on_levels", every="1m")
        event = level_event(dispatcher, 30_000)
        for _ in range(WINDOW_TICKS_MAX // 30_000 + 2):
            dispatcher.publish(event)
            dispatcher.dispatch()
        dispatcher.finish()
    assert lengths == [34 * 30_000, 30_000]


@pytest.mark.alone
def test_a_window_costs_time_in_proportion_to_its_ticks() -> None:
    """Each tick is dispatched by itself; four times as many may take at most eight times as much of the processor."""

    def cost_s(count: int) -> float:
        with Dispatcher(clock=HandClock()) as dispatcher:
            dispatcher.subscribe(lambda seq: None, callback="on_quotes", every="1m", batch_max=65_536)
            one = quotes(dispatcher, [1.0])
            began_s = time.thread_time()
            for _ in range(count):
                dispatcher.publish(one)
                dispatcher.dispatch()
            return time.thread_time() - began_s

    assert min(cost_s(80_000) for _ in range(3)) < 8 * min(cost_s(20_000) for _ in range(3))


@pytest.mark.alone
@pytest.mark.parametrize("options", [{"every": "1h"}, {"overflow": "conflate", "min_interval_ns": 3_600 * SECOND}])
def test_what_waits_is_delivered_at_once_when_a_live_run_ends(options: dict[str, Any]) -> None:
    got: list[float] = []

    def on_quotes(bid_price: np.ndarray) -> None:
        got.extend(bid_price.tolist())

    times = 1_767_571_200 * SECOND + np.arange(50) * 1_000_000
    feed = ticks(instrument=BTC, ts_init=times, bid_price=np.arange(50.0), ask_price=100.0)
    began_s, busy_s = time.monotonic(), time.process_time()
    report = Engine(feeds=feed, strategies=[(on_quotes, options)], instruments=[BTC], speed=1.0).run()
    assert got[-1] == 49.0
    assert (report.ended_by, next(iter(report.strategies.values())).pending) == ("feeds ended", 0)
    assert time.monotonic() - began_s < 5
    assert time.process_time() - busy_s < 3

"""Ticks that no handler takes one by one pass many times at once, and no call shows a difference to one time a call.

Each session is generated from a seed; what the strategies see at their windows, bars and timers is compared with the
run of one time at once, in which no two times can pass together.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

import headrace
from headrace import BarSpec, Dispatcher, Strategy
from tests.replay.test_bound import ACTS, MS, Noting, in_each_way
from tests.support.engines import START
from tests.support.feeding import BTC, ETH, level_event, quotes, trades

TICKS = 300


def session(seed: int, sources: int = 2) -> list[np.ndarray]:
    """Return arrays with shared times, gaps, numbers that come twice or late, and depth events."""
    source = random.Random(seed)
    with Dispatcher(instruments=[BTC, ETH]) as of:
        made = []
        for number in range(sources):
            now_ns, trade_id, pieces = START + number, 1, []
            for _ in range(TICKS // sources):
                now_ns += source.choice((0, 0, 100_000, 300_000, MS, 4 * MS))
                kind = source.choice(("quote",) * 6 + ("trade",) * 3 + ("levels",))
                name = source.choice((BTC, ETH)) if number == 0 else ETH
                if kind == "quote":
                    pieces.append(quotes(of, [source.randint(90, 99)], instrument=name, ts_init=now_ns))
                elif kind == "trade" and number == 0:
                    trade_id += source.choice((1,) * 12 + (0, 3, -1))
                    pieces.append(trades(of, [95.0], ts_init=now_ns, trade_id=[max(trade_id, 1)]))
                elif kind == "levels":
                    pieces.append(level_event(of, source.randint(1, 3), instrument=name, ts_init=now_ns))
            made.append(np.concatenate(pieces))
    return made


class AtWindows(Noting):
    """Notes what it sees at each window, and acts at one of them."""

    subscription: ClassVar[Mapping[str, object]] = {"every": "7ms"}
    bars = ()

    def on_quotes(self, seq, ts_init, bid_price, age_ns, lag_ns, mid, flags) -> None:
        columns = (seq, ts_init, bid_price, age_ns, lag_ns, mid, flags)
        self.note_moment(*(column.tolist() for column in columns))

    def on_ticks(self, ticks, position) -> None:
        self.note_moment(ticks.tobytes(), position.tolist())


class AtBars(Noting):
    """Notes what it sees at each bar."""

    bars = (BarSpec("*", "5ms", price="mid"), BarSpec(BTC, "7t", price="trade"))

    def on_bar(self, bar) -> None:
        self.note_moment(bar.instrument, bar.ts_close, bar.close, bar.volume)


class AtTimers(Noting):
    """Notes what it sees at each timer."""

    bars = ()

    def on_start(self) -> None:
        self.set_timer("beat", every="3ms")

    def on_timer(self, timer) -> None:
        self.note_moment(timer.name, timer.due_ns)


class Windows(Strategy):
    subscription: ClassVar[Mapping[str, object]] = {"every": "5ms"}

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_quotes(self, seq, ask_price) -> None:
        self.calls.append((seq.tolist(), ask_price.tolist()))

    def on_gap(self, missing) -> None:
        self.calls.append(missing)


class OfOne(Windows):
    subscription: ClassVar[Mapping[str, object]] = {"every": "11ms", "instruments": BTC}


class Trades(Strategy):
    """Takes each trade by itself, between quotes that are quiet."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_trade(self, trade_id, position) -> None:
        self.calls.append((trade_id, position))


OTHERS: list[list[type[Strategy]]] = [[], [Windows, OfOne], [Trades, Windows]]
NAMES = ("nothing", "publish", "subscribe", "pause", "pause and resume", "timer", "stop", "fault", "buy")


@pytest.mark.parametrize("act", NAMES)
@pytest.mark.parametrize("watcher", [AtWindows, AtBars, AtTimers])
def test_quiet_ticks_show_nothing_of_a_later_time(
    watcher: type[Noting], act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, others in enumerate(OTHERS):
        noted, *_ = in_each_way(
            monkeypatch, session(seed, 1 + seed % 2), ACTS[act], 3, others, watcher=watcher, late="deliver"
        )
        assert len(noted) >= 3


@pytest.mark.parametrize("ring_capacity", [2, 8, 64])
def test_quiet_ticks_pass_rings_of_any_size(ring_capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    in_each_way(monkeypatch, session(7), ACTS["nothing"], 0, [Windows], watcher=AtWindows, ring_capacity=ring_capacity)


def test_windows_hash_as_ticks_do(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = np.concatenate(session(3, 1))
    seen = [headrace.replay(ticks, kind(), hashing=True) for kind in (Windows, Trades)]
    assert seen[0].input_hash == seen[1].input_hash


def test_a_window_of_more_ticks_than_a_call_holds_comes_in_parts() -> None:
    count = headrace.limits.WINDOW_TICKS_MAX + 5_000
    made = headrace.ticks(instrument=BTC, ts_init=START + np.arange(count), bid_price=1.0, ask_price=2.0)
    calls: list[int] = []

    class Long(Strategy):
        subscription: ClassVar[Mapping[str, object]] = {"every": "1h"}

        def on_quotes(self, seq) -> None:
            calls.append(len(seq))

    headrace.replay(made, Long())
    assert calls == [headrace.limits.WINDOW_TICKS_MAX, 5_000]

"""A bar whose interval began before the data says so; live and in a replay the bars are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import BarSpec, Engine, Strategy, ticks
from headrace.commands import RestartStrategy
from headrace.market.events import Bar
from tests.support.engines import HandFeed, market, until
from tests.support.feeding import BTC, ETH, HandClock

SECOND = 1_000_000_000
START_NS = 1_767_571_200 * SECOND


class Watch(Strategy):
    """Notes its bars."""

    bars = (BarSpec("*", "1s"), BarSpec("*", "2t"), BarSpec("*", "1s", time="ts_event"))

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append((bar.instrument, bar.timeframe, bar.time, (bar.ts_open - START_NS) / SECOND, bar.partial))


def trades_at(*seconds: float, instrument: str = BTC) -> np.ndarray:
    times = START_NS + (np.array(seconds) * SECOND).astype("i8")
    return ticks(instrument=instrument, ts_init=times, ts_event=times, price=1.0, size=1.0, instruments=[BTC, ETH])


def bars_of(feed: np.ndarray, **options: Any) -> list[Any]:
    watch = Watch()
    Engine(feeds=feed, strategies=[watch], instruments=[BTC, ETH], **options).run()
    return watch.seen


def test_the_first_bar_is_partial_unless_the_data_begins_with_it() -> None:
    timed = [own for own in bars_of(trades_at(0.4, 0.9, 1.0, 2.0), mode="replay") if own[1:3] == ("1s", "ts_init")]
    assert timed == [(BTC, "1s", "ts_init", 0.0, True), (BTC, "1s", "ts_init", 1.0, False)]
    timed = [own for own in bars_of(trades_at(0.0, 0.9, 1.0, 2.0), mode="replay") if own[1:3] == ("1s", "ts_init")]
    assert timed[0] == (BTC, "1s", "ts_init", 0.0, False)


def test_a_bar_by_venue_time_is_partial_by_the_same_rule() -> None:
    timed = [own for own in bars_of(trades_at(0.4, 1.0, 2.0, 3.0), mode="replay") if own[2] == "ts_event"]
    assert [own[4] for own in timed] == [True, False, False]


def test_a_bar_of_ticks_is_never_partial() -> None:
    assert not any(own[4] for own in bars_of(trades_at(0.4, 0.5, 0.6, 0.7), mode="replay") if own[1] == "2t")


def test_a_quiet_instrument_of_running_data_has_whole_bars() -> None:
    feed = np.concatenate([trades_at(0.4, 1.2), trades_at(1.5, 2.5, instrument=ETH), trades_at(3.5)])
    others = [own for own in bars_of(feed, mode="replay") if own[0] == ETH and own[1:3] == ("1s", "ts_init")]
    assert [own[3:] for own in others] == [(1.0, False), (2.0, False)]


@pytest.mark.parametrize("last", [1.3, 1.9])
def test_bars_are_the_same_live_and_in_a_replay(last: float) -> None:
    feed = trades_at(0.4, 0.9, 1.0, 1.2, last)
    assert bars_of(feed, speed=4.0) == bars_of(feed, mode="replay")


@pytest.mark.asyncio
async def test_a_restart_inside_an_interval_changes_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))
    seen: list[tuple[int, bool]] = []

    class Restarted(Strategy):
        bars = (BarSpec("*", "1s", price="mid"),)

        def on_bar(self, bar: Bar) -> None:
            seen.append((bar.count, bar.partial))

    clock, feed = HandClock(START_NS), HandFeed()
    engine = Engine(feeds=feed, strategies=Restarted, clock=clock)
    async with engine:
        for number in range(13):
            clock.at_ns = START_NS + number * SECOND // 4
            feed.put(market([1.0], start_ns=clock.at_ns))
            await until(lambda wanted=number + 1: engine.dispatcher.position >= wanted)  # type: ignore[misc]
            if number == 5:
                assert (await engine.commands.submit(RestartStrategy("Restarted"))).status == "accepted"
        await until(lambda: len(seen) == 3)
    assert seen == [(4, False)] * 3

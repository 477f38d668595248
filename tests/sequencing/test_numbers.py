"""Sequence numbers rise for every subscription, are dense without a loss, and are equal live and in replay.

Guarantees: the ticks, with holes, repetitions and late ones among their venue numbers, are drawn from the run's seed.
Does not: test the decoder; the input is ticks.
"""

from __future__ import annotations

import numpy as np
import pytest

from headrace import Dispatcher, Strategy, replay
from headrace.feeds import ArrayFeed
from headrace.market.columns import ticks
from headrace.market.tick import kind_named
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, wait_until

CHUNK = 10_000
QUOTE, TRADE = kind_named("quote").number, kind_named("trade").number


class Numbers(Strategy):
    """Checks the columns of sequence numbers; ``steps`` counts the numbers that are missing."""

    def __init__(self) -> None:
        self.newest: dict[tuple[int, int], int] = {}
        self.wrong: list[str] = []
        self.steps = 0

    def on_ticks(self, instrument_id, kind, seq):
        for which in (0, 1):
            for number in (QUOTE, TRADE):
                mine = seq[(instrument_id == which) & (kind == number)].astype("i8")
                if not len(mine):
                    continue
                steps = np.diff(mine, prepend=self.newest.get((which, number), 0))
                if not (steps > 0).all():
                    self.wrong.append(f"{which} {number}: {mine[int(np.argmin(steps))]} came late")
                self.steps += int((steps - 1).sum())
                self.newest[which, number] = int(mine[-1])


def market(count: int, seed: int) -> np.ndarray:
    """Quotes and trades of two instruments; some of the venue's numbers are missing, some repeated, some late."""
    random = np.random.default_rng(seed)
    # Many ticks share a time: a replay's batches end with it.
    times = np.cumsum(random.random(count) < 0.002)
    price = np.round(random.random(count) * 1_000) / 8
    made = ticks(
        instrument=BTC,
        ts_init=times,
        instruments=[BTC, ETH],
        bid_price=price,
        ask_price=price + 0.125,
        bid_size=1.0,
        ask_size=1.0,
    )
    made["instrument"] = random.integers(0, 2, count)
    is_trade = random.random(count) < 0.3
    made["kind"][is_trade] = TRADE
    for which in (0, 1):
        for rows in (np.flatnonzero((made["instrument"] == which) & kind) for kind in (is_trade, ~is_trade)):
            numbers = np.cumsum(random.choice([0, 1, 1, 1, 1, 1, 1, 1, 2], len(rows))) + 5
            numbers[random.random(len(rows)) < 0.001] -= 4
            made["venue_seq"][rows] = numbers
    return made


def run(count: int, seed: int) -> None:
    made = market(count, seed)
    clock = HandClock(0)
    dense, lossy = Numbers(), Numbers()
    with Dispatcher(
        instruments=[BTC, ETH], ring_capacity=1_024, clock=clock, hashing=True, on_fault="raise"
    ) as dispatcher:
        everything = dispatcher.subscribe(dense)
        losing = dispatcher.subscribe(lossy, overflow="drop_oldest", mode="thread", name="lossy")
        for start in range(0, count, CHUNK):
            clock.at_ns = int(made["ts_init"][start])
            dispatcher.publish(made[start : start + CHUNK])
            dispatcher.dispatch()
        live, live_hash = dispatcher.stats(), dispatcher.input_hash
        assert holds_the_law(everything.stats())
        wait_until(lambda: losing.stats().pending == 0)
        assert holds_the_law(losing.stats())
        assert live.gaps
        assert live.duplicates
        assert live.late
    replayed = Numbers()
    result = replay(ArrayFeed(made), replayed, instruments=[BTC, ETH], ring_capacity=65_536, hashing=True)
    assert result.input_hash == live_hash
    assert result.strategies["Numbers"].delivered == everything.stats().delivered
    assert dense.newest == replayed.newest
    for numbers in (dense, lossy, replayed):
        assert not numbers.wrong, numbers.wrong[:3]
    assert dense.steps == replayed.steps == 0
    assert sum(dense.newest.values()) == live.ticks["quote"] + live.ticks["trade"]


def test_numbers_rise_are_dense_and_the_same_live_and_in_replay(seed: int) -> None:
    run(300_000, seed)


@pytest.mark.deep
@pytest.mark.timeout(1_200)
def test_ten_million_numbers_are_dense_and_equal_in_replay(seed: int) -> None:
    run(10_000_000, seed)

"""Behind a stall a live engine decides as a replay does: ticks, bars, timers and fills in the order of their times.

A feed that was late, or a recording at 100 times its speed, gave several bars and timers before the ticks that lie
between them: "if flat, buy" bought 40 times where a replay bought twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Engine, Instruments, Strategy, ticks
from headrace.market.bars import BarSpec
from headrace.market.events import Bar, OrderFill
from headrace.strategies.timers import Timer
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import INSTRUMENTS, LIMITS, SECOND, START, HandFeed, engine_over, market, until
from tests.support.feeding import BTC, ETH

MS = SECOND // 1_000


class StallingFeed(HandFeed):
    """A live feed, and a clock that goes on to the last tick of each item when the item comes."""

    def __init__(self, at_ns: int) -> None:
        super().__init__()
        self.at_ns = at_ns

    def now_ns(self) -> int:
        return self.at_ns

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        async for item in super().__aiter__():
            self.at_ns = int(item["ts_init"][-1])
            yield item


class Diary(Strategy):
    """Trades by all that it is given, and writes down what that was, in order."""

    bars = (
        BarSpec(BTC, "50ms", price="mid"),
        BarSpec(ETH, "20ms", price="mid", empty=True),
        BarSpec(BTC, "7t", price="mid"),
    )

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def on_start(self) -> None:
        self.set_timer("each", every="30ms")

    def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
        self.lines.append(("quote", instrument, seq))
        if self.is_flat(instrument) and seq % 3 == 1:
            self.buy(instrument, 1)
        elif seq % 5 == 2:
            self.sell(instrument, "0.5", price=str(bid_price + 1))

    def on_bar(self, bar: Bar) -> None:
        self.lines.append(("bar", bar.instrument, bar.timeframe, bar.ts_close, bar.close, bar.count))
        if bar.close > bar.open and self.is_flat(bar.instrument):
            self.buy(bar.instrument, 2)

    def on_timer(self, timer: Timer) -> None:
        missed = range(timer.missed, -1, -1)
        self.lines += [("timer", timer.due_ns - number * timer.interval_ns) for number in missed]
        if not self.is_flat(ETH):
            self.sell(ETH, "0.25")

    def on_fill(self, fill: OrderFill) -> None:
        self.lines.append(("fill", fill.instrument, fill.side, fill.quantity, fill.price))

    def is_flat(self, instrument: str) -> bool:
        return not self.position(instrument).quantity


async def live_with_stalls(strategy: Strategy, blocks: list[np.ndarray], **options: Any) -> None:
    """Run live; each block of ticks comes at once, when its last tick is due."""
    feed = StallingFeed(int(blocks[0]["ts_init"][0]))
    engine = Engine(
        feeds=[feed],
        strategies=[strategy],
        broker=SimulatedBroker(),
        instruments=INSTRUMENTS,
        limits=LIMITS,
        clock=feed,
        on_fault="raise",
        **options,
    )
    async with engine:
        for block in blocks:
            published = engine.dispatcher.ring.cursor + len(block)
            feed.put(block)
            await until(lambda published=published: engine.dispatcher.position == published)  # type: ignore[misc]
            await until(lambda: engine.bus.is_idle and engine._parts.driver.is_at_rest)


def random_market(draw: random.Random) -> np.ndarray:
    """Quotes of two instruments, each at a time of its own, close together or with pauses between them."""
    count = draw.randrange(2, 150)
    steps = [draw.choice([1, 1, 2, 3, 25, 60]) * MS + draw.randrange(MS) for _ in range(count)]
    bids = [100.0]
    for _ in range(count - 1):
        bids.append(max(50.0, bids[-1] + draw.choice((-1.0, 0.0, 1.0))))
    bid = np.asarray(bids)
    return ticks(
        instrument=[draw.choice((BTC, ETH)) for _ in range(count)],
        ts_init=START + np.cumsum(steps),
        instruments=Instruments([own.name for own in INSTRUMENTS]),
        bid_price=bid,
        ask_price=bid + 1,
        bid_size=10.0,
        ask_size=10.0,
    )


@given(st.integers(0, 2**32))
@settings(max_examples=60)
def test_live_run_behind_stalls_decides_as_a_replay(seed: int) -> None:
    draw = random.Random(seed)
    whole = random_market(draw)
    replayed, live = Diary(), Diary()
    engine_over(whole, [replayed]).run()
    edges = sorted(draw.sample(range(1, len(whole)), draw.randrange(min(4, len(whole) - 1) + 1)))
    asyncio.run(live_with_stalls(live, np.split(whole, edges), slice_ns=draw.choice([1, 20_000, 200_000])))
    # Fills, too: nothing was decided on what was not known yet.
    assert live.lines == replayed.lines


class BuysWhenFlat(Strategy):
    """Buys at each bar while it holds nothing."""

    bars = (BarSpec(BTC, "100ms", price="mid"),)

    def __init__(self) -> None:
        self.bought = 0

    def on_bar(self, bar: Bar) -> None:
        if not self.position(bar.instrument).quantity:
            self.bought += 1
            self.buy(bar.instrument, 1)


@pytest.mark.parametrize("speed", [100.0, 1_000.0])
def test_recording_at_high_speed_is_not_bought_before_the_fill_is_known(speed: float) -> None:
    strategy = BuysWhenFlat()
    engine_over(
        market([100.0 + n % 7 for n in range(400)], every_ns=SECOND // 20), [strategy], mode="live", speed=speed
    ).run()
    assert strategy.bought == 1


def test_stall_of_two_seconds_is_not_bought_before_the_fill_is_known() -> None:
    strategy = BuysWhenFlat()
    whole = market([100.0 + n % 7 for n in range(80)], every_ns=SECOND // 40)
    asyncio.run(live_with_stalls(strategy, [whole[:1], whole[1:]]))
    assert strategy.bought == 1


class Times(Strategy):
    """Writes down what the clock says in its handlers, and when its orders were made."""

    bars = (BarSpec(BTC, "100ms", price="mid"),)

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.due: list[tuple[int, int]] = []
        self.orders: list[int] = []

    def on_start(self) -> None:
        self.set_timer("each", every="70ms")

    def on_quote(self, ts_init: int) -> None:
        self.seen.append(self.clock.now_ns())
        assert ts_init <= self.seen[-1]

    def on_bar(self, bar: Bar) -> None:
        self.due.append((bar.ts_close, self.clock.now_ns()))
        self.buy(BTC, 1)

    def on_timer(self, timer: Timer) -> None:
        self.due.append((timer.due_ns, self.clock.now_ns()))

    def on_order(self, event: Any) -> None:
        self.orders.append(event.ts)


def test_handlers_see_the_due_time_and_orders_the_real_one() -> None:
    strategy = Times()
    whole = market([100.0] * 40, every_ns=SECOND // 40)
    asyncio.run(live_with_stalls(strategy, [whole[:1], whole[1:]]))
    assert strategy.due
    assert all(due_ns == now_ns for due_ns, now_ns in strategy.due)
    # What is due and what the clock says only rises, over ticks, bars and timers together.
    assert strategy.seen == sorted(strategy.seen)
    assert strategy.due == sorted(strategy.due)
    assert set(strategy.orders) == {int(whole["ts_init"][-1])}

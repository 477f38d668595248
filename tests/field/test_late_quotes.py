"""A late quote is never the newest: not in the table, under conflate, in bars, for gates, or on resume."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pytest

from headrace import BarSpec, Dispatcher, Engine, Flags, Strategy, ticks
from headrace.market.instrument import Instrument, RiskLimits
from headrace.trading.brokers import SimulatedBroker
from tests.support.feeding import BTC, HandClock, holds_the_law, quotes

PAPER = RiskLimits(
    quantity_max=Decimal(10),
    notional_max=Decimal(10_000),
    price_collar=Decimal("0.01"),
    open_orders_max=10,
    message_rate_max=1_000.0,
    stale_after_s=60.0,
)
# Ids 10, 12, then 11: the last one is late.
IDS = [10, 12, 11]
BIDS = [100.0, 120.0, 110.0]


def test_the_table_keeps_the_newest_in_order() -> None:
    with Dispatcher() as dispatcher:
        dispatcher.publish(quotes(dispatcher, BIDS, venue_seq=IDS))
        newest = dispatcher.newest.quote(BTC)
    assert newest is not None
    assert (newest.bid_price, newest.seq) == (120.0, 2)


@pytest.mark.parametrize("publishes", [[BIDS], [BIDS[:2], BIDS[2:]]])
def test_conflate_folds_a_late_quote(publishes: list[list[float]]) -> None:
    got: list[float] = []
    with Dispatcher() as dispatcher:
        one = dispatcher.subscribe(lambda bid_price: got.append(bid_price), callback="on_quote", overflow="conflate")
        ids = iter(IDS)
        for bids in publishes:
            dispatcher.publish(quotes(dispatcher, bids, venue_seq=[next(ids) for _ in bids]))
            dispatcher.dispatch()
        stats = one.stats()
    assert got == [120.0]
    assert (stats.conflated, holds_the_law(stats)) == (2, True)


def test_the_gap_before_a_folded_late_quote_is_handed_on() -> None:
    got: list[tuple[float, bool]] = []
    with Dispatcher() as dispatcher:

        def on_quote(bid_price: float, flags: int) -> None:
            got.append((bid_price, bool(flags & Flags.GAP_BEFORE)))

        dispatcher.subscribe(on_quote, overflow="conflate")
        dispatcher.publish(quotes(dispatcher, BIDS[:2], venue_seq=IDS[:2]))
        dispatcher.dispatch()
        dispatcher.sequencer.reconnect()
        for bid, number in ((110.0, 11), (130.0, 13)):
            dispatcher.publish(quotes(dispatcher, [bid], venue_seq=[number]))
            dispatcher.dispatch()
    assert got == [(120.0, False), (130.0, True)]


def test_an_interval_ends_with_the_newest_in_order() -> None:
    got: list[float] = []
    clock = HandClock(1_000)
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(
            lambda bid_price: got.append(bid_price), callback="on_quote", overflow="conflate", min_interval_ns=100
        )
        for bid, number in zip([90.0, *BIDS], [5, *IDS], strict=True):
            dispatcher.publish(quotes(dispatcher, [bid], venue_seq=[number]))
            dispatcher.dispatch()
        clock.at_ns = 2_000
        dispatcher.dispatch()
    assert got == [90.0, 120.0]


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "conflate"])
def test_resume_gives_the_newest_in_order(overflow: Literal["block", "drop_oldest", "conflate"]) -> None:
    got: list[tuple[float, bool]] = []
    with Dispatcher() as dispatcher:

        def on_quote(bid_price: float, flags: int) -> None:
            got.append((bid_price, bool(flags & Flags.SNAPSHOT)))

        one = dispatcher.subscribe(on_quote, overflow=overflow)
        one.pause()
        dispatcher.publish(quotes(dispatcher, BIDS, venue_seq=IDS))
        dispatcher.dispatch()
        one.resume()
        dispatcher.dispatch()
    assert got == [(120.0, True)]


def test_bars_end_with_the_last_in_order() -> None:
    class Watch(Strategy):
        bars = (BarSpec(BTC, "1s", price="bid"),)

        def __init__(self) -> None:
            self.closes: list[tuple[float, int]] = []

        def on_bar(self, bar: Any) -> None:
            self.closes.append((bar.close, bar.count))

    watch = Watch()
    feed = ticks(
        instrument=BTC, ts_init=[1, 2, 3, 3 * 10**9], bid_price=[*BIDS, 1], ask_price=200, venue_seq=[*IDS, 20]
    )
    Engine(feeds=feed, strategies=[watch], instruments=[BTC], mode="replay").run()
    assert watch.closes[0] == (120.0, 2)


def test_the_collar_judges_by_the_newest_in_order() -> None:
    """Bought at the mid of the newest in order, 120.5; 1 % beyond the late quote's, and within 1 % of the newest."""

    class Once(Strategy):
        def on_quote(self, flags: int) -> None:
            if flags & Flags.LATE:
                self.buy(BTC, Decimal(1), price=Decimal("120.6"))

    feed = ticks(
        instrument=BTC,
        ts_init=[1, 2, 3, 4],
        bid_price=[*BIDS, 119.0],
        ask_price=np.add([*BIDS, 119.0], 1),
        bid_size=5,
        ask_size=5,
        venue_seq=[*IDS, 13],
    )
    engine = Engine(
        feeds=feed,
        strategies=[Once()],
        broker=SimulatedBroker(),
        instruments=[Instrument(BTC, price_tick=Decimal("0.1"), lot_size=Decimal(1))],
        limits=PAPER,
        mode="replay",
    )
    report = engine.run()
    assert report.late == 1
    assert report.strategies["Once"].orders.rejected == 0
    assert report.strategies["Once"].orders.fills == 1

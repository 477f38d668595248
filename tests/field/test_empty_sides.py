"""A book side of size 0, or at price 0, is absent: no price is made of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import BarSpec, Dispatcher, Engine, Strategy, ticks
from tests.support.feeding import BTC

DERIVED = ("mid", "spread", "microprice", "imbalance")
PRICES = st.sampled_from([0.0, 0.01, 1.0, 99.5, 100.0, 61_837.63])
SIZES = st.sampled_from([0.0, 1e-8, 1.0, 250.0])


class Values(Strategy):
    """Notes each derived field by itself, and on the tick."""

    def __init__(self) -> None:
        self.singular: list[tuple[float, ...]] = []
        self.attributes: list[tuple[float, ...]] = []

    def on_quote(self, mid: float, spread: float, microprice: float, imbalance: float, tick: Any) -> None:
        self.singular.append((mid, spread, microprice, imbalance))
        self.attributes.append(tuple(getattr(tick, name) for name in DERIVED))


class Columns(Strategy):
    """Notes the same as columns."""

    def __init__(self) -> None:
        self.plural: list[tuple[float, ...]] = []

    def on_quotes(self, mid: np.ndarray, spread: np.ndarray, microprice: np.ndarray, imbalance: np.ndarray) -> None:
        self.plural.extend(zip(*(column.tolist() for column in (mid, spread, microprice, imbalance)), strict=True))


def expected(bid: float, ask: float, bid_size: float, ask_size: float) -> tuple[float, ...]:
    if 0 in (bid, ask, bid_size, ask_size):
        return (math.nan,) * 4
    both = bid_size + ask_size
    return (bid + ask) / 2, ask - bid, (bid * ask_size + ask * bid_size) / both, (bid_size - ask_size) / both


@given(st.lists(st.tuples(PRICES, PRICES, SIZES, SIZES), min_size=1, max_size=20))
def test_derived_fields_are_nan_without_both_sides(rows: list[tuple[float, float, float, float]]) -> None:
    bid, ask, bid_size, ask_size = (np.array(column) for column in zip(*rows, strict=True))
    values, columns = Values(), Columns()
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(values)
        dispatcher.subscribe(columns)
        dispatcher.publish(
            ticks(
                instrument=BTC,
                ts_init=np.zeros(len(rows), "i8"),
                instruments=dispatcher.instruments,
                bid_price=bid,
                ask_price=ask,
                bid_size=bid_size,
                ask_size=ask_size,
            )
        )
        dispatcher.dispatch()
    wanted = np.array([expected(*row) for row in rows])
    for got in (values.singular, values.attributes, columns.plural):
        np.testing.assert_array_equal(np.array(got), wanted)


@pytest.mark.parametrize(
    ("price", "closes"), [("mid", [101.0, 105.0]), ("bid", [100.0, 50.0, 104.0]), ("ask", [102.0, 90.0, 106.0])]
)
def test_bars_skip_a_side_that_is_absent(price: Any, closes: list[float]) -> None:
    """The second quote has no bid, the third no ask, the fourth neither price."""

    class Bars(Strategy):
        bars = (BarSpec(BTC, "1s", price=price),)

        def __init__(self) -> None:
            self.lows: list[float] = []

        def on_bar(self, bar: Any) -> None:
            self.lows.append(bar.low)

    bars = Bars()
    feed = ticks(
        instrument=BTC,
        ts_init=np.arange(5) * 10**9,
        bid_price=[100.0, 0.5, 50.0, 0.0, 104.0],
        ask_price=[102.0, 90.0, 0.7, 0.0, 106.0],
        bid_size=[1.0, 0.0, 1.0, 1.0, 1.0],
        ask_size=[1.0, 1.0, 0.0, 1.0, 1.0],
    )
    Engine(feeds=feed, strategies=[bars], instruments=[BTC], mode="replay").run()
    assert bars.lows == closes[:-1]


def test_quotes_without_sizes_have_prices() -> None:
    made = ticks(instrument=BTC, ts_init=[1], bid_price=[100.0], ask_price=[102.0])
    mids: list[float] = []
    with Dispatcher(instruments=[BTC]) as dispatcher:
        dispatcher.subscribe(lambda mid: mids.append(mid), callback="on_quote")
        dispatcher.publish(made)
        dispatcher.dispatch()
    assert mids == [101.0]

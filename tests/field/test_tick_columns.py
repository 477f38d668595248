"""A column of a table becomes ticks exactly, or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace import replay, ticks
from headrace.errors import OptionError
from tests.support.engines import START
from tests.support.feeding import BTC, ETH

DAYS = ["2026-01-05", "2026-01-06"]
DAYS_NS = [1_767_571_200_000_000_000, 1_767_657_600_000_000_000]


def quotes(**columns: Any) -> np.ndarray:
    """Two quotes, with some columns of the test's own."""
    return ticks(instrument=BTC, **{"ts_init": [1, 2], "bid_price": [1.0, 2.0], "ask_price": [2.0, 3.0], **columns})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "6h", "D"])
def test_datetime64_of_every_unit_becomes_nanoseconds(unit: str) -> None:
    assert quotes(ts_init=np.array(DAYS, f"M8[{unit}]"))["ts_init"].tolist() == DAYS_NS


def test_nat_is_refused() -> None:
    with pytest.raises(OptionError, match="NaT at row 1"):
        quotes(ts_init=np.array(["2026-01-05", "NaT"], "M8[s]"))


def test_float32_slice_keeps_its_value() -> None:
    made = quotes(ts_init=[1], bid_price=np.array([0.1, 5, 7], "f4")[::3], ask_price=2)
    assert made["values"][:, :2].tolist() == [[0.10000000149011612, 2.0]]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"venue_seq": np.array([1, 2.5], dtype=object)}, "venue_seq is 2.5 at row 1"),
    ({"side": np.array([1, 0.5], dtype=object)}, "side is 0.5 at row 1"),
    ({"side": [1, 0]}, "neither \\+1"),
    ({"side": [1, 5]}, "neither \\+1"),
    ({"side": [True, False]}, "buyer_is_maker"),
    ({"bid_price": [True, False]}, "it holds bools"),
    ({"bid_price": [1.0, None]}, "mixed or missing"),
    ({"bid_price": ["1", "2"]}, "dtype <U1"),
    ({"bid_price": np.ma.masked_array([1.0, 2.0], [True, False])}, "is masked"),
    ({"ts_init": np.array(["2026-01-05", "NaT"], "M8[ns]").view("i8")}, "NaT at row 1"),
    ({"ts_init": np.array(["NaT", "2026-01-05"], "M8[ns]").view("i8")}, "NaT at row 0"),
    ({"ts_init": [-5, 7]}, "-5 at row 0, which lies before 1970"),
    ({"ts_init": [1_767_571_200, 1_767_571_201]}, "looks like seconds: multiply the column by 1,000,000,000"),
    ({"ts_init": [1_767_571_200_000, 1_767_571_200_100]}, "looks like milliseconds"),
    ({"ts_init": [1_767_571_200_000_000, 1_767_571_201_000_000]}, "looks like microseconds"),
    ({"ts_event": [1_767_571_200_123, 1_767_571_200_124]}, "ts_event is .* looks like milliseconds"),
]


@pytest.mark.parametrize(
    ("column", "said"), BAD, ids=[next(iter(column)) + str(n) for n, (column, _) in enumerate(BAD)]
)
def test_column_that_would_become_other_values_is_refused(column: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        quotes(**column)


def test_times_of_a_test_may_begin_at_zero() -> None:
    second = 10**9
    times = [0, second - 1, second, second + 1, 2 * second]
    assert quotes(ts_init=times, bid_price=1.0, ask_price=2.0)["ts_init"].tolist() == times
    assert quotes(ts_init=times[1:], bid_price=1.0, ask_price=2.0)["ts_init"].tolist() == times[1:]


def test_buyer_who_is_maker_is_a_sell() -> None:
    made = ticks(instrument=BTC, ts_init=[1, 2], price=1.0, buyer_is_maker=[True, False])
    assert made["side"].tolist() == [-1, 1]
    with pytest.raises(OptionError, match="not bool"):
        ticks(instrument=BTC, ts_init=[1], price=1.0, buyer_is_maker=[1])
    with pytest.raises(OptionError, match="two columns of sides"):
        ticks(instrument=BTC, ts_init=[1], price=1.0, buyer_is_maker=[True], side=[1])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"side": [1, 1], "aggressor_side": [1, 1]}, "side and aggressor_side are two names of one column"),
        ({"venue_seq": [1, 2], "trade_id": [1, 2]}, "venue_seq and trade_id are two names of one column"),
        ({"aggressor_side": [1, 1], "buyer_is_maker": [True, True]}, "two columns of sides"),
        ({"size": [1.0, -2.0]}, r"size is -2.0 at row 1, and no size is below 0"),
        ({"size": [np.nan, 2.0]}, "size is nan at row 0, which is no size"),
        ({"size": np.inf}, "size is inf at row 0, which is no size"),
        ({"price": [1.0, 1.0], "size": [-1, 1], "kind": "agg_trade"}, "size is -1.0 at row 0"),
        ({"size": -1.0, "kind": "level"}, "size is -1.0 at row 0"),
    ],
)
def test_trade_column_given_twice_or_negative_is_refused(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ticks(**{"instrument": BTC, "ts_init": [1, 2], "price": 1.0, **columns})


def test_negative_size_of_a_quote_is_refused() -> None:
    with pytest.raises(OptionError, match=r"ask_size is -0.5 at row 1"):
        quotes(bid_size=[0.0, np.nan], ask_size=[1.0, -0.5])


class Table:
    """A DataFrame, as far as one is read: columns by name."""

    def __init__(self, **columns: Any) -> None:
        self.columns = list(columns)
        self._values = columns

    def __getitem__(self, name: str) -> Any:
        return self._values[name]


def test_table_with_known_columns_is_replayed_as_it_is() -> None:
    seen = []

    def on_trade(instrument: str, price: float) -> None:
        seen.append((instrument, price))

    times = [START, START + 1]
    replay(Table(instrument=[BTC, ETH], ts_init=times, price=[1.0, 2.0], buyer_is_maker=[True, False]), on_trade)
    assert seen == [(BTC, 1.0), (ETH, 2.0)]


def test_table_with_other_columns_is_refused_with_the_call() -> None:
    with pytest.raises(OptionError) as refused:
        replay([Table(time=[1], price=[1.0], volume=[2.0])])
    assert "other columns: time, volume" in str(refused.value)
    assert 'replay(ticks(instrument="SYMBOL.VENUE", ts_init=df["..."], price=df["price"]))' in str(refused.value)


@pytest.mark.parametrize(("times", "said"), [([0, 1], "give ns since 1970"), ([1_767_571_200_000] * 2, "milliseconds")])
def test_table_with_times_before_2000_is_refused(times: list[int], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        replay(Table(instrument=[BTC, BTC], ts_init=times, price=[1.0, 2.0]))

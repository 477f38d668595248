"""Trailing stops by a part of the price, and with a limit; on each fill model that has them, and amended."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headrace.errors import OrderError
from headrace.market.events import OrderAmended, OrderTriggered
from headrace.trading.orders import OrderState
from tests.orders.test_order_kinds import OF_CANDLES, OF_QUOTES, desk_of, exit_at, fills
from tests.support.candles import MINUTE, Trader, candles, flat, replayed
from tests.support.engines import START
from tests.support.trading import Desk

D = Decimal


def bids(desk: Desk, *prices: float) -> None:
    for price in prices:
        desk.quote(price)


# By a part of the price


@pytest.mark.parametrize("fill", OF_QUOTES)
@pytest.mark.parametrize(
    ("side", "before", "last", "price"),
    # 110 less 3 % is 106.7, and 91 more 3 % is 93.73; the price tick is 0.5, and both go away from the market.
    [(-1, [99.0, 110.0, 107.0], 106.5, "106.5"), (1, [99.0, 90.0, 92.5], 93.0, "94")],
)
def test_trail_in_percent_follows_the_best_price(
    fill: str, side: int, before: list[float], last: float, price: str
) -> None:
    desk = desk_of(fill)
    order = desk.ask(side, 1, trail="3%")
    bids(desk, *before)
    assert desk.order(order).state is OrderState.ACCEPTED
    bids(desk, last)
    assert fills(desk, side) == [(D(1), D(price))]
    assert [own.price for own in desk.of(OrderTriggered)] == [D(price)]


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_trail_in_percent_follows_the_high_of_earlier_candles(fill: str) -> None:
    trader = exit_at({"trail": "5%"})
    replayed(candles([*flat(100), (100, 108, 100, 107), (106, 107, 102, 103)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D("102.6"))]


def test_trail_is_amended_in_its_own_unit() -> None:
    desk = desk_of("quote")
    order = desk.ask(-1, 1, trail="10%")
    bids(desk, 100.0)
    assert desk.orders.amend(order, trail="5%") == "accepted"
    desk.drain()
    assert [own.trail for own in desk.of(OrderAmended)] == [D(5)]
    with pytest.raises(OrderError, match=r"trails by 5%, and not in the unit of 5: give the same"):
        desk.orders.amend(order, trail=5)
    bids(desk, 95.5, 95.0)
    assert fills(desk) == [(D(1), D(95))]


# With a limit


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_trailing_stop_limit_rests_at_its_limit_behind_a_gap(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(-1, 1, trail=5, limit_offset=1)
    bids(desk, 110.0, 103.0)
    assert (desk.order(order).state, desk.order(order).price) == (OrderState.TRIGGERED, D(104))
    assert [(own.price, own.limit) for own in desk.of(OrderTriggered)] == [(D(105), D(104))]
    assert fills(desk) == []
    bids(desk, 104.5)
    assert fills(desk) == ([] if fill == "trade_through" else [(D(1), D(104))])


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_trailing_stop_limit_takes_what_its_limit_allows(fill: str) -> None:
    desk = desk_of(fill)
    desk.ask(1, 1, trail="5%", limit_offset="0.5")
    # The best ask is 80, so the trigger is 84 and the limit 84.5.
    bids(desk, 79.0, 83.5)
    assert fills(desk, 1) == [(D(1), D("84.5"))]


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_trailing_stop_limit_in_candles_rests_behind_a_gap(fill: str) -> None:
    trader = exit_at({"trail": 5, "limit_offset": 1})
    replayed(candles([*flat(100, 100), (90, 93, 89, 92), (92, 95, 91, 92)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(94))]
    assert (trader.fills[1].ts, trader.fills[1].liquidity) == (START + 4 * MINUTE, "maker")


def test_change_on_its_way_leaves_the_limit_of_a_trigger() -> None:
    # A quote moves the clock by 1 ms.
    desk = desk_of("quote", latency_ns=2_000_000)
    order = desk.ask(-1, 2, trail=5, limit_offset=1)
    bids(desk, 100.0, 100.0, 100.0)
    desk.orders.amend(order, quantity=1)
    bids(desk, 93.0)
    assert desk.order(order).price == D(94)
    assert not desk.of(OrderAmended)
    bids(desk, 93.0, 93.0, 93.0)
    assert [(own.quantity, own.price) for own in desk.of(OrderAmended)] == [(D(1), D(94))]
    bids(desk, 94.0)
    assert fills(desk) == [(D(1), D(94))]


# What cannot be


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"trail": "0%"}, "trail"),
        ({"trail": "100%"}, "trail"),
        ({"trail": "%"}, "trail"),
        ({"trail": "five%"}, "trail"),
        ({"limit_offset": 1}, "limit_offset"),
        ({"stop": 95, "limit_offset": 1}, "limit_offset"),
        ({"trail": 5, "limit_offset": 0}, "limit_offset"),
        ({"trail": 5, "limit_offset": "1%"}, "limit_offset"),
        ({"trail": 5, "limit_offset": 1, "price": 90}, "price"),
        ({"trail_percent": 5}, "trail_percent"),
    ],
)
def test_impossible_trail_raises_and_sends_nothing(options: dict[str, Any], field: str) -> None:
    desk = desk_of("quote")
    with pytest.raises(OrderError) as raised:
        desk.submit(-1, 1, **options)
    assert raised.value.field == field
    assert desk.orders.stats().submitted == 0


def test_gate_of_ticks_judges_an_offset_and_no_percentage() -> None:
    desk = desk_of("quote")
    wrong, right = desk.ask(-1, 1, trail=5, limit_offset="0.3"), desk.ask(-1, 1, trail="0.3%")
    assert (desk.order(wrong).state, desk.order(wrong).gate) == (OrderState.REJECTED, "tick_and_lot")
    assert desk.order(right).state is OrderState.ACCEPTED


@pytest.mark.parametrize("options", [{"trail": "5%"}, {"trail": 5, "limit_offset": 1}])
def test_model_of_closes_refuses_trailing_stops(options: dict[str, Any]) -> None:
    trader = Trader({1: [(-1, "1", options)]})
    report = replayed(candles(flat(100, 80, 130)), trader, fill="close_slip")
    (refused,) = report.strategies["Trader"].refusals.values()
    assert "the fill model close_slip simulates limit, market orders" in refused.example
    assert "trailing_stop" in refused.example

"""Kinds of orders: stops, take profits, trailing stops, post-only, FOK, IOC, GTD, OCO; on each fill model with them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from headrace import Engine, Strategy, ticks
from headrace.errors import OptionError, OrderError
from headrace.market.events import (
    Bar,
    OrderAmended,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderTriggered,
    OrderType,
)
from headrace.trading.brokers import SimulatedBroker
from headrace.trading.brokers.fill_models import FILL_MODELS
from headrace.trading.orders import OrderState
from tests.support.candles import MINUTE, Trader, candles, flat, replayed
from tests.support.engines import START
from tests.support.feeding import BTC
from tests.support.trading import KNOWN, WIDE, Desk, S, simulated

D = Decimal
OF_QUOTES = ("quote", "trade_through", "queue", "book_walk")
OF_CANDLES = ("next_open", "path")
BUY: Any = (1, "1", {})


def desk_of(fill: str, **options: Any) -> Desk:
    """A desk that has had a quote, 99 to 101."""
    desk = simulated(fill=fill, **options)
    desk.quote(99.0, 101.0, at_ns=S)
    return desk


def long_at_101(fill: str, quantity: Any = 1, **options: Any) -> Desk:
    """A desk that holds so much, bought at 101."""
    desk = desk_of(fill, **options)
    desk.ask(1, quantity)
    desk.quote(99.0, 101.0, ask_size=50.0)
    assert desk.position().quantity == D(quantity)
    return desk


def fills(desk: Desk, side: int = -1) -> list[tuple[Decimal, Decimal]]:
    """Quantity and price of each execution of a side."""
    return [(fill.quantity, fill.price) for fill in desk.of(OrderFill) if fill.side == side]


def exit_at(*options: dict[str, Any]) -> Trader:
    """A trader that buys at the open of candle 2, and then sends these orders to sell at once."""

    class Entered(Trader):
        def on_fill(self, fill: OrderFill) -> None:
            super().on_fill(fill)
            first = ""
            for number, own in enumerate(options if fill.side > 0 else ()):
                oco = {"oco": first} if number and not own.pop("alone", False) else {}
                first = self.sell(BTC, own.pop("quantity", "1"), **{"reduce_only": True, **oco, **own}) or first

    return Entered({1: [BUY]})


# Stops against quotes


@pytest.mark.parametrize("fill", OF_QUOTES)
@pytest.mark.parametrize(
    ("side", "trigger", "bids"), [(-1, "95", [96.0, 95.5, 95.0]), (1, "105", [102.0, 103.5, 104.0])]
)
def test_price_that_equals_the_trigger_triggers(fill: str, side: int, trigger: str, bids: list[float]) -> None:
    desk = desk_of(fill)
    order = desk.ask(side, 1, stop=trigger)
    for bid in bids[:-1]:
        desk.quote(bid)
        assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(bids[-1])
    assert fills(desk, side) == [(D(1), D(trigger))]
    assert desk.told(order)[2:] == ["OrderTriggered", "OrderFilled"]
    (triggered,) = desk.of(OrderTriggered)
    (fill_,) = desk.of(OrderFill)
    assert (triggered.price, triggered.quote, fill_.liquidity) == (D(trigger), fill_.quote, "taker")


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_stop_beyond_its_trigger_fills_at_the_worse_quote(fill: str) -> None:
    desk = desk_of(fill)
    desk.ask(-1, 1, stop=95)
    desk.quote(91.0)
    assert fills(desk) == [(D(1), D(91))]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_triggered_stop_goes_on_at_the_next_quote(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(-1, 3, stop=95)
    desk.quote(95.0, bid_size=1.0)
    assert desk.order(order).state is OrderState.PARTIALLY_FILLED
    desk.quote(96.0, bid_size=9.0)
    assert fills(desk) == [(D(1), D(95)), (D(2), D(96))]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_take_profit_fills_at_the_better_quote(fill: str) -> None:
    desk = desk_of(fill)
    desk.ask(-1, 1, take_profit=105)
    desk.quote(104.5)
    desk.quote(107.0)
    assert fills(desk) == [(D(1), D(107))]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_stop_limit_rests_at_its_limit_once_it_is_triggered(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(-1, 1, stop=95, price=94)
    desk.quote(93.0)
    assert desk.order(order).state is OrderState.TRIGGERED
    assert fills(desk) == []
    desk.quote(94.5)
    if fill == "trade_through":
        assert fills(desk) == []
    else:
        assert fills(desk) == [(D(1), D(94))]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_take_profit_limit_takes_up_to_its_limit(fill: str) -> None:
    desk = desk_of(fill)
    desk.ask(-1, 1, take_profit=105, price=104)
    desk.quote(105.5)
    assert fills(desk) == [(D(1), D("105.5"))]


@pytest.mark.parametrize("fill", OF_QUOTES)
@pytest.mark.parametrize(
    ("side", "bids", "price"),
    [(-1, [99.0, 110.0, 106.0, 105.5, 105.0], "105"), (1, [99.0, 90.0, 94.0, 94.5, 95.0], "96")],
)
def test_trailing_stop_follows_the_best_price_and_never_goes_back(
    fill: str, side: int, bids: list[float], price: str
) -> None:
    desk = desk_of(fill)
    order = desk.ask(side, 1, trail=5)
    for bid in bids[:-1]:
        desk.quote(bid)
        assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(bids[-1])
    assert fills(desk, side) == [(D(1), D(price))]
    assert [own.price for own in desk.of(OrderTriggered)] == [D(price)]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_stop_does_not_see_the_quote_that_it_was_decided_on(fill: str) -> None:
    desk = simulated(fill=fill)
    desk.quote(90.0, at_ns=S)
    order = desk.ask(-1, 1, stop=95)
    assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(97.0)
    assert desk.order(order).state is OrderState.ACCEPTED


# Stops in candles


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_stop_and_target_of_a_candle_that_opens_below_the_stop_exit_at_the_open(fill: str) -> None:
    trader = exit_at({"stop": 95}, {"price": 105})
    report = replayed(candles([*flat(100, 100), (94, 106, 93, 104)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(94))]
    assert trader.fills[1].ts == START + 2 * MINUTE
    assert report.strategies["Entered"].orders.canceled == 1


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_stop_acts_within_the_candle_of_its_entry(fill: str) -> None:
    trader = exit_at({"stop": 95})
    replayed(candles([*flat(100), (100, 102, 95, 101)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(95))]


@pytest.mark.parametrize("fill", OF_CANDLES)
@pytest.mark.parametrize("orders", [({"stop": 95}, {"price": 105}), ({"price": 105}, {"stop": 95})])
def test_candle_that_reaches_both_stops_a_long_position(fill: str, orders: tuple[dict[str, Any], ...]) -> None:
    trader = exit_at(*(dict(own) for own in orders))
    replayed(candles([*flat(100), (100, 106, 94, 100)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(95))]


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_slippage_makes_a_stop_worse(fill: str) -> None:
    trader = exit_at({"stop": 95})
    replayed(candles([*flat(100), (100, 102, 94, 101)]), trader, broker=SimulatedBroker(fill=fill, slippage_ticks=3))
    assert [price for _, price in trader.trades] == [D("100.03"), D("94.97")]


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_take_profit_in_a_candle_fills_at_its_trigger(fill: str) -> None:
    trader = exit_at({"take_profit": 105})
    replayed(candles([*flat(100), (100, 106, 99, 100)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(105))]
    assert trader.fills[1].liquidity == "taker"


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_take_profit_fills_at_a_better_open(fill: str) -> None:
    trader = exit_at({"take_profit": 105})
    replayed(candles([*flat(100, 100), (107, 108, 99, 100)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(107))]


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_gap_over_a_stop_limit_rests_at_the_limit(fill: str) -> None:
    trader = exit_at({"stop": 95, "price": 94})
    replayed(candles([*flat(100, 100), (90, 93, 89, 92), (92, 95, 91, 92)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(94))]
    assert (trader.fills[1].ts, trader.fills[1].liquidity) == (START + 4 * MINUTE, "maker")


def test_only_the_path_fills_a_stop_limit_above_its_trigger_in_the_same_candle() -> None:
    for fill, times in {"path": [START + 2 * MINUTE], "next_open": [START + 3 * MINUTE]}.items():
        trader = exit_at({"stop": 95, "price": 97})
        replayed(candles([*flat(100), (100, 101, 94, 98), (98, 98, 98, 98)]), trader, fill=fill)
        assert [fill.ts for fill in trader.fills[1:]] == times, fill
        assert trader.trades[1] == (-1, D(97))


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_trailing_stop_follows_the_high_of_earlier_candles(fill: str) -> None:
    trader = exit_at({"trail": 5})
    replayed(candles([*flat(100), (100, 108, 100, 107), (106, 107, 102, 103)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(103))]


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_close_below_the_high_of_its_candle_triggers_a_trailing_stop(fill: str) -> None:
    """The high comes before the close, whatever the path: on the way back the price was at the trigger."""
    trader = exit_at({"trail": 5})
    replayed(candles([*flat(100), (100, 110, 99, 101)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(105))]


def test_short_is_stopped_by_the_high_first() -> None:
    class Short(Trader):
        def on_fill(self, fill: OrderFill) -> None:
            super().on_fill(fill)
            if fill.side < 0:
                target = self.buy(BTC, "1", price=95, reduce_only=True)
                self.buy(BTC, "1", stop=105, reduce_only=True, oco=target)

    for fill in OF_CANDLES:
        trader = Short({1: [(-1, "1", {})]})
        replayed(candles([*flat(100), (100, 106, 94, 100)]), trader, fill=fill)
        assert trader.trades == [(-1, D(100)), (1, D(105))], fill


def test_path_fills_two_stops_in_the_order_in_which_it_reaches_them() -> None:
    trader = exit_at({"stop": 95, "quantity": "0.4"}, {"stop": 97, "quantity": "0.6", "alone": True})
    replayed(candles([*flat(100), (100, 101, 94, 100)]), trader, fill="path")
    assert [price for _, price in trader.trades] == [D(100), D(97), D(95)]


# Refused at submission


@pytest.mark.parametrize("options", [{"stop": 90}, {"stop": 90, "price": 89}, {"take_profit": 120}, {"trail": 5}])
def test_model_of_closes_refuses_orders_that_wait_for_a_price(options: dict[str, Any]) -> None:
    trader = Trader({1: [(-1, "1", options)]})
    report = replayed(candles(flat(100, 80, 130)), trader, fill="close_slip")
    assert report.strategies["Trader"].orders.rejected == 1
    (refused,) = report.strategies["Trader"].refusals.values()
    assert "the fill model close_slip simulates limit, market orders" in refused.example


def test_every_type_of_order_has_a_model_of_quotes_and_one_of_candles() -> None:
    every = set(get_args(OrderType))
    assert {name for name, model in FILL_MODELS.items() if model.order_types >= every} == {*OF_QUOTES, *OF_CANDLES}


def test_every_type_of_order_has_a_row_in_the_table_of_kinds() -> None:
    page = Path(__file__).parents[2] / "docs/how-to/orders.md"
    rows = [line.split("|")[2].strip() for line in page.read_text().splitlines() if line.startswith("| ")]
    assert {own.replace("_", " ") for own in get_args(OrderType)} <= set(rows)


# Protective orders


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_stop_of_a_closed_position_opens_none(fill: str) -> None:
    desk = long_at_101(fill)
    stop = desk.ask(-1, 1, stop=95, reduce_only=True)
    desk.ask(-1, 1)
    desk.quote(99.0, bid_size=50.0)
    assert desk.position().quantity == 0
    desk.quote(94.0, bid_size=50.0)
    desk.quote(93.0, bid_size=50.0)
    assert desk.position().quantity == 0
    assert desk.order(stop).state is OrderState.CANCELED


@pytest.mark.parametrize("fill", OF_CANDLES)
def test_stop_in_candles_of_a_closed_position_opens_none(fill: str) -> None:
    trader = exit_at({"stop": 95}, {"alone": True, "price": 200, "reduce_only": False})
    trader.acts[2] = [(-1, "1", {})]
    replayed(candles([*flat(100, 100, 100), (100, 100, 90, 90), *flat(90)]), trader, fill=fill)
    assert trader.trades == [(1, D(100)), (-1, D(100))]


# Post-only, FOK, IOC, GTD


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_post_only_order_that_would_take_is_canceled(fill: str) -> None:
    desk = desk_of(fill)
    takes, rests = desk.ask(1, 1, price=102, post_only=True), desk.ask(1, 1, price=98, post_only=True)
    desk.quote(99.0, 101.0)
    assert desk.order(takes).state is OrderState.CANCELED
    assert desk.order(takes).reason == "post only: it would have taken"
    assert desk.order(rests).state is OrderState.ACCEPTED
    desk.quote(96.0, 98.0)
    if fill != "trade_through":
        assert [own.liquidity for own in desk.of(OrderFill)] == ["maker"]


@pytest.mark.parametrize("fill", [*OF_CANDLES, "close_slip"])
def test_post_only_order_in_candles_makes_or_is_canceled(fill: str) -> None:
    trader = Trader({1: [(1, "1", {"price": "105", "post_only": True}), (1, "1", {"price": "95", "post_only": True})]})
    report = replayed(candles([*flat(100, 100), (100, 100, 94, 94), *flat(94)]), trader, fill=fill)
    assert report.strategies["Trader"].orders.canceled == 1
    assert [(own.price, own.liquidity) for own in trader.fills] == [(D(95), "maker")]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_fill_or_kill_fills_whole_or_not(fill: str) -> None:
    desk = desk_of(fill)
    small, large = desk.ask(1, 1, time_in_force="fok"), desk.ask(1, 3, time_in_force="fok")
    desk.quote(99.0, 101.0, ask_size=3.0)
    assert fills(desk, 1) == [(D(1), D(101))]
    assert desk.order(small).state is OrderState.FILLED
    assert (desk.order(large).state, desk.order(large).left) == (OrderState.CANCELED, D(3))


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_rest_of_an_immediate_order_is_canceled(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(1, 3, price=101, time_in_force="ioc")
    desk.quote(99.0, 101.0, ask_size=1.0)
    assert fills(desk, 1) == [(D(1), D(101))]
    assert desk.told(order)[2:] == ["OrderPartiallyFilled", "OrderCanceled"]
    (canceled,) = desk.of(OrderCanceled)
    assert canceled.left == 2


@pytest.mark.parametrize("fill", [*OF_CANDLES, "close_slip"])
@pytest.mark.parametrize("time_in_force", ["ioc", "fok"])
def test_immediate_order_in_candles_fills_at_the_first_or_is_canceled(fill: str, time_in_force: str) -> None:
    own = {"time_in_force": time_in_force}
    trader = Trader({1: [(1, "1", {"price": "105", **own}), (1, "1", {"price": "95", **own})]})
    report = replayed(candles([*flat(100, 100), (100, 100, 94, 94), *flat(94)]), trader, fill=fill)
    assert trader.trades == [(1, D(100))]
    assert report.strategies["Trader"].orders.canceled == 1


@pytest.mark.parametrize("fill", [*OF_CANDLES, "close_slip"])
def test_order_in_candles_good_till_a_time_expires_then(fill: str) -> None:
    trader = Trader({1: [(1, "1", {"price": "95", "expires_after": "90s"})]})
    report = replayed(candles([*flat(100, 100, 100), (100, 100, 94, 94), *flat(94)]), trader, fill=fill)
    assert (trader.trades, report.strategies["Trader"].orders.expired) == ([], 1)


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_amended_order_rests_at_its_new_price(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(1, 2, price=90)
    desk.quote(99.0, 101.0)
    desk.orders.amend(order, price=102, quantity=1)
    desk.quote(99.0, 101.0, ask_size=5.0)
    assert fills(desk, 1) == [(D(1), D(101))]


@pytest.mark.parametrize("fill", [*OF_CANDLES, "close_slip"])
def test_order_amended_in_candles_fills_at_its_new_price(fill: str) -> None:
    class Amends(Trader):
        def on_bar(self, bar: Bar) -> None:
            super().on_bar(bar)
            if len(self.seen) == 2:
                self.amend("Amends-1", price=96)

    trader = Amends({1: [(1, "1", {"price": "90"})]})
    replayed(candles([*flat(100, 100, 100), (100, 100, 95, 95), *flat(95)]), trader, fill=fill)
    assert trader.trades == [(1, D(96))]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_stop_with_an_immediate_rest_is_canceled_after_its_trigger(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(-1, 3, stop=95, time_in_force="ioc")
    desk.quote(96.0)
    assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(95.0, bid_size=1.0)
    assert desk.told(order)[2:] == ["OrderTriggered", "OrderPartiallyFilled", "OrderCanceled"]


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_order_good_till_a_time_expires_then(fill: str) -> None:
    desk = desk_of(fill)
    order = desk.ask(1, 1, stop=120, time_in_force="gtd", expires_after="5s")
    desk.quote(99.0, 101.0)
    desk.quote(99.0, 101.0, at_ns=7 * S)
    assert desk.order(order).state is OrderState.EXPIRED
    assert [own.left for own in desk.of(OrderExpired)] == [1]


# OCO


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_partner_shrinks_by_each_fill(fill: str) -> None:
    desk = long_at_101(fill, 3)
    stop = desk.ask(-1, 3, stop=95, reduce_only=True)
    target = desk.ask(-1, 3, take_profit=105, reduce_only=True, oco=stop)
    assert desk.order(target).state is OrderState.ACCEPTED
    desk.quote(105.0, bid_size=1.0)
    assert (desk.order(stop).quantity, desk.order(stop).left) == (D(2), D(2))
    assert [(own.order_id, own.quantity, own.left) for own in desk.of(OrderAmended)] == [(stop, D(2), D(2))]
    desk.quote(94.0, bid_size=50.0)
    assert fills(desk)[1:] in ([(D(2), D(94))], [])
    assert desk.position().quantity == 0
    assert {desk.order(stop).state, desk.order(target).state} == {OrderState.FILLED, OrderState.CANCELED}


@pytest.mark.parametrize("fill", OF_QUOTES)
def test_filled_partner_cancels_the_other(fill: str) -> None:
    desk = long_at_101(fill)
    target = desk.ask(-1, 1, price=110, reduce_only=True)
    stop = desk.ask(-1, 1, stop=95, reduce_only=True, oco=target)
    desk.quote(94.0, bid_size=50.0)
    assert desk.order(stop).state is OrderState.FILLED
    assert desk.order(target).state is OrderState.CANCELED
    assert desk.order(target).reason == f"its OCO partner {stop} was filled"


def test_both_partners_at_one_quote_fill_once() -> None:
    desk = long_at_101("quote")
    first = desk.ask(-1, 1, stop=98, reduce_only=True)
    desk.ask(-1, 1, stop=97, reduce_only=True, oco=first)
    desk.quote(90.0, bid_size=50.0)
    assert fills(desk) == [(D(1), D(90))]


def test_partners_count_once_for_the_gates() -> None:
    """Two orders that each close the position pass as partners, and not without."""
    desk = long_at_101("quote")
    target = desk.ask(-1, 1, price=110, reduce_only=True)
    alone = desk.ask(-1, 1, stop=95, reduce_only=True)
    partner = desk.ask(-1, 1, stop=95, reduce_only=True, oco=target)
    third = desk.ask(-1, 1, stop=96, reduce_only=True, oco=partner)
    assert (desk.order(alone).state, desk.order(alone).gate) == (OrderState.REJECTED, "permission")
    assert desk.order(partner).state is OrderState.ACCEPTED
    assert (desk.order(third).state, desk.order(third).request.oco) == (OrderState.ACCEPTED, target)
    desk.orders.cancel(target)
    desk.drain()
    assert desk.order(partner).is_open
    desk.quote(90.0, bid_size=50.0)
    assert desk.position().quantity == 0
    # Nothing of the group counts any more.
    desk.ask(1, 1)
    desk.quote(99.0, 101.0, ask_size=50.0)
    again = desk.ask(-1, 1, stop=95, reduce_only=True)
    assert desk.order(again).state is OrderState.ACCEPTED


def test_canceled_partner_leaves_the_other() -> None:
    desk = long_at_101("quote")
    target = desk.ask(-1, 1, price=110, reduce_only=True)
    stop = desk.ask(-1, 1, stop=95, reduce_only=True, oco=target)
    desk.orders.cancel(target)
    desk.drain()
    desk.quote(94.0)
    assert (desk.order(target).state, desk.order(stop).state) == (OrderState.CANCELED, OrderState.FILLED)


def test_partner_of_a_filled_order_is_canceled_before_it_is_sent() -> None:
    desk = long_at_101("quote", 2)
    target = desk.ask(-1, 1, price=98)
    desk.quote(99.0, 101.0)
    stop = desk.ask(-1, 1, stop=95, reduce_only=True, oco=target)
    assert desk.order(target).state is OrderState.FILLED
    assert desk.told(stop) == ["OrderRequested", "OrderCanceled"]
    assert "was filled before" in desk.order(stop).reason


# What cannot be an order


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"stop": 95, "trail": 5}, "trail"),
        ({"stop": 95, "take_profit": 105}, "take_profit"),
        ({"trail": 5, "price": 95}, "price"),
        ({"stop": 0}, "stop"),
        ({"trail": "nan"}, "trail"),
        ({"take_profit": True}, "take_profit"),
        ({"post_only": True}, "post_only"),
        ({"post_only": True, "price": 95, "time_in_force": "fok"}, "post_only"),
        ({"post_only": 1, "price": 95}, "post_only"),
        ({"time_in_force": "gtd"}, "time_in_force"),
        ({"time_in_force": "GTC"}, "time_in_force"),
        ({"oco": ""}, "oco"),
        ({"oco": False}, "oco"),
        ({"oco": "A-99"}, "order_id"),
    ],
)
def test_impossible_kind_raises_and_sends_nothing(options: dict[str, Any], field: str) -> None:
    desk = desk_of("quote")
    with pytest.raises(OrderError) as raised:
        desk.submit(1, 1, **options)
    assert raised.value.field == field
    assert desk.orders.stats().submitted == 0


def test_partner_of_another_strategy_or_instrument_is_refused() -> None:
    desk = desk_of("quote")
    first = desk.ask(1, 1, price=90)
    with pytest.raises(OrderError, match="another strategy's"):
        desk.submit(1, 1, strategy="B", oco=first)
    with pytest.raises(OrderError, match="in BTCUSDT"):
        desk.submit(1, 1, instrument="ETHUSDT.BINANCE", oco=first)


@pytest.mark.parametrize(
    ("options", "gate"),
    [
        ({"stop": "95.25"}, "tick_and_lot"),
        ({"trail": "0.3"}, "tick_and_lot"),
        ({"stop": 95, "price": 40}, "price_collar"),
        ({"quantity": 100, "stop": 30_000}, "notional_max"),
    ],
)
def test_gates_judge_triggers(options: dict[str, Any], gate: str) -> None:
    desk = desk_of("quote")
    order = desk.ask(1, options.pop("quantity", 1), **options)
    assert (desk.order(order).state, desk.order(order).gate) == (OrderState.REJECTED, gate)


def test_collar_of_a_stop_limit_is_about_its_trigger() -> None:
    desk = desk_of("quote")
    assert desk.order(desk.ask(-1, 1, stop=40, price=39)).state is OrderState.ACCEPTED


# The same in an engine, live and in a replay


class Bracket(Strategy):
    """Buys, protects the position, and notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_quote(self, instrument: str) -> None:
        if not self.heard:
            self.buy(instrument, 1)

    def on_fill(self, fill: OrderFill) -> None:
        self.heard.append(f"fill {fill.side:+d} {fill.quantity} {fill.price}")
        if fill.side > 0:
            target = self.sell(fill.instrument, 1, price=105, reduce_only=True, post_only=True)
            self.sell(fill.instrument, 1, trail=4, reduce_only=True, oco=target)

    def on_order(self, event: OrderEvent) -> None:
        self.heard.append(type(event).__name__)


def decided(bids: Sequence[float], **options: Any) -> list[str]:
    """What the strategy heard."""
    quotes = ticks(
        instrument=BTC,
        ts_init=[S * (number + 1) for number in range(len(bids))],
        bid_price=list(bids),
        ask_price=[bid + 1 for bid in bids],
        bid_size=5.0,
        ask_size=5.0,
    )
    bracket = Bracket()
    Engine(
        feeds=quotes,
        strategies=[bracket],
        broker=SimulatedBroker(),
        instruments=KNOWN,
        limits=WIDE,
        mode="replay",
        **options,
    ).run()
    return bracket.heard


def test_strategy_hears_the_trigger_the_fill_and_the_end_of_the_partner() -> None:
    heard = decided([100.0, 100.0, 103.0, 99.5, 99.0, 98.0])
    assert heard[heard.index("OrderTriggered") :] == ["OrderTriggered", "fill -1 1.0 99.0", "OrderCanceled"]


def test_unknown_fill_of_one_instrument_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean queue"):
        SimulatedBroker(fill={BTC: "queu"})

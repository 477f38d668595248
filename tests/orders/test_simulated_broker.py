"""The simulated broker between ticks and positions: dispatcher, bus, gates, orders and broker, without an engine."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headrace import Flags, Strategy
from headrace.bus.lane import LaneOptions
from headrace.errors import OptionError, OrderError
from headrace.market.events import (
    Cause,
    Lane,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFill,
    OrderRejected,
    OrderRequested,
)
from headrace.market.instrument import Instrument
from headrace.trading.brokers import Broker, BrokerContext, SimulatedBroker
from headrace.trading.brokers.fill_models import QuoteFill
from headrace.trading.brokers.resting import RestingOrder, RestingOrders
from headrace.trading.orders import OrderState
from tests.support.feeding import BTC, ETH, HandClock, quotes, trades
from tests.support.trading import Desk, S, simulated

D = Decimal
MS = 1_000_000


@pytest.fixture
def desk() -> Desk:
    """A desk whose instruments have had a quote."""
    return ready()


def ready(**options: Any) -> Desk:
    made = simulated(**options)
    made.quote(99.0, 101.0, at_ns=S)
    return made


def fills(desk: Desk) -> list[tuple[Decimal, Decimal]]:
    """Quantity and price of each execution."""
    return [(fill.quantity, fill.price) for fill in desk.of(OrderFill)]


# From quote to position


class Scalper(Strategy):
    """Buys below 100 and sells above 110, once each, and notes when."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.decided: list[Cause] = []

    def on_quote(self, bid_price, ask_price, seq, ts_init):
        held = self.desk.position().quantity
        if not self.decided and ask_price < 100:
            self.order(1, D(2), seq, ts_init)
        elif held == 2 and len(self.decided) == 1 and bid_price > 110:
            self.order(-1, D(2), seq, ts_init)

    def order(self, side, quantity, seq, ts_init):
        cause = Cause(BTC, "quote", seq, seq, ts_init)
        self.decided.append(cause)
        self.desk.submit(side, quantity, cause=cause)


def test_profit_of_scripted_quotes_is_right_to_the_cent() -> None:
    desk = simulated(taker_fee=0.001)
    scalper = Scalper(desk)
    desk.dispatcher.subscribe(scalper)
    desk.quote(100.0, 101.0, ask_size=9.0)
    desk.quote(98.0, 99.0, ask_size=9.0)
    desk.quote(98.5, 99.5, ask_size=1.5)
    desk.quote(99.5, 100.5, ask_size=9.0)
    desk.quote(111.0, 112.0, bid_size=9.0)
    desk.quote(110.5, 111.5, bid_size=9.0)
    desk.quote(120.0, 121.0)
    bought, sold = scalper.decided
    assert [(type(event).__name__, getattr(event, "quantity", None)) for event in desk.events] == [
        ("OrderRequested", D(2)),
        ("OrderAccepted", None),
        ("OrderPartiallyFilled", D("1.5")),
        ("PositionChanged", D("1.5")),
        ("OrderFilled", D("0.5")),
        ("PositionChanged", D(2)),
        ("OrderRequested", D(2)),
        ("OrderAccepted", None),
        ("OrderFilled", D(2)),
        ("PositionChanged", D(0)),
    ]
    assert fills(desk) == [(D("1.5"), D("99.5")), (D("0.5"), D("100.5")), (D(2), D("110.5"))]
    position = desk.position()
    assert position.realized_pnl == 2 * D("110.5") - D("1.5") * D("99.5") - D("0.5") * D("100.5")
    assert position.fees == (2 * D("110.5") + D("1.5") * D("99.5") + D("0.5") * D("100.5")) / 1000
    # Each fill names the tick that caused its order, and the later tick that filled it.
    assert [(fill.cause, fill.quote and fill.quote.first) for fill in desk.of(OrderFill)] == [
        *((bought, 3), (bought, 4), (sold, 6)),
    ]
    assert (bought.first, sold.first) == (2, 5)
    assert desk.orders.stats("A") == (2, 0, 0, 2, 0, 0, 0, 3, 0)


def test_the_broker_sees_a_tick_before_the_strategies() -> None:
    """An open order then meets a quote before a strategy acts on it."""
    desk = ready()
    order = desk.ask(1, D("0.5"))
    seen: list[OrderState] = []

    def on_quote(flags: int) -> None:
        desk.bus.drain()
        # On joining, the newest quote comes too.
        if not flags & Flags.SNAPSHOT:
            seen.append(desk.order(order).state)

    desk.dispatcher.subscribe(on_quote)
    desk.quote(99.0, 101.0)
    assert seen == [OrderState.FILLED]


# Which quote


def test_a_market_order_meets_the_quote_after_its_cause(desk: Desk) -> None:
    desk.quote(90.0, 91.0)
    desk.submit(1, 1, cause=Cause(BTC, "quote", 2, 2, desk.clock.at_ns))
    desk.turn()
    assert fills(desk) == []
    desk.quote(94.0, 95.0)
    assert fills(desk) == [(D(1), D(95))]


def test_an_order_of_a_reader_ahead_meets_quotes_after_its_cause(desk: Desk) -> None:
    """An async strategy may have seen ticks that reach the broker later."""
    for cause, seq in (
        (Cause(BTC, "quote", 3, 4, S + 4 * MS), 5),
        (Cause(BTC, "trade", 1, 1, S + 3 * MS), 4),
        (Cause(ETH, "quote", 9, 9, S + 3 * MS), 4),
        (None, 2),
    ):
        fresh = ready()
        fresh.ask(1, D("0.1"), cause=cause)
        for number in range(2, 7):
            fresh.quote(float(100 + number), at_ns=S + number * MS)
        (fill,) = fresh.of(OrderFill)
        assert fill.quote is not None
        assert fill.quote.first == seq, cause


def test_with_latency_an_order_meets_quotes_after_its_arrival() -> None:
    desk = ready(latency_ns=10 * MS)
    desk.ask()
    desk.quote(100.0, at_ns=S + 9 * MS)
    assert fills(desk) == []
    desk.quote(110.0, at_ns=S + 10 * MS)
    assert fills(desk) == [(D(1), D(111))]


def test_a_cancel_has_latency_too_and_fills_go_on_until_then() -> None:
    desk = ready(latency_ns=10 * MS)
    order = desk.ask(1, 3)
    desk.clock.at_ns = S + 5 * MS
    assert desk.orders.cancel(order) == "accepted"
    assert desk.orders.cancel(order) == "noop"
    desk.quote(100.0, at_ns=S + 12 * MS)
    assert desk.order(order).state is OrderState.PENDING_CANCEL
    desk.quote(100.0, at_ns=S + 15 * MS)
    assert (desk.order(order).state, desk.order(order).filled) == (OrderState.CANCELED, D(1))


@pytest.mark.parametrize("flag", [Flags.SNAPSHOT, Flags.LATE, Flags.DUPLICATE])
def test_a_late_quote_or_a_snapshot_fills_nothing(desk: Desk, flag: Flags) -> None:
    desk.ask()
    desk.quote(90.0, flags=int(flag))
    assert fills(desk) == []


@pytest.mark.parametrize(("ask", "size"), [(float("nan"), 1.0), (0.0, 0.0), (101.0, 0.0), (float("inf"), 1.0)])
def test_an_absent_side_fills_nothing(desk: Desk, ask: float, size: float) -> None:
    order = desk.ask()
    desk.quote(99.0, ask, ask_size=size)
    assert fills(desk) == []
    assert desk.order(order).state is OrderState.ACCEPTED


def test_an_order_meets_quotes_of_its_own_instrument_only(desk: Desk) -> None:
    desk.ask()
    desk.quote(10.0, instrument=ETH)
    assert fills(desk) == []


# How much, at which price


def test_the_rest_of_a_market_order_fills_at_later_quotes(desk: Desk) -> None:
    order = desk.ask(-1, 3)
    desk.quote(99.0, bid_size=1.2)
    desk.quote(98.0, bid_size=0.8)
    assert desk.order(order).state is OrderState.PARTIALLY_FILLED
    desk.quote(97.0, bid_size=5.0)
    assert fills(desk) == [(D("1.2"), D(99)), (D("0.8"), D(98)), (D(1), D(97))]
    assert desk.order(order).state is OrderState.FILLED


def test_a_displayed_size_is_taken_once_in_the_order_of_arrival(desk: Desk) -> None:
    first, second = desk.ask(1, 2), desk.ask(1, 2, strategy="B")
    other_side = desk.ask(-1, 2)
    desk.quote(99.0, 101.0, ask_size=3.0, bid_size=2.0)
    assert (desk.order(first).filled, desk.order(second).filled, desk.order(other_side).filled) == (D(2), D(1), D(2))
    desk.quote(99.0, 101.0, ask_size=3.0)
    assert desk.order(second).filled == 2


def test_a_limit_that_crosses_on_arrival_takes_the_price_of_the_quote(desk: Desk) -> None:
    desk.ask(1, 1, price=120)
    desk.ask(-1, 1, price=80)
    desk.quote(99.0, 100.0)
    assert [(fill.price, fill.liquidity) for fill in desk.of(OrderFill)] == [(D(100), "taker"), (D(99), "taker")]


def test_a_limit_rests_until_it_is_reached_and_fills_at_its_own(desk: Desk) -> None:
    buy, sell = desk.ask(1, 1, price=98), desk.ask(-1, 1, price=103)
    desk.quote(99.0, 100.0)
    assert fills(desk) == []
    desk.quote(97.0, 98.0)
    desk.quote(105.0, 106.0)
    assert fills(desk) == [(D(1), D(98)), (D(1), D(103))]
    assert [fill.order_id for fill in desk.of(OrderFill)] == [buy, sell]


@pytest.mark.parametrize(("side", "prices", "quote"), [(1, (97, 98), (97.0, 97.5)), (-1, (103, 102), (102.5, 103.5))])
def test_quote_fills_the_best_price_and_leaves_the_others(
    desk: Desk, side: Any, prices: tuple[int, int], quote: tuple[float, float]
) -> None:
    others, best = (desk.ask(side, 1, price=price) for price in prices)
    desk.quote(99.0, 101.0)
    desk.quote(*quote)
    assert [(fill.order_id, fill.price) for fill in desk.of(OrderFill)] == [(best, D(prices[1]))]
    assert desk.order(others).is_open


def test_fills_are_whole_lots_and_never_more_than_is_shown(desk: Desk) -> None:
    order = desk.ask(1, 1)
    desk.quote(99.0, ask_size=0.09)
    assert fills(desk) == []
    desk.quote(99.0, ask_size=0.39)
    assert fills(desk) == [(D("0.3"), D(100))]
    assert desk.order(order).left == D("0.7")


def test_an_ioc_order_fills_at_the_first_quote_then_cancels(desk: Desk) -> None:
    partly = desk.ask(1, 3, time_in_force="ioc")
    desk.quote(99.0, 101.0, ask_size=2.0)
    order = desk.order(partly)
    assert (order.state, order.filled, order.left) == (OrderState.CANCELED, D(2), D(1))
    assert "immediate" in order.reason


def test_an_ioc_order_not_reached_by_the_first_quote_cancels(desk: Desk) -> None:
    order = desk.ask(1, 1, price=90, time_in_force="ioc")
    assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(99.0, 101.0)
    assert (desk.order(order).state, desk.order(order).filled) == (OrderState.CANCELED, D(0))
    assert isinstance(desk.broker, SimulatedBroker)
    assert desk.broker.open_orders == ()


# Fees and slippage


def test_takers_pay_the_taker_fee_and_makers_the_maker_fee() -> None:
    desk = ready(maker_fee="-0.0001", taker_fee="0.001")
    desk.ask(1, 1, price=120)
    desk.ask(1, 1, price=90)
    desk.quote(99.0, 100.0)
    desk.quote(89.0, 90.0)
    taker, maker = desk.of(OrderFill)
    assert (taker.liquidity, taker.fee) == ("taker", D("0.1"))
    assert (maker.liquidity, maker.fee) == ("maker", D("-0.009"))
    assert desk.position().fees == D("0.091")


def test_the_rest_of_a_market_order_takes_and_of_a_limit_makes() -> None:
    desk = ready(taker_fee="0.001")
    market, limit = desk.ask(1, 2), desk.ask(-1, 2, price=95)
    desk.quote(99.0, 100.0)
    desk.quote(99.0, 100.0)
    said = [(fill.order_id, fill.liquidity) for fill in desk.of(OrderFill)]
    assert said == [(market, "taker"), (limit, "taker"), (market, "taker"), (limit, "maker")]


def test_slippage_hurts_the_taker_but_respects_its_limit() -> None:
    desk = ready(slippage_ticks=3)
    for side, price in ((1, None), (-1, None), (1, D("100.5")), (-1, D("98.5"))):
        desk.ask(side, D("0.1"), price=price)
    desk.quote(99.0, 100.0, bid_size=9.0, ask_size=9.0)
    assert [price for _, price in fills(desk)] == [D("101.5"), D("97.5"), D("100.5"), D("98.5")]


def test_slippage_in_basis_points_is_rounded_away_from_the_taker() -> None:
    desk = ready(slippage_bps="10")
    desk.ask(1, D("0.1"))
    desk.ask(-1, D("0.1"))
    desk.quote(99.0, 100.0)
    assert [price for _, price in fills(desk)] == [D("100.5"), D("98.5")]


def test_basis_point_slippage_is_exact_without_a_price_tick() -> None:
    """The gates refuse such an order; here the broker is tested alone."""
    desk = ready(slippage_bps="10", instruments=())
    assert desk.broker is not None
    desk.broker.submit(
        OrderRequested(order_id="x", strategy="A", instrument=BTC, side=1, order_type="market", quantity=D("0.25"))
    )
    desk.bus.drain()
    desk.quote(99.0, 100.0, ask_size=0.05)
    desk.quote(99.0, 100.0, ask_size=1.0)
    assert fills(desk) == [(D("0.05"), D("100.1")), (D("0.20"), D("100.1"))]


def test_slippage_never_makes_a_price_of_0() -> None:
    desk = ready(slippage_ticks=1_000)
    desk.ask(-1, D("0.1"))
    desk.quote(99.0, 100.0)
    assert [price for _, price in fills(desk)] == [D("0.5")]


def test_slippage_in_ticks_needs_a_price_tick() -> None:
    desk = ready(slippage_ticks=1, instruments=(Instrument(BTC, lot_size=D("0.1")),))
    order = desk.order(desk.ask())
    assert (order.state, order.gate) == (OrderState.REJECTED, "broker")
    assert f'[instruments."{BTC}"]' in order.reason


def test_a_resting_order_has_no_slippage() -> None:
    desk = ready(slippage_ticks=3)
    desk.ask(1, 1, price=90)
    desk.quote(99.0, 100.0)
    desk.quote(85.0, 86.0)
    assert fills(desk) == [(D(1), D(90))]


# Reduce only


def test_reduce_only_fills_to_flat_and_cancels_the_rest(desk: Desk) -> None:
    """Both orders reduced when they passed the gates. Then a fill closed the position before one of them."""
    desk.ask(1, 3)
    desk.quote(99.0, 100.0, ask_size=9.0)
    closing = desk.ask(-1, 3, price=110, reduce_only=True)
    desk.ask(-1, 2)
    desk.quote(99.0, 100.0, bid_size=9.0)
    desk.quote(112.0, 113.0, bid_size=9.0)
    assert desk.position().quantity == 0
    order = desk.order(closing)
    assert (order.filled, order.state) == (D(1), OrderState.PARTIALLY_FILLED)
    desk.quote(112.0, 113.0, bid_size=9.0)
    assert desk.order(closing).state is OrderState.CANCELED
    assert "nothing left to reduce" in desk.order(closing).reason


def test_reduce_only_buys_a_short_back_and_no_more(desk: Desk) -> None:
    desk.ask(-1, 3)
    desk.quote(99.0, 100.0, bid_size=9.0)
    closing = desk.ask(1, 3, price=90, reduce_only=True)
    desk.ask(1, 2)
    desk.quote(99.0, 100.0, ask_size=9.0)
    assert desk.position().quantity == -1
    desk.quote(88.0, 89.0, ask_size=9.0)
    assert (desk.order(closing).filled, desk.position().quantity) == (D(1), D(0))


# Ends


def test_a_cancel_takes_effect_at_once_and_keeps_what_was_filled(desk: Desk) -> None:
    order = desk.ask(1, 3)
    desk.quote(99.0, 100.0)
    cause = Cause(BTC, "quote", 2, 2, desk.clock.at_ns)
    desk.orders.cancel(order, cause=cause)
    desk.quote(99.0, 100.0)
    assert desk.told(order) == ["OrderRequested", "OrderAccepted", "OrderPartiallyFilled", "OrderCanceled"]
    (canceled,) = desk.of(OrderCanceled)
    assert (canceled.left, canceled.cause) == (D(2), cause)


def test_a_cancel_that_crosses_the_last_fill_changes_nothing(desk: Desk) -> None:
    order = desk.ask()
    desk.clock.at_ns += MS
    desk.dispatcher.publish(quotes(desk.dispatcher, [99.0], ts_init=desk.clock.at_ns))
    desk.dispatcher.dispatch()
    # The fill is on the bus, and the manager has not handled it yet.
    assert desk.orders.cancel(order) == "accepted"
    desk.bus.drain()
    assert desk.order(order).state is OrderState.FILLED
    assert desk.orders.refused_events == 0


def test_an_order_expires_before_a_quote_at_its_expiry_time(desk: Desk) -> None:
    order = desk.ask(1, 1, expires_ns=S + 10 * MS)
    desk.quote(99.0, ask_size=0.5, at_ns=S + 10 * MS - 1)
    desk.quote(99.0, ask_size=0.5, instrument=ETH, at_ns=S + 10 * MS)
    assert desk.told(order)[2:] == ["OrderPartiallyFilled", "OrderExpired"]
    (expired,) = desk.of(OrderExpired)
    assert expired.left == D("0.5")
    assert desk.order(order).state is OrderState.EXPIRED


def test_with_timers_an_order_expires_without_a_quote() -> None:
    desk = ready(timers=True)
    order = desk.ask(1, 1, expires_ns=S + 10 * MS)
    ((due_ns, call),) = desk.alarms
    assert due_ns == S + 10 * MS
    desk.clock.at_ns = due_ns
    call()
    desk.bus.drain()
    assert desk.order(order).state is OrderState.EXPIRED


def test_a_canceled_or_filled_order_does_not_expire() -> None:
    desk = ready(timers=True)
    done = desk.ask(1, 1, expires_ns=S + 10 * MS)
    desk.quote(99.0)
    canceled = desk.ask(1, 1, expires_ns=S + 10 * MS)
    desk.orders.cancel(canceled)
    desk.clock.at_ns = S + 10 * MS
    for _, call in desk.alarms:
        call()
    desk.bus.drain()
    assert [desk.order(own).state for own in (done, canceled)] == [OrderState.FILLED, OrderState.CANCELED]
    assert desk.of(OrderExpired) == []


# A full lane


def crowded(capacity: int, **options: Any) -> Desk:
    return ready(lanes={Lane.ORDER: LaneOptions(capacity=capacity)}, **options)


def fill_lane(desk: Desk, room: int = 0) -> None:
    """Publish events without a handler until the lane has room for so many consequences."""
    noise = OrderAccepted(order_id="noise", strategy="N", instrument=BTC, ts=1)
    capacity = desk.bus.stats().lanes[Lane.ORDER].capacity
    for _ in range(8 * capacity - room):
        desk.bus.publish_consequence(noise)


def dispatch_quote(desk: Desk, bid: float, **more: Any) -> None:
    desk.clock.at_ns += MS
    desk.dispatcher.publish(quotes(desk.dispatcher, [bid], ts_init=desk.clock.at_ns, **more))
    desk.dispatcher.dispatch()


def test_a_fill_without_room_in_the_lane_waits_for_a_quote() -> None:
    desk = crowded(4)
    order = desk.ask(1, 1)
    fill_lane(desk)
    dispatch_quote(desk, 99.0)
    desk.bus.drain()
    assert isinstance(desk.broker, SimulatedBroker)
    assert (fills(desk), desk.context.held_back) == ([], 1)
    assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(95.0)
    assert fills(desk) == [(D(1), D(96))]
    assert desk.order(order).state is OrderState.FILLED


def test_a_cancel_without_room_ends_fills_and_is_published_later() -> None:
    desk = crowded(4)
    order = desk.ask(1, 1)
    fill_lane(desk)
    assert desk.orders.cancel(order) == "accepted"
    dispatch_quote(desk, 99.0)
    desk.bus.drain()
    assert (fills(desk), desk.order(order).state) == ([], OrderState.CANCELED)


def test_a_canceled_order_meets_no_quote_of_the_same_time() -> None:
    desk = crowded(1, timers=True)
    order = desk.ask(1, 2, time_in_force="ioc")
    # The lane has room for the fill, but not for the cancel behind it.
    fill_lane(desk, room=1)
    dispatch_quote(desk, 99.0)
    desk.bus.drain()
    desk.quote(99.0, at_ns=desk.clock.at_ns)
    assert fills(desk) == [(D(1), D(100))]
    due_ns, call = desk.alarms[-1]
    desk.clock.at_ns += 1
    assert due_ns == desk.clock.at_ns
    call()
    desk.bus.drain()
    assert desk.order(order).state is OrderState.CANCELED


def test_an_ioc_order_meets_one_quote_even_without_lane_room() -> None:
    desk = crowded(1)
    order = desk.ask(1, 2, time_in_force="ioc")
    # The lane has room for the fill, but not for the cancel behind it.
    fill_lane(desk, room=1)
    dispatch_quote(desk, 99.0)
    desk.bus.drain()
    assert desk.order(order).state is OrderState.PARTIALLY_FILLED
    desk.quote(99.0)
    assert fills(desk) == [(D(1), D(100))]
    assert desk.order(order).state is OrderState.CANCELED


def test_an_expiry_without_room_is_published_by_the_next_timer() -> None:
    desk = crowded(4, timers=True)
    order = desk.ask(1, 1, expires_ns=S + 10 * MS)
    fill_lane(desk)
    desk.clock.at_ns = S + 10 * MS
    desk.alarms[0][1]()
    desk.bus.drain()
    assert desk.order(order).is_open
    due_ns, call = desk.alarms[-1]
    desk.clock.at_ns = due_ns
    call()
    desk.bus.drain()
    assert desk.order(order).state is OrderState.EXPIRED


def test_cancel_all_cancels_more_orders_than_the_lane_holds() -> None:
    desk = crowded(4)
    ids = [desk.ask(1, 1, price=90) for _ in range(30)]
    assert desk.orders.cancel_all() == ids
    desk.bus.drain()
    assert {desk.order(order_id).state for order_id in ids} == {OrderState.CANCELED}
    assert desk.orders.stats().canceled == 30


# Wrong use, and the cost of an idle broker


def test_without_orders_the_broker_subscribes_to_no_ticks(desk: Desk) -> None:
    stats = desk.dispatcher.subscriptions["simulated broker"].stats
    desk.quote(99.0)
    assert stats().delivered == 0
    desk.ask()
    desk.quote(99.0)
    assert stats().delivered == 1
    desk.quote(99.0)
    assert (stats().delivered, stats().published) == (1, stats().accounted)


def test_without_ticks_every_order_is_rejected_by_the_broker(desk: Desk) -> None:
    broker = SimulatedBroker()
    told: list[Any] = []
    broker.attach(BrokerContext(publish=told.append, clock=HandClock(), dispatcher=None, mode="replay"))
    broker.submit(
        OrderRequested(order_id="x", strategy="A", instrument=BTC, side=1, order_type="market", quantity=D(1))
    )
    (rejected,) = told
    assert isinstance(rejected, OrderRejected)
    assert "give the engine a feed" in rejected.reason
    broker.close()


def test_an_order_of_the_same_id_is_an_error(desk: Desk) -> None:
    desk.ask(1, 1, price=90)
    assert desk.broker is not None
    with pytest.raises(OrderError, match="already"):
        desk.broker.submit(desk.of(OrderRequested)[0])


def test_a_broker_that_was_not_attached_says_so() -> None:
    with pytest.raises(OrderError, match="attach"):
        SimulatedBroker().submit(
            OrderRequested(order_id="x", strategy="A", instrument=BTC, side=1, order_type="market", quantity=D(1))
        )


def test_a_closed_broker_leaves_open_orders_as_they_are(desk: Desk) -> None:
    order = desk.ask(1, 1)
    assert isinstance(desk.broker, SimulatedBroker)
    desk.broker.close()
    desk.broker.close()
    desk.quote(99.0)
    assert fills(desk) == []
    assert desk.broker.open_orders == (order,)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("latency_ns", value) for value in (-1, 0.5, "1ms", (1 << 62) + 1)),
        *(("taker_fee", value) for value in (-0.1, 1, "much", float("nan"))),
        *(("maker_fee", value) for value in (-1, 1)),
        *(("slippage_ticks", value) for value in (-1, 0.5)),
        *(("slippage_bps", value) for value in (-1, 10_000)),
    ],
)
def test_an_option_that_makes_no_sense_is_an_error(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option}=") as raised:
        SimulatedBroker(**{option: value})
    assert raised.value.option == option


def test_the_simulated_broker_is_a_broker() -> None:
    assert isinstance(SimulatedBroker(), Broker)
    assert SimulatedBroker(name="paper").name == "paper"


def test_trades_move_nothing(desk: Desk) -> None:
    desk.ask()
    desk.dispatcher.publish(trades(desk.dispatcher, [50.0], ts_init=desk.clock.at_ns))
    desk.turn()
    assert fills(desk) == []


def test_a_quote_beyond_every_limit_concerns_no_order() -> None:
    """It costs two comparisons, and no look at the orders."""
    orders = RestingOrders(QuoteFill())
    assert not orders.concerns(99.0, 101.0)
    resting: dict[int, RestingOrder] = {}
    for side, price in ((1, "90"), (-1, "110")):
        facts: dict[str, Any] = {"strategy": "A", "instrument": BTC, "side": side, "order_type": "limit"}
        request = OrderRequested(order_id=f"A-{side}", quantity=D(1), price=D(price), **facts)
        resting[side] = RestingOrder(request, side + 2, 0, 0)
        orders.add(resting[side])
        assert orders.concerns(99.0, 101.0), "it has met no quote yet"
        orders.rest(resting[side])
    assert [orders.concerns(*quote) for quote in ((99.0, 101.0), (89.0, 90.0), (110.0, 111.0), (109.9, 110.9))] == [
        *(False, True, True, False)
    ]
    for order in resting.values():
        orders.remove(order)
    assert not orders.concerns(1.0, 1e9)
    assert not orders.concerns(1e9, 1e10)


def test_the_broker_numbers_its_orders_from_one(desk: Desk) -> None:
    asked = [desk.ask(1, 1, price=90) for _ in range(2)]
    assert [desk.order(order_id).broker_order_id for order_id in asked] == ["simulated-1", "simulated-2"]

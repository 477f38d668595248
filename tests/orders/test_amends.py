"""Amends: an open order gets other values, through the gates to the broker; or stays as it is, and says why."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest

import headrace
from headrace import Strategy
from headrace.errors import EventTypeError, OrderError
from headrace.market.events import OrderAmended, OrderAmendRejected, OrderAmendRequested, OrderFill
from headrace.trading.orders import OrderState
from tests.orders.test_cash import FLAT, free
from tests.support.backtests import path
from tests.support.feeding import BTC
from tests.support.trading import Desk, S, SilentBroker, simulated

D = Decimal


@pytest.fixture
def desk() -> Desk:
    made = simulated()
    made.quote(99.0, 101.0, at_ns=S)
    return made


def rejected(desk: Desk) -> OrderAmendRejected:
    (only,) = desk.of(OrderAmendRejected)
    return only


def test_amended_limit_fills_at_its_new_price(desk: Desk) -> None:
    order = desk.ask(1, 2, price=95)
    desk.quote(99.0, 101.0)
    assert desk.orders.amend(order, price=97, quantity=1) == "accepted"
    desk.drain()
    assert (desk.order(order).price, desk.order(order).quantity, desk.order(order).left) == (D(97), D(1), D(1))
    desk.quote(95.0, 96.5)
    desk.quote(95.0, 96.0)
    (fill,) = desk.of(OrderFill)
    assert (fill.quantity, fill.price) == (D(1), D("96.5"))
    assert desk.told(order) == [
        *("OrderRequested", "OrderAccepted", "OrderAmendRequested", "OrderAmended", "OrderFilled"),
    ]


def test_amended_trigger_moves_a_stop(desk: Desk) -> None:
    order = desk.ask(-1, 1, stop=95)
    desk.orders.amend(order, stop=92)
    desk.quote(94.0)
    assert desk.order(order).state is OrderState.ACCEPTED
    desk.quote(92.0)
    assert [own.price for own in desk.of(OrderFill)] == [D(92)]


def test_amended_trail_is_behind_the_best_price_so_far(desk: Desk) -> None:
    order = desk.ask(-1, 1, trail=10)
    desk.quote(110.0)
    desk.orders.amend(order, trail=5)
    desk.quote(106.0)
    assert desk.order(order).is_open
    desk.quote(105.0)
    assert [own.price for own in desk.of(OrderFill)] == [D(105)]


def test_smaller_quantity_keeps_the_place_and_a_larger_one_loses_it() -> None:
    for quantity, first in ((1, 0), (3, 1)):
        desk = simulated()
        desk.quote(99.0, 101.0, at_ns=S)
        orders = [desk.ask(1, 2, price=95), desk.ask(1, 2, price=95)]
        desk.quote(99.0, 101.0)
        desk.orders.amend(orders[0], quantity=quantity)
        desk.drain()
        # Arrives once more, and rests.
        desk.quote(99.0, 101.0)
        desk.quote(94.0, 95.0, ask_size=0.5)
        assert [fill.order_id for fill in desk.of(OrderFill)] == [orders[first]], quantity


def test_gates_judge_an_amend_and_the_order_stays(desk: Desk) -> None:
    order = desk.ask(1, 1, price=95)
    assert desk.orders.amend(order, quantity=1_000) == "accepted"
    desk.drain()
    assert (rejected(desk).gate, rejected(desk).threshold) == ("quantity_max", "100")
    assert (desk.order(order).quantity, desk.order(order).state) == (D(1), OrderState.ACCEPTED)
    (request,) = desk.of(OrderAmendRequested)
    assert request.verdict == "refused"


def test_amend_counts_beside_all_else_and_the_order_once() -> None:
    desk = simulated()
    desk.quote(99.0, 101.0, at_ns=S)
    desk.ask(1, 2)
    desk.quote(99.0, 101.0, ask_size=9.0)
    first, second = desk.ask(-1, 1, stop=95, reduce_only=True), desk.ask(-1, "0.5", stop=94, reduce_only=True)
    for quantity, state in (("1.5", "passed"), ("1.6", "refused")):
        desk.orders.amend(first, quantity=quantity)
        desk.drain()
        assert desk.of(OrderAmendRequested)[-1].verdict == state
    assert [desk.order(own).quantity for own in (first, second)] == [D("1.5"), D("0.5")]
    # What is on the way counts with the larger quantity at once.
    desk.orders.amend(first, quantity=1)
    desk.orders.amend(second, quantity="1.0")
    desk.drain()
    assert [desk.order(own).quantity for own in (first, second)] == [D(1), D("0.5")]


def test_halted_gates_refuse_an_amend(desk: Desk) -> None:
    order = desk.ask(1, 1, price=95)
    desk.switch.is_halted = True
    desk.orders.amend(order, price=96)
    desk.drain()
    assert (rejected(desk).gate, desk.order(order).price) == ("halted", D(95))


def test_amend_with_a_latency_meets_what_is_left_then() -> None:
    desk = simulated(latency_ns=S)
    desk.quote(99.0, 101.0, at_ns=S)
    order = desk.ask(1, 2, price=101)
    desk.quote(99.0, 101.0, at_ns=2 * S, ask_size=1.0)
    assert desk.order(order).filled == 1
    desk.orders.amend(order, quantity="1.5")
    desk.drain()
    assert desk.of(OrderAmended) == []
    desk.quote(99.0, 102.0, at_ns=3 * S)
    assert [(own.quantity, own.left) for own in desk.of(OrderAmended)] == [(D("1.5"), D("0.5"))]
    desk.quote(99.0, 101.0, at_ns=4 * S)
    assert desk.order(order).state is OrderState.FILLED
    assert desk.position().quantity == D("1.5")


def test_amend_that_comes_too_late_is_rejected_by_the_broker() -> None:
    desk = simulated(latency_ns=S)
    desk.quote(99.0, 101.0, at_ns=S)
    order = desk.ask(1, 2, price=101)
    desk.quote(99.0, 101.5, at_ns=2 * S)
    desk.orders.amend(order, quantity="1.0")
    desk.drain()
    desk.quote(99.0, 101.0, at_ns=2 * S + 1, ask_size=1.5)
    desk.quote(99.0, 103.0, at_ns=3 * S)
    assert (rejected(desk).gate, rejected(desk).reason) == ("broker", "it has filled 1.5: cancel it")
    assert (desk.order(order).quantity, desk.order(order).filled) == (D(2), D("1.5"))


def test_trigger_that_was_reached_is_not_amended(desk: Desk) -> None:
    order = desk.ask(-1, 1, stop=95, price=94)
    desk.quote(93.0)
    assert desk.order(order).state is OrderState.TRIGGERED
    desk.orders.amend(order, stop=90)
    desk.drain()
    assert "its trigger was reached" in rejected(desk).reason
    desk.orders.amend(order, price=93)
    desk.quote(93.0)
    assert desk.order(order).state is OrderState.FILLED


def test_broker_that_cannot_amend_refuses_with_what_to_do() -> None:
    desk = Desk(broker=SilentBroker())
    desk.quote(99.0, 101.0, at_ns=S)
    order = desk.ask(1, 1, price=95)
    desk.orders.amend(order, price=96)
    desk.drain()
    assert rejected(desk).gate == "broker"
    assert rejected(desk).reason == "the silent broker amends no orders: cancel, and order again"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "quantity"),
        ({"quantity": None}, "quantity"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "1_0"}, "quantity"),
        ({"price": float("nan")}, "price"),
        ({"stop": 95}, "stop"),
        ({"trail": 5}, "trail"),
        ({"limit": 5}, "limit"),
    ],
)
def test_impossible_amend_raises_and_sends_nothing(desk: Desk, options: dict[str, Any], field: str) -> None:
    order = desk.ask(1, 1, price=95)
    with pytest.raises(OrderError) as raised:
        desk.orders.amend(order, **options)
    assert raised.value.field == field
    assert desk.of(OrderAmendRequested) == []


def test_amend_of_an_order_that_is_over_or_anothers_changes_nothing(desk: Desk) -> None:
    order = desk.ask(1, 1)
    desk.quote(99.0, 101.0)
    assert desk.orders.amend(order, quantity=2) == "noop"
    resting = desk.ask(1, 1, price=95)
    assert desk.orders.amend(resting, strategy="B", quantity=2) == "rejected"
    desk.orders.cancel(resting)
    assert desk.orders.amend(resting, quantity=2) == "noop"
    with pytest.raises(OrderError, match="no order is called"):
        desk.orders.amend("A-77", quantity=2)


def test_only_the_manager_publishes_an_amend(desk: Desk) -> None:
    request = OrderAmendRequested(order_id="A-1", strategy="A", instrument=BTC, quantity=D(1))
    with pytest.raises(EventTypeError, match=r"engine\.orders\.amend"):
        desk.bus.publish_nowait(request)


def test_amend_of_another_thread_is_judged_on_the_own_one(desk: Desk) -> None:
    order = desk.ask(1, 1, price=95)
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(desk.orders.amend(order, price=96)))
    thread.start()
    thread.join()
    assert (answers, desk.of(OrderAmendRequested)) == (["accepted"], [])
    desk.drain()
    assert desk.order(order).price == 96


def test_amended_order_locks_the_cash_of_its_new_values() -> None:
    class Amends(Strategy):
        def __init__(self) -> None:
            self.seen: list[Decimal] = []

        def on_quote(self, instrument: str) -> None:
            self.seen.append(free(self))
            if len(self.seen) == 1:
                self.order = self.buy(instrument, 2, price="90")
            elif len(self.seen) == 2:
                self.amend(self.order, quantity=4)
            elif len(self.seen) == 3:
                self.amend(self.order, quantity=20)
            elif len(self.seen) == 4:
                self.amend(self.order, price="80")
            elif len(self.seen) == 5:
                self.cancel(self.order)

    strategy = Amends()
    headrace.backtest(strategy, path(FLAT), cash=1_000, fees=0)
    assert strategy.seen[:6] == [1_000, 820, 640, 640, 680, 1_000]

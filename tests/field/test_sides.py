"""A side is an int of -1 and 1, and 0 for a signal: nothing else buys or sells, and NumPy's integers become ints."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.errors import OptionError, OrderError
from headrace.market.event_json import decode_event, encode_event
from headrace.market.events import OrderFilled, Signal
from headrace.trading.orders import FixedQuantity, OrderState
from tests.support.engines import at_first_quote
from tests.support.feeding import BTC
from tests.support.trading import Desk, SilentBroker, simulated

D = Decimal


class Side(IntEnum):
    BUY = 1
    SELL = -1


WRONG = [float("nan"), 1.0, -1.0, np.float64(1), np.True_, True, D(1), "1", None, 2, np.int64(2), 10**5_000]
IDS = [str(type(side).__name__) for side in WRONG]
RIGHT = [(1, 1), (-1, -1), (np.int64(1), 1), (np.int8(-1), -1), (Side.SELL, -1)]


@pytest.mark.parametrize("side", WRONG, ids=IDS)
def test_wrong_side_is_refused_at_every_door(side: Any) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    with pytest.raises(OrderError, match="1 to buy or -1 to sell") as raised:
        desk.submit(side)
    assert raised.value.field == "side"
    with pytest.raises(OptionError, match="1 to buy, -1 to sell, or 0") as refused:
        Signal(source="A", instrument=BTC, side=side)
    assert refused.value.option == "side"
    error, _ = at_first_quote(lambda own: own.signal(BTC, side))
    assert error.startswith("OptionError: side=")
    assert desk.orders.orders() == []


def test_order_needs_a_side_where_a_signal_may_have_none() -> None:
    with pytest.raises(OrderError):
        simulated().submit(0)
    assert Signal(instrument=BTC, side=0).side == 0


@pytest.mark.parametrize(("side", "becomes"), RIGHT, ids=repr)
def test_integer_of_any_type_is_a_side(side: Any, becomes: int) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    signal = Signal(source="A", instrument=BTC, side=side)
    sent = desk.orders.from_signal(signal, FixedQuantity(1))
    assert sent is not None
    asked = desk.submit(side)
    desk.drain()
    desk.quote(99.0, 101.0, bid_size=5.0, ask_size=5.0)
    for order_id in (sent, asked):
        order = desk.order(order_id)
        assert (order.state, order.side, type(order.side)) == (OrderState.FILLED, becomes, int)
    assert desk.position().quantity == 2 * becomes
    assert decode_event(encode_event(signal)) == signal


def test_signal_of_a_file_has_a_checked_side() -> None:
    text = encode_event(Signal(instrument=BTC, side=1)).replace(b'"side":1', b'"side":3')
    with pytest.raises(msgspec.ValidationError, match="side=3 is not allowed"):
        decode_event(text)


@pytest.mark.parametrize("side", [1.0, np.int64(1), True, D(1), Side.BUY, -1], ids=repr)
def test_fill_whose_side_is_no_int_is_refused(side: Any) -> None:
    """The audit could not hold it, or would hold another number."""
    desk = Desk(broker=SilentBroker())
    desk.quote(99.0, 101.0)
    order = desk.ask()
    amounts = {"quantity": D(1), "price": D(100), "fee": D(0), "filled": D(1), "left": D(0)}
    told: dict[str, Any] = {"order_id": order, "strategy": "A", "instrument": BTC, "execution_id": "1", **amounts}
    desk.bus.publish_nowait(OrderFilled(**told, side=side))
    desk.drain()
    assert (desk.order(order).state, desk.position().quantity) == (OrderState.SUBMITTED, D(0))
    assert desk.orders.refused_events == 1


@pytest.mark.parametrize("fact", ["quantity", "price", "fee"])
@pytest.mark.parametrize("amount", [D("1e9999999999"), D("1e-9999999999"), D("NaN"), D("sNaN"), 1.0, None], ids=str)
def test_fill_whose_amounts_cannot_be_computed_is_refused(fact: str, amount: Any) -> None:
    desk = Desk(broker=SilentBroker())
    desk.quote(99.0, 101.0)
    order = desk.ask()
    amounts = {"quantity": D(1), "price": D(100), "fee": D(0), "filled": D(1), "left": D(0), fact: amount}
    told: dict[str, Any] = {"order_id": order, "strategy": "A", "instrument": BTC, "execution_id": "1", **amounts}
    desk.bus.publish_nowait(OrderFilled(**told, side=1))
    desk.drain()
    assert (desk.order(order).state, desk.position().quantity) == (OrderState.SUBMITTED, D(0))
    assert desk.orders.refused_events == 1


def test_broker_computes_before_it_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be computed is not published, so that its books and ours never differ."""
    desk = simulated()
    desk.quote(99.0, 101.0)
    order = desk.ask()

    def fails(*_: object) -> Decimal:
        raise ArithmeticError("no fee")

    monkeypatch.setattr("headrace.trading.brokers.costs.Costs.fee", fails)
    desk.quote(99.0, 101.0)
    assert (desk.order(order).state, desk.position().quantity) == (OrderState.ACCEPTED, D(0))
    monkeypatch.undo()
    desk.quote(99.0, 101.0)
    assert (desk.order(order).state, desk.position().quantity) == (OrderState.FILLED, D(1))

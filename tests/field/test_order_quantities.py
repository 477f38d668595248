"""A quantity is any exact number that a user has at hand, and never a wrong one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace import Instrument
from headrace.errors import OptionError, OrderError
from headrace.market.events import OrderRejected
from headrace.market.money import is_amount, is_computable, is_multiple
from headrace.trading.orders import FixedQuantity, OrderState
from tests.support.engines import at_first_quote
from tests.support.feeding import BTC
from tests.support.trading import WIDE, simulated

D = Decimal
# Numbers that no order is computed with: of too many digits, too large, too small.
NO_AMOUNTS: list[Any] = [
    D("1" * 61),
    "1" * 29,
    D("1e9999999999"),
    D("1e-9999999999"),
    10**19,
    10**5_000,
    "0." + "0" * 18 + "1",
    1e-300,
    1e300,
]
ODD_LIMITS: list[Any] = [1e19, 10**400, D("1e9999999999"), 1e-300, 5e-324, D("1e-9999999999")]


@pytest.mark.parametrize(
    ("quantity", "filled"),
    [
        (0.3, "0.3"),
        (np.float64(0.3), "0.3"),
        (np.float32(0.5), "0.5"),
        (np.float16(0.5), "0.5"),
        (np.int64(1), "1"),
        ("0.3", "0.3"),
        (Decimal("0.3"), "0.3"),
    ],
    ids=repr,
)
def test_exact_quantity_of_any_type_is_filled(quantity: Any, filled: str) -> None:
    error, strategy = at_first_quote(lambda own: own.buy(BTC, quantity))
    assert not error
    assert [fill.quantity for fill in strategy.fills] == [Decimal(filled)]


def test_quantity_with_a_rounding_error_is_refused_with_advice() -> None:
    error, strategy = at_first_quote(lambda own: own.buy(BTC, 0.1 + 0.2))
    assert not error
    [rejected] = [event for event in strategy.orders if isinstance(event, OrderRejected)]
    assert rejected.gate == "tick_and_lot"
    assert "0.30000000000000004" in rejected.reason
    assert "round" in rejected.reason


@pytest.mark.parametrize("quantity", [float("nan"), float("inf"), True, np.True_, -1, 0, "1,000", "٣", " "], ids=repr)
def test_quantity_that_is_no_positive_number_is_an_error(quantity: Any) -> None:
    error, strategy = at_first_quote(lambda own: own.buy(BTC, quantity))
    assert error.startswith("OrderError")
    assert strategy.orders == []


def test_absurd_quantity_is_refused_by_its_limit() -> None:
    error, strategy = at_first_quote(lambda own: own.buy(BTC, 10**18))
    assert not error
    [rejected] = [event for event in strategy.orders if isinstance(event, OrderRejected)]
    assert rejected.gate == "quantity_max"


@pytest.mark.parametrize("value", NO_AMOUNTS, ids=range(len(NO_AMOUNTS)))
def test_amount_of_too_many_digits_is_refused_at_the_door(value: Any) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    for facts in ({"quantity": value}, {"quantity": 1, "price": value}):
        with pytest.raises(OrderError, match="cannot be ordered: give a number of at most 28 digits") as raised:
            desk.submit(1, **facts)
        assert len(str(raised.value)) < 500
    with pytest.raises(OrderError):
        FixedQuantity(value)
    with pytest.raises(OptionError):
        Instrument(BTC, size=value)
    assert desk.orders.orders() == []


@pytest.mark.parametrize("value", ["1" * 10 + "." + "1" * 18, "1E+18", "1E-18", "9" * 18, "1." + "0" * 50])
def test_amount_within_the_bound_ends_when_canceled_unsent(value: str) -> None:
    number = D(value)
    assert is_amount(number)
    limits = msgspec.structs.replace(WIDE, quantity_max=D("1E+19"), notional_max=D("1E+40"))
    desk = simulated(limits=limits, instruments=(Instrument(BTC, D("0.5"), D("1E-18")),))
    desk.quote(99.0, 101.0)
    order_id = desk.submit(1, number)
    desk.orders.cancel(order_id)
    desk.drain()
    assert (desk.order(order_id).state, desk.order(order_id).left) == (OrderState.CANCELED, number)


@pytest.mark.parametrize("value", ["1e-9999999999", "1e-400", "0.05"])
def test_no_small_number_is_a_multiple_by_underflow(value: str) -> None:
    assert not is_multiple(D(value), D("0.1"))
    assert is_multiple(D("1E+18"), D("1E-18"))


def test_computable_numbers_are_near_one() -> None:
    assert [is_computable(D(text)) for text in ("0", "1E+60", "-1E-60", "1E+61", "1E-61", "NaN", "Infinity")] == [
        *(True, True, True, False, False, False, False)
    ]


@pytest.mark.parametrize("limit", ODD_LIMITS, ids=range(len(ODD_LIMITS)))
@pytest.mark.parametrize("name", WIDE.__struct_fields__)
def test_any_number_as_a_limit_gives_a_verdict(name: str, limit: Any) -> None:
    desk = simulated(limits=msgspec.structs.replace(WIDE, **{name: limit}))
    desk.quote(99.0, 101.0)
    order = desk.order(desk.ask(1, 1, price=101))
    assert order.state is OrderState.ACCEPTED or (order.gate and "raised" not in order.reason)
    if limit >= 1e19:
        assert order.state is OrderState.ACCEPTED


@pytest.mark.parametrize("step", [D("1e-9999999999"), D("1e9999999999"), D("1e-300"), D("1" * 61)], ids=range(4))
@pytest.mark.parametrize("name", ["price_tick", "lot_size"])
def test_step_that_is_no_amount_refuses_with_the_line_to_add(name: str, step: Any) -> None:
    facts = {"price_tick": D("0.5"), "lot_size": D("0.1"), name: step}
    desk = simulated(instruments=(Instrument(BTC, **facts),))
    desk.quote(99.0, 101.0)
    order = desk.order(desk.ask(1, 1, price=101))
    assert (order.gate, f"{name} = " in order.reason) == ("tick_and_lot", True)

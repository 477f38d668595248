"""An option that orders do not have, or a value of the wrong type, is an error, and no order is sent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.errors import OrderError
from headrace.market.events import OrderEvent, OrderRequested
from headrace.trading.orders import FixedQuantity
from tests.support.engines import all_events, at_first_quote, engine_over, market
from tests.support.feeding import BTC

# The option that a user wrote, and the one that the error proposes; empty: none is near.
UNKNOWN = [
    *[("limit_price", "95", "price"), ("limit", "95", "price"), ("Price", "95", "price"), ("prize", "95", "price")],
    *[("order_type", "limit", "price, stop, take_profit or trail"), ("stop_price", "90", "stop")],
    *[("reduceOnly", True, "reduce_only"), ("tif", "ioc", "time_in_force"), ("expires", "1s", "expires_ns")],
    *[("side", -1, "buy or sell"), ("strategy", "B", ""), ("instrument_", BTC, ""), ("cause", None, "")],
]
TEXTS = ("95 ", "9_5", "1e2", "٩٥", "nan", "0x5f", "")
WRONG = [
    *[("reduce_only", value) for value in ("no", 0, 1, None, np.True_)],
    *[("price", value) for value in (*TEXTS, True, np.True_, b"95", [95], 0, "-95")],
    *[("price", value) for value in (float("inf"), np.float32("nan"), 10**46, Decimal("1e-31"), Decimal("1e-999999"))],
    *[("time_in_force", value) for value in ("IOC", "day", None, 1)],
    *[("expires_after", value) for value in ("soon", "1", 1.5, True, 0, -1, "0s")],
    *[("expires_ns", value) for value in (0, 1.5, True, "1s", 1 << 63)],
]


def sent_by(act: Callable[[Any], object]) -> tuple[str, list[OrderEvent]]:
    """What an act raised at the first quote, and the order events after it."""
    error, strategy = at_first_quote(act)
    return error, strategy.orders


@pytest.mark.parametrize("verb", ["buy", "sell"])
@pytest.mark.parametrize(("option", "value", "near"), UNKNOWN, ids=[own[0] for own in UNKNOWN])
def test_unknown_order_option_raises_with_the_nearest(verb: str, option: str, value: object, near: str) -> None:
    error, events = sent_by(lambda own: getattr(own, verb)(BTC, 1, **{option: value}))
    assert error.startswith(f"OrderError: {option} is no option of an order")
    assert (f"did you mean {near}?" in error) if near else ("did you mean" not in error)
    assert "valid are price, time_in_force" in error
    assert events == []


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda own: own.buy(BTC, 1, 90), "OrderError: buy(…, 90): options have names: write buy(…, price=90)"),
        (lambda own: own.sell(BTC, 1, "90", True), "OrderError: sell(…, '90'): options have names: write sell(…, pric"),
        (lambda own: own.cancel("x", "why"), "OrderError: cancel(…, 'why'): options have names: write cancel(…, reas"),
        (lambda own: own.signal(BTC, 1, 0.5), "OptionError: signal(…, 0.5): options have names: write signal(…, stre"),
        (lambda own: own.set_timer("a", after=0), "OptionError: after=0 is not allowed: give a time above 0"),
        (lambda own: own.set_timer("a", at_ns=0), "OptionError: at_ns=0 is not allowed: give a time above 0"),
        (lambda own: own.set_timer("a", "1s"), "OptionError: set_timer(…, '1s'): options have names: write set_timer"),
    ],
)
def test_value_without_its_name_raises_with_the_name(act: Callable[[Any], object], said: str) -> None:
    error, events = sent_by(act)
    assert error.startswith(said)
    assert events == []


@pytest.mark.parametrize("verb", ["buy", "sell"])
@pytest.mark.parametrize(("option", "value"), WRONG, ids=repr)
def test_order_option_of_a_wrong_type_or_value_raises(verb: str, option: str, value: object) -> None:
    error, events = sent_by(lambda own: getattr(own, verb)(BTC, 1, **{option: value}))
    assert error.startswith(f"OrderError: {option}={value!r} cannot be ordered")
    assert events == []


@pytest.mark.parametrize(
    ("price", "limit"),
    [(np.float32(95.1), "95.1"), (np.float16(95.5), "95.5"), (np.longdouble("95.1"), "95.1"), (np.int8(95), "95")],
    ids=repr,
)
def test_number_of_any_width_is_its_shortest_text(price: Any, limit: str) -> None:
    error, strategy = at_first_quote(lambda own: own.buy(BTC, np.float32(0.1), price=price))
    assert not error
    [request] = [event for event in strategy.orders if isinstance(event, OrderRequested)]
    assert (request.price, request.quantity) == (Decimal(limit), Decimal("0.1"))


def idle_engine() -> tuple[Engine, list[Any]]:
    engine = engine_over(market([99.0]), [Strategy()])
    return engine, all_events(engine)


@pytest.mark.parametrize(
    "act",
    [
        lambda orders: orders.submit(strategy="A", instrument=BTC, side=1, quantity=1, limit_price="95"),
        lambda orders: orders.submit(strategy="A", instrument=BTC, side=1, quantity=1, reduce_only="no"),
        lambda orders: orders.submit(strategy="A", instrument=BTC, side=True, quantity=1),
        lambda orders: orders.submit(strategy="A", instrument=5, side=1, quantity=1),
    ],
)
def test_submit_beside_the_strategies_has_the_same_options(act: Callable[[Any], object]) -> None:
    engine, events = idle_engine()
    with pytest.raises(OrderError):
        act(engine.orders)
    assert (engine.orders.orders(), events) == ([], [])


@pytest.mark.parametrize(
    "option", [{"side": "buy"}, {"side": 2}, {"side": True}, {"strength": "1"}, {"price": float("nan")}], ids=repr
)
def test_signal_of_a_wrong_side_strength_or_price_raises(option: dict[str, Any]) -> None:
    error, strategy = at_first_quote(lambda own: own.signal(BTC, **{"side": 1, **option}))
    assert error.startswith(f"OptionError: {next(iter(option))}=")
    assert strategy.signals == []


@pytest.mark.parametrize("quantity", ["1_0", True, float("nan"), "much", "-1"], ids=repr)
def test_sizing_of_a_wrong_quantity_raises(quantity: Any) -> None:
    with pytest.raises(OrderError, match="quantity="):
        FixedQuantity(quantity)

"""A quantity is any exact number that a user has at hand, and never a wrong one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from headrace.market.events import OrderRejected
from tests.support.engines import at_first_quote
from tests.support.feeding import BTC


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
    error, strategy = at_first_quote(lambda own: own.buy(BTC, 10**45))
    assert not error
    [rejected] = [event for event in strategy.orders if isinstance(event, OrderRejected)]
    assert rejected.gate == "quantity_max"

"""Positions: average price, realised and unrealised profit, fees; long, short and flips."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Literal

import pytest

from headrace.market.events import OrderFilled
from headrace.trading.positions import Position, Positions
from tests.support.feeding import BTC, ETH

D = Decimal


def fill(
    side: Literal[1, -1], quantity: str, price: str, fee: str = "0", *, strategy: str = "A", instrument: str = BTC
) -> OrderFilled:
    return OrderFilled(
        order_id="x",
        strategy=strategy,
        instrument=instrument,
        execution_id="x/1",
        side=side,
        quantity=D(quantity),
        price=D(price),
        fee=D(fee),
        filled=D(quantity),
        left=D(0),
    )


def after(*fills: OrderFilled) -> Position:
    positions = Positions()
    last = [positions.apply(one) for one in fills][-1]
    assert positions.position("A", BTC) == last
    return last


def test_a_long_earns_when_it_is_sold_higher() -> None:
    position = after(fill(1, "2", "100"), fill(1, "1", "130"), fill(-1, "1.5", "120"))
    assert (position.quantity, position.average_price) == (D("1.5"), D(110))
    assert position.realized_pnl == D(15)
    assert position.unrealized_pnl(D(112)) == D(3)


def test_a_short_earns_when_it_is_bought_back_lower() -> None:
    position = after(fill(-1, "2", "100"), fill(1, "0.5", "90"))
    assert (position.quantity, position.average_price) == (D("-1.5"), D(100))
    assert position.realized_pnl == D(5)
    assert position.unrealized_pnl(80) == D(30)
    assert position.unrealized_pnl("101") == D("-1.5")


def test_a_flip_closes_all_and_opens_the_rest_at_the_new_price() -> None:
    position = after(fill(1, "1", "100"), fill(-1, "3", "110"))
    assert (position.quantity, position.average_price, position.realized_pnl) == (D(-2), D(110), D(10))
    back = after(fill(1, "1", "100"), fill(-1, "3", "110"), fill(1, "5", "100"))
    assert (back.quantity, back.average_price, back.realized_pnl) == (D(3), D(100), D(30))


def test_a_flat_position_has_no_average_price_or_open_profit() -> None:
    position = after(fill(1, "3", "0.1"), fill(-1, "3", "0.3"))
    assert position.is_flat
    assert (position.average_price, position.cost, position.unrealized_pnl(5.0)) == (D(0), D(0), D(0))
    assert position.realized_pnl == D("0.6")


def test_thirds_leave_no_rest_when_the_position_is_closed() -> None:
    """A cost that does not divide evenly still leaves exactly 0 at the end."""
    position = after(fill(1, "3", "100.01"), fill(-1, "1", "100.03"), fill(-1, "1", "100.07"), fill(-1, "1", "100"))
    assert position.realized_pnl == D("0.07")


def test_fees_are_summed_and_no_part_of_profit() -> None:
    position = after(fill(1, "1", "100", "0.1"), fill(-1, "1", "100", "-0.02"))
    assert (position.fees, position.realized_pnl) == (D("0.08"), D(0))


def test_strategies_and_instruments_do_not_mix() -> None:
    positions = Positions()
    positions.apply(fill(1, "1", "100"))
    positions.apply(fill(-1, "2", "50", instrument=ETH))
    positions.apply(fill(1, "4", "100", strategy="B"))
    assert [(own.strategy, own.instrument, own.quantity) for own in positions] == [
        *(("A", BTC, D(1)), ("A", ETH, D(-2)), ("B", BTC, D(4))),
    ]
    assert [own.quantity for own in positions.positions(strategy="A")] == [D(1), D(-2)]
    assert [own.strategy for own in positions.positions(instrument=BTC)] == ["A", "B"]
    assert len(positions) == 3


def test_without_a_fill_the_position_is_flat() -> None:
    position = Positions().position("A", BTC)
    assert position.is_flat
    assert (position.strategy, position.instrument, position.fills) == ("A", BTC, 0)


def test_a_returned_position_does_not_change() -> None:
    positions = Positions()
    first = positions.apply(fill(1, "1", "100"))
    positions.apply(fill(1, "1", "200"))
    assert (first.quantity, first.fills) == (D(1), 1)


def test_the_callers_decimal_context_changes_nothing() -> None:
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        position = after(fill(1, "1.2345", "61837.65", "0.123456"), fill(-1, "1.2345", "61838.65", "0.123456"))
        assert position.realized_pnl == D("1.2345")
        assert position.fees == D("0.246912")
        short = after(fill(-1, "1.2345", "61837.65"))
        assert short.quantity == D("-1.2345")
        assert short.unrealized_pnl(61836.65) == D("1.2345")


@pytest.mark.parametrize("mark", [float("nan"), float("inf"), "nothing"])
def test_a_mark_that_is_no_number_is_an_error(mark: float | str) -> None:
    with pytest.raises(ValueError, match=r"no number|not finite"):
        after(fill(1, "1", "1")).unrealized_pnl(mark)


def test_one_that_is_left_keeps_its_average_price() -> None:
    position = after(fill(1, "2", "100"), fill(-1, "1", "130"))
    assert (position.quantity, position.average_price, position.realized_pnl) == (D(1), D(100), D(30))

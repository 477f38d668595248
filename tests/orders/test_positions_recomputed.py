"""Positions against a plain recomputation, in fractions, from the list of all fills.

Guarantees: the recomputation shares no formula with the sums that are kept: it works with the average price.
Does not: name single cases; ``test_positions`` does.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.market.events import OrderFilled
from headrace.trading.positions import Position, Positions
from tests.support.feeding import BTC


class Trade(NamedTuple):
    side: int
    quantity: Decimal
    price: Decimal
    fee: Decimal


amounts = st.decimals(min_value="0.00001", max_value="1000", places=5)
prices = st.decimals(min_value="0.01", max_value="100000", places=2)
fees = st.decimals(min_value="-1", max_value="1", places=6)
trades = st.lists(
    st.builds(Trade, st.sampled_from([1, -1]), amounts | st.sampled_from([Decimal(1), Decimal(2)]), prices, fees),
    min_size=1,
    max_size=40,
)


def is_shown(shown: Decimal, exact: Fraction) -> bool:
    """Return whether a number equals the exact one, rounded to the 28 digits of reports."""
    return abs(Fraction(shown) - exact) <= abs(exact) / 10**27


def recomputed(done: list[Trade]) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Return quantity, average price, realised profit and fees, by average cost: a closed part is realised."""
    held = average = realized = paid = Fraction(0)
    for trade in done:
        quantity, price = Fraction(trade.quantity), Fraction(trade.price)
        paid += Fraction(trade.fee)
        direction = 1 if held > 0 else -1
        closed = min(abs(held), quantity) if held * trade.side < 0 else Fraction(0)
        realized += closed * (price - average) * direction
        held -= closed * direction
        opened = quantity - closed
        if opened:
            average = (abs(held) * average + opened * price) / (abs(held) + opened)
            held += trade.side * opened
        elif held == 0:
            average = Fraction(0)
    return held, average, realized, paid


def applied(done: list[Trade]) -> Position:
    positions = Positions()
    for number, trade in enumerate(done):
        positions.apply(
            OrderFilled(
                order_id=f"A-{number}",
                strategy="A",
                instrument=BTC,
                execution_id=f"A-{number}/1",
                side=1 if trade.side > 0 else -1,
                quantity=trade.quantity,
                price=trade.price,
                fee=trade.fee,
                filled=trade.quantity,
                left=Decimal(0),
            )
        )
    return positions.position("A", BTC)


@settings(max_examples=200)
@given(trades)
def test_every_list_of_fills_equals_its_recomputation(done: list[Trade]) -> None:
    held, average, realized, paid = recomputed(done)
    position = applied(done)
    assert Fraction(position.quantity) == held
    assert is_shown(position.average_price, average)
    assert is_shown(position.realized_pnl, realized)
    assert Fraction(position.fees) == paid
    assert position.fills == len(done)


@settings(max_examples=100)
@given(trades, prices)
def test_profit_is_cash_flow_plus_the_value_held(done: list[Trade], mark: Decimal) -> None:
    """Realised plus unrealised profit is the cash that closing all positions would leave."""
    position = applied(done)
    cash = -sum(trade.side * Fraction(trade.quantity) * Fraction(trade.price) for trade in done)
    total = cash + Fraction(position.quantity) * Fraction(mark)
    shown = position.realized_pnl, position.unrealized_pnl(mark)
    assert abs(sum(map(Fraction, shown)) - total) <= sum(abs(Fraction(part)) for part in shown) / 10**27


@settings(max_examples=100)
@given(trades)
def test_a_closed_position_has_realised_exactly_its_cash_flow(done: list[Trade]) -> None:
    left = applied(done).quantity
    if left:
        done = [*done, Trade(-1 if left > 0 else 1, abs(left), Decimal("123.45"), Decimal(0))]
    position = applied(done)
    assert position.is_flat
    assert Fraction(position.realized_pnl) == -sum(
        trade.side * Fraction(trade.quantity) * Fraction(trade.price) for trade in done
    )

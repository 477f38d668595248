"""Positions: what each strategy holds of each instrument, and what it has earned with it.

::

    OrderFill ─▶ apply ─▶ Position(quantity, average_price, realized_pnl, fees)      one per (strategy, instrument)

What is kept is the cash that changed hands and the cost of what is open; profit follows: ``realized = cash + cost``.
A part that is closed takes its share of the cost with it (average cost); a flip closes all and opens the rest.

Guarantees: Decimal throughout, in a context of its own; when flat, realized profit is the cash flow, to the last digit;
fees are kept apart and are never part of profit.
Does not: convert currencies, or hold prices: the caller of ``unrealized_pnl`` passes the mark.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from headrace.market.money import MONEY, SHOWN, ZERO, Amount, decimal_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.market.events import OrderFill

__all__ = ["Position", "Positions"]


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's position in one instrument, as it is after ``fills`` executions.

    quantity : signed; negative is short. average_price : of what is open; 0 when flat. realized_pnl : of what was
    closed, without fees. cost : what the open quantity was bought for, negative when short.
    """

    strategy: str
    instrument: str
    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    cost: Decimal = ZERO
    fills: int = 0

    @property
    def is_flat(self) -> bool:
        """Whether nothing is open."""
        return self.quantity == 0

    def unrealized_pnl(self, mark: Amount) -> Decimal:
        """Return what closing at ``mark`` would earn, without fees. Raises ValueError (a mark that is no number)."""
        return SHOWN.plus(MONEY.subtract(MONEY.multiply(self.quantity, decimal_of(mark)), self.cost))


class _Holding:
    """The exact sums behind a Position."""

    __slots__ = ("cash", "cost", "fees", "fills", "quantity", "shown")

    def __init__(self, strategy: str, instrument: str) -> None:
        self.quantity = ZERO
        self.cash = ZERO
        self.cost = ZERO
        self.fees = ZERO
        self.fills = 0
        self.shown = Position(strategy=strategy, instrument=instrument)

    def trade(self, signed: Decimal, price: Decimal, fee: Decimal) -> None:
        """Buy (signed > 0) or sell."""
        before, value = self.quantity, MONEY.multiply(signed, price)
        after = MONEY.add(before, signed)
        if before == 0 or (before > 0) == (signed > 0):
            self.cost = MONEY.add(self.cost, value)
        elif after == 0:
            self.cost = ZERO
        elif (after > 0) == (before > 0):
            self.cost = MONEY.divide(MONEY.multiply(self.cost, after), before)
        else:
            self.cost = MONEY.multiply(after, price)
        self.quantity = after
        self.cash = MONEY.subtract(self.cash, value)
        self.fees = MONEY.add(self.fees, fee)
        self.fills += 1
        self.shown = Position(
            strategy=self.shown.strategy,
            instrument=self.shown.instrument,
            quantity=after,
            average_price=SHOWN.divide(self.cost, after) if after else ZERO,
            realized_pnl=SHOWN.plus(MONEY.add(self.cash, self.cost)),
            fees=SHOWN.plus(self.fees),
            cost=self.cost,
            fills=self.fills,
        )


class Positions:
    """All positions of an engine, by strategy and instrument."""

    def __init__(self) -> None:
        self._holdings: dict[tuple[str, str], _Holding] = {}

    def apply(self, fill: OrderFill) -> Position:
        """Account for an execution and return the position after it. O(1)."""
        key = (fill.strategy, fill.instrument)
        holding = self._holdings.get(key)
        if holding is None:
            holding = self._holdings[key] = _Holding(*key)
        holding.trade(fill.quantity if fill.side > 0 else MONEY.minus(fill.quantity), fill.price, fill.fee)
        return holding.shown

    def position(self, strategy: str, instrument: str) -> Position:
        """Return a position; flat, with nothing earned, where there never was one."""
        holding = self._holdings.get((strategy, instrument))
        return Position(strategy=strategy, instrument=instrument) if holding is None else holding.shown

    def positions(self, *, strategy: str | None = None, instrument: str | None = None) -> list[Position]:
        """Return every position that there ever was, flat ones included, in the order of their first executions."""
        return [
            holding.shown
            # Copied at once: another thread may be asking while fills come in.
            for key, holding in list(self._holdings.items())
            if strategy in (None, key[0]) and instrument in (None, key[1])
        ]

    def __iter__(self) -> Iterator[Position]:
        return iter(self.positions())

    def __len__(self) -> int:
        return len(self._holdings)

"""Account: what the positions have earned and cost, per currency. Amounts of two currencies are never added.

::

    fills ─▶ Positions ─▶ realized, fees ─┬▶ a Balance of each currency: balance = realized - fees
    newest quotes ─▶ marks ─▶ unrealized ─┘                              equity = balance + unrealized

Guarantees: each amount is in its instrument's settlement currency; a balance begins at 0. Where an open position has no
mark, what depends on it is None.
Does not: convert currencies, or know deposits.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import OptionError
from headrace.market.checks import nearest
from headrace.market.money import MONEY, ZERO, shown
from headrace.market.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.trading.positions import Position, Positions

__all__ = ["Account", "Balance"]


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Profit and fees in one currency, since the run began.

    realized_pnl : of what was closed, without fees. unrealized_pnl : what closing everything at the marks would earn;
    None while an open position has no mark.
    """

    currency: str
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    unrealized_pnl: Decimal | None = ZERO

    @property
    def balance(self) -> Decimal:
        """Realized profit less fees."""
        return shown(MONEY.subtract(self.realized_pnl, self.fees))

    @property
    def equity(self) -> Decimal | None:
        """The balance and the unrealized profit: the net profit."""
        if self.unrealized_pnl is None:
            return None
        return shown(MONEY.add(MONEY.subtract(self.realized_pnl, self.fees), self.unrealized_pnl))

    def with_position(self, position: Position, unrealized: Decimal | None) -> Balance:
        """Return a balance that includes a position of the same currency."""
        total = None
        if unrealized is not None and self.unrealized_pnl is not None:
            total = MONEY.add(self.unrealized_pnl, unrealized)
        return Balance(
            currency=self.currency,
            realized_pnl=MONEY.add(self.realized_pnl, position.realized_pnl),
            fees=MONEY.add(self.fees, position.fees),
            unrealized_pnl=total,
        )


class Account:
    """The balances of an engine, or of one strategy.

    mark : returns the last mid of an instrument, by name; None where there is none. strategy : None: all of them.
    """

    def __init__(
        self, positions: Positions, mark: Callable[[str], Decimal | None], *, strategy: str | None = None
    ) -> None:
        self._positions = positions
        self._mark = mark
        self._strategy = strategy

    def of(self, strategy: str) -> Account:
        """Return the account of one strategy. Raises OptionError (unknown)."""
        self._positions.check_names(strategy, None)
        return Account(self._positions, self._mark, strategy=strategy)

    def balances(self) -> dict[str, Balance]:
        """Return the balance of each currency that was traded, by currency."""
        return self.balances_of(self._positions.positions(strategy=self._strategy))

    def balances_of(self, held: Iterable[Position]) -> dict[str, Balance]:
        """Return the balance of each currency of these positions, by currency."""
        found: dict[str, Balance] = {}
        for position in held:
            before = found.get(position.currency) or Balance(currency=position.currency)
            found[position.currency] = before.with_position(position, self.unrealized(position))
        return found

    def balance(self, currency: str) -> Balance:
        """Return the balance of one currency; zero where nothing was traded in it. Raises OptionError (unknown)."""
        known = self._positions.currencies
        if currency not in known:
            there = ", ".join(known) or "none"
            msg = f"currency={value_text(currency)} is unknown{nearest(str(currency), known)}; there are {there}"
            raise OptionError(msg, option="currency")
        return self.balances().get(currency) or Balance(currency=currency)

    def unrealized(self, position: Position) -> Decimal | None:
        """Return a position's unrealized profit at the last mid; None for an open one without a mark."""
        if position.is_flat:
            return ZERO
        mark = self._mark(position.instrument)
        return None if mark is None else position.unrealized_pnl(mark)

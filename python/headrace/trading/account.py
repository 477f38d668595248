"""Account: what the positions have earned and cost, per currency. Amounts of two currencies are never added.

::

    fills, funding ─▶ Positions ─▶ realized, fees, funding ─┬▶ a Balance of each currency:
    newest quotes ─▶ marks ─▶ unrealized ───────────────────┘  balance = deposit + realized - fees - funding
                                                               equity = balance + unrealized

Guarantees: each amount is in its instrument's settlement currency, and a fee that was paid in another one is in that
one; a balance begins at what the account was given, at 0 where nothing was. Where an open position has no mark, what
depends on it is None.
Does not: convert currencies.
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
    from collections.abc import Callable, Iterable, Mapping

    from headrace.trading.cash import Cash
    from headrace.trading.positions import Position, Positions

__all__ = ["Account", "Balance"]


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Cash, profit and fees in one currency, since the run began.

    deposit : what the account was given; a strategy's own account has none. realized_pnl : of what was closed, without
    fees. fees, funding : what was paid; below 0 more was received. unrealized_pnl : what closing everything at the
    marks would earn; None while an open position has no mark.
    """

    currency: str
    deposit: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    unrealized_pnl: Decimal | None = ZERO

    @property
    def balance(self) -> Decimal:
        """The deposit and realized profit, less fees and funding."""
        return shown(MONEY.add(self.deposit, self._earned))

    @property
    def _earned(self) -> Decimal:
        return MONEY.subtract(MONEY.subtract(self.realized_pnl, self.fees), self.funding)

    @property
    def equity(self) -> Decimal | None:
        """The balance and the unrealized profit; without a deposit the net profit."""
        if self.unrealized_pnl is None:
            return None
        return shown(MONEY.add(self.deposit, MONEY.add(self._earned, self.unrealized_pnl)))

    def with_position(self, position: Position, unrealized: Decimal | None) -> Balance:
        """Return a balance that includes a position of the same currency."""
        total = None
        if unrealized is not None and self.unrealized_pnl is not None:
            total = MONEY.add(self.unrealized_pnl, unrealized)
        return Balance(
            currency=self.currency,
            deposit=self.deposit,
            realized_pnl=MONEY.add(self.realized_pnl, position.realized_pnl),
            fees=MONEY.add(self.fees, position.fees),
            funding=MONEY.add(self.funding, position.funding),
            unrealized_pnl=total,
        )

    def with_fee(self, amount: Decimal) -> Balance:
        """Return a balance that includes a fee in its currency."""
        return msgspec.structs.replace(self, fees=MONEY.add(self.fees, amount))


class Account:
    """The balances of an engine, or of one strategy.

    mark : returns the last mid of an instrument, by name; None where there is none. strategy : None: all of them.
    cash : None: there is no bound to what may be spent.
    """

    def __init__(
        self,
        positions: Positions,
        mark: Callable[[str], Decimal | None],
        *,
        strategy: str | None = None,
        cash: Cash | None = None,
    ) -> None:
        self._positions = positions
        self._mark = mark
        self._strategy = strategy
        self._cash = cash

    def of(self, strategy: str) -> Account:
        """Return the account of one strategy. Raises OptionError (unknown)."""
        self._positions.check_names(strategy, None)
        return Account(self._positions, self._mark, strategy=strategy, cash=self._cash)

    def free(self, currency: str) -> Decimal | None:
        """Return the cash that new orders of any strategy may spend; None: it has no bound. Raises OptionError."""
        self._check_currency(currency)
        return None if self._cash is None else self._cash.free(currency)

    def balances(self) -> dict[str, Balance]:
        """Return the balance of each currency that was traded, or is in the cash of the account, by currency."""
        held = self._positions.positions(strategy=self._strategy)
        return self._added(held, {own: self._empty(own) for own in self._deposits()})

    def balances_of(self, held: Iterable[Position]) -> dict[str, Balance]:
        """Return the balance of each currency of these positions, by currency."""
        return self._added(held, {})

    def _added(self, held: Iterable[Position], found: dict[str, Balance]) -> dict[str, Balance]:
        """Add positions to the balances of their currencies."""
        for position in held:
            before = found.get(position.currency) or Balance(currency=position.currency)
            found[position.currency] = before.with_position(position, self.unrealized(position))
            for fee in position.other_fees:
                found[fee.currency] = (found.get(fee.currency) or Balance(currency=fee.currency)).with_fee(fee.amount)
        return found

    def balance(self, currency: str) -> Balance:
        """Return the balance of one currency; zero where nothing was traded in it. Raises OptionError (unknown)."""
        self._check_currency(currency)
        return self.balances().get(currency) or Balance(currency=currency)

    def _deposits(self) -> Mapping[str, Decimal]:
        return {} if self._cash is None or self._strategy is not None else self._cash.deposits

    def _empty(self, currency: str) -> Balance:
        return Balance(currency=currency, deposit=self._deposits()[currency])

    def _check_currency(self, currency: str) -> None:
        deposits = () if self._cash is None else self._cash.deposits
        known = dict.fromkeys((*deposits, *self._positions.currencies))
        if currency not in known:
            there = ", ".join(known) or "none"
            msg = f"currency={value_text(currency)} is unknown{nearest(str(currency), known)}; there are {there}"
            raise OptionError(msg, option="currency")

    def unrealized(self, position: Position) -> Decimal | None:
        """Return a position's unrealized profit at the last mid; None for an open one without a mark."""
        if position.is_flat:
            return ZERO
        mark = self._mark(position.instrument)
        return None if mark is None else position.unrealized_pnl(mark)

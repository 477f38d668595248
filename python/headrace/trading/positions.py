"""Positions: what each strategy holds of each instrument, and what it has earned with it.

::

    OrderFill ─▶ apply ─▶ Position(quantity, average_price, realized_pnl, fees, funding)    per (strategy, instrument)
    FundingPaid ─▶ pay ─▶┘

Two sums are kept, of what ``Instrument.worth`` returns: the cash that changed hands and the cost of what is open.
Profit follows: ``realized = cash + cost``. A part that is closed takes its share of the cost with it (average cost; for
an inverse contract the harmonic mean of prices); a flip closes all and opens the rest.

Guarantees: Decimal throughout, in a context of its own; when flat, realized profit is the cash flow, to the last digit;
fees and funding are kept apart and are never part of profit; an unknown name raises, and a known one without executions
is flat.
Does not: convert currencies (a fee that was paid in another one is kept apart), or hold prices: the caller of
``unrealized_pnl`` passes the mark.
"""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from headrace.market.events import OtherFee
from headrace.market.instrument import Instrument, instrument_of
from headrace.market.money import MONEY, ZERO, Amount, decimal_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.market.events import FundingPaid, OrderFill
    from headrace.trading.known_names import KnownNames

__all__ = ["Position", "Positions"]


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's position in one instrument, as it is after ``fills`` executions.

    traded : the instrument, with its contract. quantity : signed; negative is short. average_price : of what is open; 0
    when flat. realized_pnl : of what was closed, without fees. fees, funding : paid; below 0 they were received.
    cost : what the open quantity was worth when it was opened (``Instrument.worth``). Amounts are in ``currency``.
    other_fees : paid in other currencies, one for each; they are no part of ``fees``.
    """

    strategy: str
    traded: Instrument
    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    cost: Decimal = ZERO
    fills: int = 0
    other_fees: tuple[OtherFee, ...] = ()

    @property
    def instrument(self) -> str:
        """Its instrument's name."""
        return self.traded.name

    @property
    def currency(self) -> str:
        """The currency of profit and fees."""
        return self.traded.settles

    @property
    def is_flat(self) -> bool:
        """Whether nothing is open."""
        return self.quantity == 0

    @property
    def net_pnl(self) -> Decimal:
        """Realized profit less all fees and funding."""
        return shown(MONEY.subtract(MONEY.subtract(self.realized_pnl, self.fees), self.funding))

    def unrealized_pnl(self, mark: Amount) -> Decimal:
        """Return what closing at ``mark`` would earn, without fees. Raises ValueError (a mark that is no number)."""
        price = decimal_of(mark)
        return ZERO if self.is_flat else shown(MONEY.subtract(self.traded.worth(self.quantity, price), self.cost))


class _Holding:
    """The exact sums behind a Position."""

    __slots__ = ("cash", "cost", "fees", "fills", "funding", "other_fees", "position", "quantity")

    def __init__(self, strategy: str, traded: Instrument) -> None:
        self.quantity = ZERO
        self.cash = ZERO
        self.cost = ZERO
        self.fees = self.funding = ZERO
        self.other_fees: tuple[OtherFee, ...] = ()
        self.fills = 0
        self.position = Position(strategy=strategy, traded=traded)

    def trade(self, signed: Decimal, price: Decimal, fee: Decimal) -> None:
        """Buy (signed > 0) or sell."""
        traded = self.position.traded
        before, worth = self.quantity, traded.worth(signed, price)
        after = MONEY.add(before, signed)
        if before == 0 or (before > 0) == (signed > 0):
            self.cost = MONEY.add(self.cost, worth)
        elif after == 0:
            self.cost = ZERO
        elif (after > 0) == (before > 0):
            self.cost = MONEY.divide(MONEY.multiply(self.cost, after), before)
        else:
            self.cost = traded.worth(after, price)
        self.quantity = after
        self.cash = MONEY.subtract(self.cash, worth)
        self.fees = MONEY.add(self.fees, fee)
        self.fills += 1
        self.position = Position(
            strategy=self.position.strategy,
            traded=traded,
            quantity=after,
            average_price=shown(traded.price_of(self.cost, after)) if after else ZERO,
            realized_pnl=shown(MONEY.add(self.cash, self.cost)),
            fees=shown(self.fees),
            funding=self.position.funding,
            cost=self.cost,
            fills=self.fills,
            other_fees=self.other_fees,
        )

    def pay_other(self, fee: OtherFee) -> None:
        """Pay a fee in another currency, before the execution that it is for is accounted for."""
        paid = {own.currency: own.amount for own in self.other_fees}
        paid[fee.currency] = MONEY.add(paid.get(fee.currency, ZERO), fee.amount)
        self.other_fees = tuple(OtherFee(currency, amount) for currency, amount in paid.items())

    def pay(self, amount: Decimal) -> None:
        """Pay for funding; an amount below 0 is received."""
        self.funding = MONEY.add(self.funding, amount)
        self.position = msgspec.structs.replace(self.position, funding=shown(self.funding))


def _any_names(_strategy: str | None, _instrument: str | None) -> None:
    """Refuse none."""


def _no_names(_strategy: str) -> None:
    """Keep none."""


class Positions:
    """All positions of an engine, by strategy and instrument.

    instruments : those with a contract of their own. names : that may be asked for; None: any.
    """

    def __init__(
        self, instruments: Mapping[str, Instrument] = MappingProxyType({}), names: KnownNames | None = None
    ) -> None:
        self._instruments = instruments
        self._names = names
        # Raises InstrumentError or OptionError for an unknown name of a strategy or an instrument; None is every name.
        self.check_names: Callable[[str | None, str | None], None] = _any_names if names is None else names.check
        # Adds a strategy that submits an order to the known names.
        self.add_trader: Callable[[str], None] = _no_names if names is None else names.add_trader
        self._holdings: dict[tuple[str, str], _Holding] = {}

    def apply(self, fill: OrderFill) -> Position:
        """Account for an execution and return the position after it. O(1). Raises InstrumentError (no contract)."""
        key = (fill.strategy, fill.instrument)
        holding = self._holdings.get(key)
        if holding is None:
            traded = instrument_of(self._instruments, fill.instrument)
            holding = self._holdings[key] = _Holding(fill.strategy, traded)
        if fill.other_fee is not None:
            holding.pay_other(fill.other_fee)
        holding.trade(fill.quantity if fill.side > 0 else MONEY.minus(fill.quantity), fill.price, fill.fee)
        return holding.position

    def pay(self, paid: FundingPaid) -> None:
        """Account for a payment of funding. There was an execution before it."""
        self._holdings[paid.strategy, paid.instrument].pay(paid.amount)

    def position(self, strategy: str, instrument: str) -> Position:
        """Return a position; flat, with nothing earned, where there was no execution.

        Raises InstrumentError and OptionError for an unknown instrument or strategy.
        """
        if self._names is not None and (strategy, instrument) not in self._holdings:
            self._names.check(strategy, None)
            self._names.check_instrument(instrument)
        return self.held(strategy, instrument)

    def held(self, strategy: str, instrument: str) -> Position:
        """Return a position, as ``position`` does, of names that were checked before."""
        holding = self._holdings.get((strategy, instrument))
        if holding is not None:
            return holding.position
        return Position(strategy=strategy, traded=instrument_of(self._instruments, instrument))

    def positions(self, *, strategy: str | None = None, instrument: str | None = None) -> list[Position]:
        """Return every position that there ever was, flat ones included, in the order of their first executions.

        Raises InstrumentError and OptionError for an unknown instrument or strategy.
        """
        self.check_names(strategy, instrument)
        return [
            holding.position
            # Copied at once: another thread may be asking while fills come in.
            for key, holding in list(self._holdings.items())
            if strategy in (None, key[0]) and instrument in (None, key[1])
        ]

    @property
    def currencies(self) -> tuple[str, ...]:
        """The settlement currencies of the instruments, and of what was traded, and those of other fees."""
        held = self.positions()
        traded = (position.currency for position in held)
        paid = (fee.currency for position in held for fee in position.other_fees)
        return tuple(dict.fromkeys((*traded, *(own.settles for own in self._instruments.values()), *paid)))

    def __iter__(self) -> Iterator[Position]:
        return iter(self.positions())

    def __len__(self) -> int:
        return len(self._holdings)

"""Costs: what an execution of the simulated broker costs: fees, and the slippage of a taker.

Guarantees: a slipped price is worse than the quote, on the instrument's tick, above 0 and not beyond the limit.
Does not: know how much is filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import force_setattr

from headrace.errors import OptionError
from headrace.market.checks import of_type, whole
from headrace.market.money import MONEY, ZERO, Amount, decimal_of

if TYPE_CHECKING:
    from headrace.market.events import OrderRequested
    from headrace.market.instrument import Instrument

__all__ = ["Costs", "Fees", "fees_at"]

BPS = Decimal(10_000)


class Fees(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parts of the notional that executions cost. maker : may be negative, a rebate; above -1 and below 1.

    taker : from 0 to below 1. Raises OptionError.
    """

    maker: Decimal = ZERO
    taker: Decimal = ZERO

    def __post_init__(self) -> None:
        force_setattr(self, "maker", _part("maker_fee", self.maker, low=-1))
        force_setattr(self, "taker", _part("taker_fee", self.taker))


def fees_at(maker_fee: Amount, taker_fee: Amount) -> Fees:
    """Return fees of numbers of any type. Raises OptionError, which names the option."""
    return Fees(_part("maker_fee", maker_fee, low=-1), _part("taker_fee", taker_fee))


class Costs:
    """The fees and the slippage of one broker; see ``SimulatedBroker``. Raises OptionError."""

    def __init__(self, fees: Fees, fees_of: Mapping[str, Fees], slippage_ticks: int, slippage_bps: Amount) -> None:
        self._fees = fees
        of_type("fees", fees_of, Mapping)
        for own in fees_of.values():
            of_type("fees", own, Fees)
        self._fees_of = dict(fees_of)
        self._ticks = whole("slippage_ticks", slippage_ticks, 0, 1 << 62, "ticks")
        self._slippage = MONEY.divide(_part("slippage_bps", slippage_bps, high=BPS), BPS)

    def needs_tick(self, instrument: Instrument | None) -> bool:
        """Return whether the slippage cannot be computed, since the price tick is unknown."""
        return self._ticks > 0 and (instrument is None or instrument.price_tick is None)

    def fee(
        self, instrument: Instrument, quantity: Decimal, price: Decimal, liquidity: Literal["taker", "maker"]
    ) -> Decimal:
        """Return the fee of an execution, in the instrument's settlement currency."""
        fees = self._fees_of.get(instrument.name) or self._fees_of.get(instrument.venue) or self._fees
        return instrument.fee(quantity, price, fees.maker if liquidity == "maker" else fees.taker)

    def slipped(self, price: Decimal, request: OrderRequested, instrument: Instrument | None) -> Decimal:
        """Return the price at which a taker is filled."""
        if not (self._ticks or self._slippage):
            return price
        side, limit = Decimal(request.side), request.price
        tick = None if instrument is None else instrument.price_tick
        worse = MONEY.fma(MONEY.multiply(price, self._slippage), side, price)
        if tick:
            worse = MONEY.fma(MONEY.multiply(tick, self._ticks), side, worse)
            steps = MONEY.divide(worse, tick).to_integral_value(ROUND_CEILING if side > 0 else ROUND_FLOOR)
            worse = MONEY.multiply(max(steps, Decimal(1)), tick)
        if limit is None:
            return worse
        return min(worse, limit) if side > 0 else max(worse, limit)


def _part(option: str, value: Amount, *, low: int = 0, high: int | Decimal = 1) -> Decimal:
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        number = None
    if number is None or (not low < number < high and number != 0):
        msg = f"{option}={value!r} is not allowed: give a number from {low} to below {high}"
        raise OptionError(msg, option=option)
    return number

"""Costs: what an execution of the simulated broker costs: fees, and the slippage of a taker.

Guarantees: a slipped price is worse than the quote, on the instrument's tick, above 0 and not beyond the limit.
Does not: know how much is filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Literal

from headrace.market.checks import of_type, whole
from headrace.market.money import MONEY, Amount
from headrace.trading.brokers.fees import Fees, FeeTiers, part_of

if TYPE_CHECKING:
    from headrace.market.events import OrderRequested
    from headrace.market.instrument import Instrument

__all__ = ["Costs", "fees_at"]

BPS = Decimal(10_000)


def fees_at(maker_fee: Amount, taker_fee: Amount) -> Fees:
    """Return fees of numbers of any type. Raises OptionError, which names the option."""
    return Fees(part_of("maker_fee", maker_fee, low=-1), part_of("taker_fee", taker_fee))


class Costs:
    """The fees and the slippage of one broker; see ``SimulatedBroker``. Raises OptionError."""

    def __init__(
        self, fees: Fees, fees_of: Mapping[str, Fees | FeeTiers], slippage_ticks: int, slippage_bps: Amount
    ) -> None:
        self._fees = fees
        of_type("fees", fees_of, Mapping)
        for own in fees_of.values():
            of_type("fees", own, Fees, FeeTiers)
        self._fees_of = dict(fees_of)
        self.has_tiers = any(isinstance(own, FeeTiers) for own in fees_of.values())
        self._ticks = whole("slippage_ticks", slippage_ticks, 0, 1 << 62, "ticks")
        self._slippage = MONEY.divide(part_of("slippage_bps", slippage_bps, high=BPS), BPS)

    def needs_tick(self, instrument: Instrument | None) -> bool:
        """Return whether the slippage cannot be computed, since the price tick is unknown."""
        return self._ticks > 0 and (instrument is None or instrument.price_tick is None)

    def fee(
        self,
        instrument: Instrument,
        quantity: Decimal,
        price: Decimal,
        liquidity: Literal["taker", "maker"],
        now_ns: int | None = None,
    ) -> Decimal:
        """Return the fee of an execution, in the instrument's settlement currency. now_ns : None: the highest ever."""
        own = self._fees_of
        fees = (own and (own.get(instrument.name) or own.get(instrument.venue))) or self._fees
        if isinstance(fees, FeeTiers):
            fees = fees.highest if now_ns is None else fees.at(now_ns)
        return instrument.fee(quantity, price, fees.maker if liquidity == "maker" else fees.taker)

    def count(self, instrument: Instrument, quantity: Decimal, price: Decimal, now_ns: int) -> None:
        """Count an execution, where fees follow the volume."""
        fees = self._fees_of.get(instrument.name) or self._fees_of.get(instrument.venue)
        if isinstance(fees, FeeTiers):
            fees.count(instrument, quantity, price, now_ns)

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

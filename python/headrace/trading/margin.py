"""Margin: how much of a contract's worth an account has to have, to open a position and to keep it.

::

    Margin(leverage=10, maintenance="0.005")     opening needs 1/10 of the worth, keeping it 0.5 % of it

Guarantees: without a margin a position is paid for whole; a spot instrument has none.
Does not: know tiers: one maintenance holds for a position of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec
from msgspec.structs import force_setattr

from headrace.errors import OptionError
from headrace.market.checks import duration_ns, of_type, refuse
from headrace.market.instrument import Instrument, instrument_of
from headrace.market.money import MONEY, Amount, decimal_of

__all__ = ["Margin", "Margins"]

ONE = Decimal(1)
# Of the venues' smallest tiers for large coins.
MAINTENANCE = Decimal("0.005")
# A venue offers no more, and 1/leverage stays far above the last digit.
LEVERAGE_MAX = 1_000


class Margin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The margin of an instrument, or of all of a venue's.

    leverage : from 1 to 1,000: opening a position locks its worth by so much, 1 the whole of it.
    maintenance : the part of its worth at the mark that keeps a position; from 0 to below 1/leverage.
    funding : how often funding is settled, "8h" or ns, counted from 1970 in UTC; then a rate that does not come is
        reported. None: every 8 hours for the perpetual contracts of Binance, and not known for others.

    Raises OptionError.
    """

    leverage: Decimal = ONE
    maintenance: Decimal = MAINTENANCE
    funding: str | int | None = None

    def __post_init__(self) -> None:
        leverage = _number(self.leverage)
        if leverage is None or not 1 <= leverage <= LEVERAGE_MAX:
            refuse("leverage", self.leverage, f"a number from 1 to {LEVERAGE_MAX:,}")
        maintenance = _number(self.maintenance)
        if maintenance is None or maintenance < 0 or MONEY.multiply(maintenance, leverage) >= 1:
            below = f"below 1/leverage, {MONEY.divide(ONE, leverage):.6g}"
            refuse("maintenance", self.maintenance, f"a part of the worth from 0 to {below}")
        if self.funding is not None and duration_ns("funding", self.funding) <= 0:
            refuse("funding", self.funding, "a time above 0, as '8h', or None")
        force_setattr(self, "leverage", leverage)
        force_setattr(self, "maintenance", maintenance)


class Margins:
    """The margins of one account.

    given : by venue or instrument; the instrument's own comes first. known : instruments that are described.
    Raises OptionError.
    """

    def __init__(
        self, given: Mapping[str, Margin] | None = None, known: Mapping[str, Instrument] = MappingProxyType({})
    ) -> None:
        of_type("margin", given, Mapping, None)
        self._given: dict[str, Margin] = dict(given or {})
        for name, own in self._given.items():
            of_type("margin", own, Margin)
            # Of a venue, any symbol: they are all spot, or none is said to be.
            if instrument_of(known, name if "." in name else f"ANY.{name}").contract == "spot":
                msg = f"margin of {name}: what is bought there is paid for whole, since it is spot; leave it out"
                raise OptionError(msg, option="margin")

    def __bool__(self) -> bool:
        return bool(self._given)

    def of(self, instrument: Instrument) -> Margin | None:
        """Return the margin of an instrument; None: a position in it is paid for whole."""
        if not self._given or instrument.contract not in ("linear", "inverse"):
            return None
        return self._given.get(instrument.name) or self._given.get(instrument.venue)

    def locked(self, instrument: Instrument, worth: Decimal) -> Decimal:
        """Return what a position of this worth locks, at least 0."""
        own = self.of(instrument)
        return worth.copy_abs() if own is None else MONEY.divide(worth.copy_abs(), own.leverage)


def _number(value: Amount) -> Decimal | None:
    try:
        return decimal_of(value)
    except (ValueError, TypeError):
        return None

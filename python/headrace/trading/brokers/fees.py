"""Fees: the parts of the notional that executions cost, one rate each for makers and takers, or by tiers of volume.

::

    FeeTiers({0: Fees("0.001", "0.001"), 1_000_000: Fees("0.0009", "0.001")}, currency="USDT")
    a UTC day's tier: the notional of the 30 UTC days before it

Guarantees: a day has one tier; amounts of another currency than the tiers' are not added.
Does not: know what was traded before the run: it begins in the first tier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import force_setattr

from headrace.errors import OptionError
from headrace.market.checks import of_type, refuse, whole
from headrace.market.money import MONEY, ZERO, Amount, decimal_of

if TYPE_CHECKING:
    from headrace.market.instrument import Instrument

__all__ = ["FeeTiers", "Fees", "part_of", "share_of"]

DAY_NS = 86_400_000_000_000


class Fees(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parts of the notional that executions cost. maker : may be negative, a rebate; above -1 and below 1.

    taker : from 0 to below 1. Raises OptionError.
    """

    maker: Decimal = ZERO
    taker: Decimal = ZERO

    def __post_init__(self) -> None:
        force_setattr(self, "maker", part_of("maker_fee", self.maker, low=-1))
        force_setattr(self, "taker", part_of("taker_fee", self.taker))


class FeeTiers:
    """Fees that follow the volume. Make new ones for each broker: they count. Raises OptionError.

    tiers : fees by the volume from which on they hold; one is 0. currency : of the volume; executions whose notional is
    in another one do not count. days : whose notional counts, before the day of an execution, in UTC.
    """

    def __init__(
        self, tiers: Mapping[int, Fees] | Mapping[str, Fees] | Mapping[Decimal, Fees], *, currency: str, days: int = 30
    ) -> None:
        of_type("tiers", tiers, Mapping)
        of_type("currency", currency, str)
        self._currency = currency
        self._days = whole("days", days, 1, 10_000, "days")
        self._tiers: list[tuple[Decimal, Fees]] = []
        for volume, fees in tiers.items():
            of_type("tiers", fees, Fees)
            try:
                self._tiers.append((decimal_of(volume), fees))
            except (ValueError, TypeError):
                refuse("tiers", volume, "volumes from 0 on, each with its Fees")
        self._tiers.sort(key=lambda tier: tier[0])
        if not self._tiers or self._tiers[0][0] != 0:
            refuse("tiers", dict(tiers), "a tier from 0 on, and others above it")
        # Days and their volumes, the oldest first; of today the volume so far.
        self._volumes: deque[tuple[int, Decimal]] = deque()
        self._day = -1
        self._current = self._tiers[0][1]

    @property
    def highest(self) -> Fees:
        """The highest fees of all tiers."""
        return Fees(max(own.maker for _, own in self._tiers), max(own.taker for _, own in self._tiers))

    def at(self, now_ns: int) -> Fees:
        """Return the fees that hold now."""
        if now_ns // DAY_NS != self._day:
            self._day = now_ns // DAY_NS
            while self._volumes and self._volumes[0][0] < self._day - self._days:
                self._volumes.popleft()
            volume = sum((own for day, own in self._volumes if day < self._day), ZERO)
            self._current = [fees for bound, fees in self._tiers if bound <= volume][-1]
        return self._current

    def count(self, instrument: Instrument, quantity: Decimal, price: Decimal, now_ns: int) -> None:
        """Count an execution."""
        if instrument.quote != self._currency:
            return
        day, before = now_ns // DAY_NS, ZERO
        if self._volumes and self._volumes[-1][0] == day:
            _, before = self._volumes.pop()
        self._volumes.append((day, MONEY.add(before, instrument.notional(quantity, price))))


def part_of(option: str, value: Amount, *, low: int = 0, high: int | Decimal = 1) -> Decimal:
    """Return a part as a Decimal. Raises OptionError, which names the option."""
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        number = None
    if number is None or (not low < number < high and number != 0):
        msg = f"{option}={value!r} is not allowed: give a number from {low} to below {high}"
        raise OptionError(msg, option=option)
    return number


def share_of(value: Amount) -> Decimal:
    """Return the part of a volume that orders may fill, above 0 and up to 1. Raises OptionError."""
    share = part_of("volume_share_max", value, high=Decimal("1.000000001"))
    if not 0 < share <= 1:
        refuse("volume_share_max", value, "a part above 0 and up to 1, as 0.1")
    return share

"""Listed: an instrument as its venue lists it, and whether it can be traded now.

Guarantees: immutable; the venue's own digits.
Does not: decide what a user configured; that comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headrace.market.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRADING", "Listed", "completed"]

TRADING = "TRADING"
# What a venue lists of an instrument, and a user may have configured.
FACTS = ("price_tick", "lot_size", "contract", "size", "settles")


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a venue's list. status : the venue's own word, "TRADING" when orders are taken."""

    instrument: Instrument
    status: str = TRADING

    def facts(self) -> Mapping[str, str]:
        """Return what it says, as texts, for an event or a table."""
        shown = {name: getattr(self.instrument, name) for name in FACTS}
        texts = {name: "" if value is None else f"{value}" for name, value in shown.items()}
        return {"instrument": self.instrument.name, "status": self.status, **texts}


def completed(configured: Instrument | None, listed: Instrument) -> Instrument:
    """Return an instrument as it was configured, completed by what the venue lists."""
    if configured is None:
        return listed
    missing = {name: getattr(listed, name) for name in ("price_tick", "lot_size") if getattr(configured, name) is None}
    if configured.contract is None:
        missing |= {name: getattr(listed, name) for name in ("contract", "size", "settles")}
    return msgspec.structs.replace(configured, **missing)

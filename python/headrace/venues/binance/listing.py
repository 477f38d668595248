"""What a market lists, from its exchangeInfo: an Instrument for each symbol that can be traded.

Guarantees: steps and contract sizes are the venue's own digits; a row that is not understood is left out and logged.
Does not: ask; ``RestClient`` does.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError
from headrace.market.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["listed_instruments"]

log = logging.getLogger(__name__)


def listed_instruments(venue: str, info: Mapping[str, Any]) -> dict[str, Instrument]:
    """Return the instruments of a market by name."""
    listed = {}
    for row in info.get("symbols", ()):
        try:
            instrument = _instrument(venue, row)
        except (HeadraceError, KeyError, ArithmeticError, TypeError) as error:
            log.warning("%s lists %s in a way that is not understood: %s", venue, row.get("symbol"), error)
        else:
            listed[instrument.name] = instrument
    return listed


def _instrument(venue: str, row: Mapping[str, Any]) -> Instrument:
    filters = {own["filterType"]: own for own in row["filters"]}
    size = row.get("contractSize")
    return Instrument(
        f"{row['symbol']}.{venue}",
        price_tick=_step(filters["PRICE_FILTER"]["tickSize"]),
        lot_size=_step(filters["LOT_SIZE"]["stepSize"]),
        size=None if size is None else Decimal(str(size)),
        settles=row.get("marginAsset", ""),
    )


def _step(text: str) -> Decimal:
    return Decimal(text).normalize()

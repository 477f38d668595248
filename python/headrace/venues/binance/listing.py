"""What a market lists, from its exchangeInfo: each symbol with its contract, its steps and its status.

Guarantees: steps and contract sizes are the venue's own digits; a row that is not understood is left out and logged.
Does not: refuse a symbol; ``BinanceFeed`` does.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from headrace.errors import HeadraceError, VenueRequestError
from headrace.market.checks import nearest
from headrace.market.instrument import Instrument
from headrace.market.listed import Listed
from headrace.venues.binance.networks import addresses_of
from headrace.venues.binance.rest import RestClient
from headrace.venues.binance.rules import rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headrace.venues.binance.networks import NetworkOptions

__all__ = ["MarketListing", "listed_at", "listed_instruments", "refusal_of"]

log = logging.getLogger(__name__)

# The status of a symbol that the venue's list lacks.
UNLISTED = "UNLISTED"


class MarketListing:
    """What a market lists, read again now and then. every_s : how often."""

    def __init__(self, venue: str, rest: RestClient, *, every_s: float) -> None:
        self._venue = venue
        self._rest = rest
        self._every_s = every_s
        self.by_name: dict[str, Listed] = {}

    async def read(self) -> None:
        """Read it. Raises VenueRequestError."""
        self.by_name = listed_instruments(self._venue, await self._rest.exchange_info())

    async def follow(self, names: Callable[[], Iterable[str]], changed: Callable[[Listed], object]) -> None:
        """Read it again until cancelled, and pass on what has changed of these names."""
        while True:
            await asyncio.sleep(self._every_s)
            before = self.by_name
            try:
                await self.read()
            except VenueRequestError as error:
                log.warning("what %s lists could not be read: %s", self._venue, error)
                continue
            for name in names():
                known = before.get(name)
                if name not in self.by_name and known is not None:
                    # It keeps its last facts.
                    self.by_name[name] = msgspec.structs.replace(known, status=UNLISTED)
                if (listed := self.by_name.get(name)) is not None and listed != known:
                    log.warning("%s is listed in another way now: %s", name, listed.facts())
                    changed(listed)


def listed_instruments(venue: str, info: Mapping[str, Any]) -> dict[str, Listed]:
    """Return what a market lists by name."""
    listed = {}
    for row in info.get("symbols", ()):
        try:
            instrument = _instrument(venue, row)
            # Futures have a status of the contract; COIN-M no other one.
            status = str(row.get("contractStatus") or row["status"])
        except (HeadraceError, KeyError, ArithmeticError, TypeError) as error:
            log.warning("%s lists %s in a way that is not understood: %s", venue, row.get("symbol"), error)
        else:
            listed[instrument.name] = Listed(instrument, status)
    return listed


def refusal_of(venue: str, symbol: str, listed: Mapping[str, Listed]) -> str:
    """Return what is said of a symbol that a market does not list. listed : what it lists, by name."""
    # Users write symbols, or paste whole names.
    known = [name.removesuffix(f".{venue}") for name in listed]
    return f"{venue} does not list {symbol}{nearest(symbol.removesuffix(f'.{venue}'), known)}"


async def listed_at(venue: str, **options: Unpack[NetworkOptions]) -> dict[str, Listed]:
    """Return what a market lists now, by name; options as of ``BinanceFeed``.

    Raises OptionError, MissingExtraError, VenueRequestError.
    """
    network, url, rest_url = options.get("network", "live"), options.get("url"), options.get("rest_url")
    rest = RestClient(
        rules_of(venue),
        addresses_of(venue, network, url, rest_url).rest,
        proxy=options.get("proxy"),
        source_address=options.get("source_address"),
    )
    try:
        return listed_instruments(venue, await rest.exchange_info())
    finally:
        await rest.close()


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

"""Health of the way to a market: each route's answer, REST's answer, and how far the venue's clock is from ours.

::

    offset = the venue's time - the middle of the request, of the quickest of several

Guarantees: what cannot be reached is a row with the reason; everything is closed again.
Does not: measure orders, or change a clock.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, Unpack

import msgspec

from headrace.errors import VenueRequestError
from headrace.venues.binance.connection import Connection
from headrace.venues.binance.networks import addresses_of
from headrace.venues.binance.rest import RestClient
from headrace.venues.binance.rules import rules_of
from headrace.venues.binance.transport import new_transport

if TYPE_CHECKING:
    from headrace.venues.binance.networks import Addresses, NetworkOptions
    from headrace.venues.binance.rules import VenueRules

__all__ = ["ClockOffset", "RouteHealth", "VenueHealth", "measured"]

ASKED = 5
# A route of orders and accounts, which needs a key.
PRIVATE = "/private"


class _Way(NamedTuple):
    """How a venue is reached."""

    proxy: str | None
    source_address: str | None


class RouteHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One address. connect_ms : until it was open. answer_ms : until a request was answered. problem : or why not."""

    address: str
    connect_ms: float | None = None
    answer_ms: float | None = None
    problem: str = ""


class ClockOffset(msgspec.Struct, frozen=True, kw_only=True):
    """How far the venue's clock is ahead of ours. offset_ms : below 0, it is behind. error_ms : of that, at most."""

    offset_ms: float
    error_ms: float


class VenueHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one market. clock : None when REST could not be reached."""

    venue: str
    routes: tuple[RouteHealth, ...]
    clock: ClockOffset | None

    @property
    def is_reachable(self) -> bool:
        """Whether every route answered."""
        return not any(route.problem for route in self.routes)


async def measured(venue: str, **options: Unpack[NetworkOptions]) -> VenueHealth:
    """Measure the routes of a market; options as of ``BinanceFeed``. Raises OptionError, MissingExtraError."""
    rules = rules_of(venue)
    network, url, rest_url = options.get("network", "live"), options.get("url"), options.get("rest_url")
    addresses = addresses_of(venue, network, url, rest_url)
    way = _Way(options.get("proxy"), options.get("source_address"))
    sockets = [_socket(rules, addresses.ws + route, way) for route in rules.routes if route != PRIVATE]
    routes, (rest, clock) = await asyncio.gather(asyncio.gather(*sockets), _rest(rules, addresses, way))
    return VenueHealth(venue=venue, routes=(*routes, rest), clock=clock)


async def _socket(rules: VenueRules, address: str, way: _Way) -> RouteHealth:
    transport = new_transport(proxy=way.proxy, source_address=way.source_address)
    connection = Connection(rules, transport, lambda _connection, _name, _message: None, lambda: None)
    began = time.monotonic()
    try:
        await connection.open(address)
        connected = time.monotonic()
        await connection.list_streams()
        answered = time.monotonic()
    except (OSError, VenueRequestError) as error:
        return RouteHealth(address=address, problem=str(error))
    finally:
        await connection.close()
    return RouteHealth(address=address, connect_ms=(connected - began) * 1e3, answer_ms=(answered - connected) * 1e3)


async def _rest(rules: VenueRules, addresses: Addresses, way: _Way) -> tuple[RouteHealth, ClockOffset | None]:
    address = addresses.rest + rules.rest
    rest = RestClient(rules, addresses.rest, proxy=way.proxy, source_address=way.source_address)
    try:
        began = time.monotonic()
        await rest.get("ping")
        connect_ms = (time.monotonic() - began) * 1e3
        rows = []
        for _ in range(ASKED):
            sent_ns = time.time_ns()
            answer = msgspec.json.decode(await rest.get("time"))
            received_ns = time.time_ns()
            middle_ms = (sent_ns + received_ns) / 2e6
            rows.append((received_ns - sent_ns, answer["serverTime"] - middle_ms))
    except VenueRequestError as error:
        return RouteHealth(address=address, problem=str(error)), None
    finally:
        await rest.close()
    took_ns, offset_ms = min(rows)
    return (
        RouteHealth(address=address, connect_ms=connect_ms, answer_ms=took_ns / 1e6),
        ClockOffset(offset_ms=offset_ms, error_ms=took_ns / 2e6),
    )

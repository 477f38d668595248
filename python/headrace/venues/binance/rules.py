"""What Binance's three markets require of a client, as one table: paths, streams, weights and limits.

::

    stream     btcusdt@depth@100ms = symbol, kind "depth", interval
    address    base + route + /ws/<stream>, or base + route + /stream?streams=<stream>/<stream>

Guarantees: the adapter and the simulated venue read the same table.
Does not: hold addresses of hosts; ``networks`` does.

Source: the venue's public documentation of web-socket streams and REST endpoints, read in November 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.market.checks import converted, one_of, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BY_VENUE", "StreamName", "VenueRules", "rules_of"]

# Streams of USD-M that its route /public carries; all others are on /market.
PUBLIC_KINDS = frozenset({"bookTicker", "depth", "depth5", "depth10", "depth20", "trade", "rpiDepth"})


class StreamName(NamedTuple):
    """A stream's name in parts. kind : such as ``"depth"``.

    symbol : as it stands in the name, in lower case; empty for a stream of all symbols, ``!markPrice@arr@1s``.
    """

    symbol: str
    kind: str
    interval: str

    @classmethod
    def parse(cls, name: str) -> StreamName:
        """Split a name: ``btcusdt@depth@100ms``, ``btcusdt@kline_1m``, ``!markPrice@arr@1s``, ``!serverShutdown``."""
        symbol, _, rest = name.partition("@")
        if symbol.startswith("!"):
            return cls("", symbol[1:], rest.removeprefix("arr").removeprefix("@"))
        kind, _, interval = rest.partition("@")
        if kind.startswith("kline_"):
            kind, _, interval = kind.partition("_")
        return cls(symbol, kind, interval)


class VenueRules(msgspec.Struct, frozen=True):
    """One market's rules.

    routes : parts of the WebSocket address; a stream on the wrong one is acknowledged and never comes.
    rest : where its REST paths begin. depth_weights : the weight of a snapshot by its highest number of levels.
    trade_weights : of up to 1,000 past trades, by the kind of their stream.
    weight_max : weight in a minute. messages_per_s : what a client may send on a connection, pings and pongs counted.
    ping_every_s, pong_within_s : the server's pings. life_s : after it a connection is cut.
    minute_s : how long a minute of weights lasts; a test makes it short.
    """

    venue: str
    routes: tuple[str, ...]
    rest: str
    depth_weights: tuple[tuple[int, int], ...]
    trade_weights: dict[str, int]
    weight_max: int
    messages_per_s: int
    ping_every_s: float
    pong_within_s: float
    life_s: float = 86_400.0
    streams_max: int = 1_024
    connects_max: int = 300
    connects_within_s: float = 300.0
    minute_s: float = 60.0

    def route_of(self, kind: str) -> str:
        """Return the route that carries a kind of stream."""
        if len(self.routes) == 1:
            return self.routes[0]
        return "/public" if kind in PUBLIC_KINDS else "/market"

    def depth_weight(self, limit: int) -> int:
        """Return the weight of a snapshot of ``limit`` levels a side."""
        return next((weight for levels, weight in self.depth_weights if limit <= levels), self.depth_weights[-1][1])


_SPOT_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))
_SPOT_TRADES, _FUTURES_TRADES = {"trade": 25, "aggTrade": 4}, {"trade": 20, "aggTrade": 20}
_FUTURES_WEIGHTS = ((50, 2), (100, 5), (500, 10), (1_000, 20))

BY_VENUE = {
    rules.venue: rules
    for rules in (
        VenueRules("BINANCE", ("",), "/api/v3", _SPOT_WEIGHTS, _SPOT_TRADES, 6_000, 5, 20.0, 60.0),
        VenueRules(
            "BINANCE_USDM",
            ("/public", "/market", "/private"),
            "/fapi/v1",
            _FUTURES_WEIGHTS,
            _FUTURES_TRADES,
            2_400,
            10,
            180.0,
            600.0,
        ),
        VenueRules("BINANCE_COINM", ("",), "/dapi/v1", _FUTURES_WEIGHTS, _FUTURES_TRADES, 2_400, 10, 180.0, 600.0),
    )
}


# What differs between networks and accounts; a test makes them small.
LIMITS = tuple(
    name
    for name in VenueRules.__struct_fields__
    if name not in ("venue", "routes", "rest", "depth_weights", "trade_weights")
)


def rules_of(venue: str, limits: Mapping[str, float] | None = None) -> VenueRules:
    """Return a market's rules. limits : those to change, by name. Raises OptionError."""
    rules = BY_VENUE[one_of("venue", venue, BY_VENUE)]
    if not limits:
        return rules
    refuse_unknown("a venue's limits", limits, LIMITS)
    return converted("a venue", msgspec.structs.asdict(rules) | dict(limits), VenueRules)

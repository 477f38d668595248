"""RouteTable: what is subscribed, and nothing else is.

::

    subscribe(TRADE, [BTCUSDT.BINANCE]) ─▶ routes, version + 1 ─▶ Change(added topics, removed topics) ─▶ the adapter

What happens when a change is wrong
    It is checked whole before anything is changed: a malformed one leaves every route and the version as they were.

Guarantees: the version grows with each change, and only then; a topic is asked for once, however many routes need it,
and given up with the last of them.
Does not: talk to a venue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.errors import RouteError
from headrace.gateway.canonical import CanonicalType
from headrace.gateway.filters import FilterRule
from headrace.market.checks import nearest, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Change", "Poller", "Route", "RouteCounts", "RouteTable"]

# The streams of a venue that a type is made from; FUSED is made of the same deltas as BOOK_DELTA.
STREAMS = {
    CanonicalType.TICKER: "bookTicker",
    CanonicalType.TRADE: "trade",
    CanonicalType.AGG_TRADE: "aggTrade",
    CanonicalType.BOOK_DELTA: "depth@100ms",
    CanonicalType.FUSED: "depth@100ms",
    CanonicalType.BAR: "kline_1m",
}


class Poller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A REST endpoint that is asked on a schedule. parser : the name of what reads its answer. interval_s : seconds."""

    name: str
    endpoint: str
    interval_s: float
    parser: str


POLLERS = {CanonicalType.BOOK_SNAPSHOT: Poller("snapshots", "depth", 10.0, "snapshot")}


class Route(msgspec.Struct, frozen=True):
    """One type of one instrument.

    topics : streams of the venue. pollers : REST endpoints. filters : all must hold. throttle_ns : at most one event in
    so long, 0 for all; what comes between is consolidated.
    """

    canonical_type: CanonicalType
    instrument: str
    topics: tuple[str, ...]
    pollers: tuple[Poller, ...] = ()
    filters: tuple[FilterRule, ...] = ()
    throttle_ns: int = 0


class RouteCounts(msgspec.Struct):
    """What became of a route's events."""

    received: int = 0
    converted: int = 0
    filtered: int = 0
    rejected: int = 0
    suppressed: int = 0
    forwarded: int = 0


class Change(NamedTuple):
    """What a change of the table asks of the adapter. Topics are by venue, ``("BINANCE", "btcusdt@trade")``."""

    version: int
    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]


Key = tuple[CanonicalType, str]


class RouteTable:
    """All routes. Used on the engine's thread."""

    def __init__(self) -> None:
        self._routes: dict[Key, Route] = {}
        self._counts: dict[Key, RouteCounts] = {}
        # How many routes need a topic.
        self._needed: dict[tuple[str, str], int] = {}
        self.version = 0

    def __len__(self) -> int:
        return len(self._routes)

    @property
    def routes(self) -> Sequence[Route]:
        """Every route, in the order of subscription."""
        return list(self._routes.values())

    @property
    def topics(self) -> list[tuple[str, str]]:
        """Every topic that some route needs, by venue: all that a reconnect subscribes to."""
        return list(self._needed)

    def get(self, canonical_type: CanonicalType | str, instrument: str) -> Route | None:
        """Return a route, or None."""
        return self._routes.get((CanonicalType(canonical_type), instrument))

    def counts(self, route: Route) -> RouteCounts:
        """Return a route's counts; the code that moves its events raises them."""
        return self._counts[route.canonical_type, route.instrument]

    def subscribe(
        self,
        canonical_type: str,
        instruments: Iterable[str],
        *,
        filters: Iterable[FilterRule] = (),
        throttle_ns: int = 0,
    ) -> Change:
        """Add routes, or replace the filters and the throttle of those that are there. Raises RouteError."""
        kind = self._type(canonical_type)
        rules = tuple(filters)
        fresh = [self._route(kind, name, rules, throttle_ns) for name in dict.fromkeys(instruments)]
        if not fresh:
            msg = f"{kind} has no instruments: name at least one SYMBOL.VENUE"
            raise RouteError(msg)
        changed = [route for route in fresh if self._routes.get((kind, route.instrument)) != route]
        return self._apply(added=changed, removed=[])

    def unsubscribe(self, canonical_type: str, instruments: Iterable[str]) -> Change:
        """Take routes away. Raises RouteError for one that is not there."""
        kind = self._type(canonical_type)
        gone = [self._known(kind, name) for name in dict.fromkeys(instruments)]
        return self._apply(added=[], removed=gone)

    def set_filter(self, canonical_type: str, instrument: str, filters: Iterable[FilterRule]) -> Change:
        """Replace a route's filters. Raises RouteError."""
        route = self._known(self._type(canonical_type), instrument)
        changed = msgspec.structs.replace(route, filters=tuple(filters))
        return self._apply(added=[] if changed == route else [changed], removed=[])

    def _apply(self, *, added: list[Route], removed: list[Route]) -> Change:
        """Change the table at once, and return which topics begin and end to be needed."""
        begun: list[tuple[str, str]] = []
        ended: list[tuple[str, str]] = []
        for route in removed:
            del self._routes[route.canonical_type, route.instrument]
            del self._counts[route.canonical_type, route.instrument]
            for topic in _topics_of(route):
                self._needed[topic] -= 1
                if not self._needed[topic]:
                    del self._needed[topic]
                    ended.append(topic)
        for route in added:
            key = route.canonical_type, route.instrument
            if key not in self._routes:
                self._counts[key] = RouteCounts()
                for topic in _topics_of(route):
                    if topic not in self._needed:
                        self._needed[topic] = 0
                        begun.append(topic)
                    self._needed[topic] += 1
            self._routes[key] = route
        self.version += bool(added or removed)
        return Change(self.version, tuple(begun), tuple(sorted(ended)))

    def _route(self, kind: CanonicalType, instrument: str, rules: tuple[FilterRule, ...], throttle_ns: int) -> Route:
        symbol, dot, venue = instrument.rpartition(".")
        if not (symbol and dot and venue):
            msg = f"{instrument!r} is no instrument: write SYMBOL.VENUE"
            raise RouteError(msg)
        if throttle_ns < 0:
            msg = f"a throttle of {throttle_ns} ns is not allowed: use 0 or more"
            raise RouteError(msg)
        topics = (f"{symbol.lower()}@{STREAMS[kind]}",) if kind in STREAMS else ()
        pollers = (POLLERS[kind],) if kind in POLLERS else ()
        return Route(kind, instrument, topics, pollers, rules, throttle_ns)

    def _known(self, kind: CanonicalType, instrument: str) -> Route:
        route = self._routes.get((kind, instrument))
        if route is None:
            known = [own for own_kind, own in self._routes if own_kind is kind]
            msg = f"{kind} of {instrument} is not subscribed{nearest(instrument, known)}"
            raise RouteError(msg)
        return route

    @staticmethod
    def _type(text: str) -> CanonicalType:
        return CanonicalType(one_of("type", text, [str(own) for own in CanonicalType]))


def _topics_of(route: Route) -> list[tuple[str, str]]:
    """Return a route's topics with their venue."""
    venue = route.instrument.rpartition(".")[2]
    return [(venue, topic) for topic in route.topics]

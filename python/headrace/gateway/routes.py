"""RouteTable: what is subscribed, and nothing else is.

::

    subscribe(TRADE, [BTCUSDT.BINANCE]) ─▶ routes, version + 1 ─▶ Change(added topics, removed topics) ─▶ the adapter

What happens when a change is wrong
    It is checked whole before anything is changed: a malformed one leaves every route and the version as they were.

What happens when the venue does not confirm a change
    ``revert`` puts the routes of that change back, except those that another change has replaced meanwhile.

Guarantees: the version grows with each change, and only then; a topic is asked for once, however many routes need it,
and given up with the last of them. Topics that are held are never given up.
Does not: talk to a venue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from headrace.bus.filters import FilterRule
from headrace.errors import RouteError
from headrace.market.canonical import CanonicalType
from headrace.market.checks import nearest, number, one_of, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Change", "Key", "Poller", "Route", "RouteCounts", "RouteTable", "Topic", "topics_of"]

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
    """A REST endpoint that is asked on a schedule.

    endpoint : its name, with a query where one is needed: ``"depth?limit=100"``. interval_s : seconds, above 0.
    parser : the name of what reads its answer. weight : of a request, where the adapter does not know it.
    Raises OptionError.
    """

    name: str
    endpoint: str
    interval_s: float
    parser: str
    weight: int | None = None

    def __post_init__(self) -> None:
        if not number("interval_s", self.interval_s) > 0:
            refuse("interval_s", self.interval_s, "seconds above 0")


POLLERS = {CanonicalType.BOOK_SNAPSHOT: (Poller("snapshots", "depth", 10.0, "snapshot"),)}


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


Topic: TypeAlias = tuple[str, str]
Key: TypeAlias = tuple[CanonicalType, str]


class Change(NamedTuple):
    """What a change of the table asks of the adapter, and what it replaced.

    added, removed : topics that begin and end to be needed, by venue, ``("BINANCE", "btcusdt@trade")``.
    replaced : each route that was changed as it was before and as it is now; None where there is none.
    """

    version: int
    added: tuple[Topic, ...]
    removed: tuple[Topic, ...]
    replaced: tuple[tuple[Route | None, Route | None], ...] = ()


class RouteTable:
    """All routes. Used on the engine's thread. pollers : by the type that they serve, in place of the defaults."""

    def __init__(self, pollers: Mapping[CanonicalType, Sequence[Poller]] | None = None) -> None:
        self._pollers = {kind: tuple(own) for kind, own in (POLLERS if pollers is None else pollers).items()}
        self._routes: dict[Key, Route] = {}
        self._counts: dict[Key, RouteCounts] = {}
        # How many routes need a topic.
        self._needed: dict[Topic, int] = {}
        self._held: dict[Topic, None] = {}
        self.version = 0

    def __len__(self) -> int:
        return len(self._routes)

    @property
    def routes(self) -> Sequence[Route]:
        """Every route, in the order of subscription."""
        return list(self._routes.values())

    @property
    def topics(self) -> list[Topic]:
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

    @property
    def held(self) -> Sequence[Topic]:
        """Topics that belong to no route, and stay for good."""
        return list(self._held)

    def hold(self, topics: Iterable[Topic]) -> None:
        """Need topics that belong to no route: those of an adapter's own configuration."""
        for topic in topics:
            self._held[topic] = None
            self._needed[topic] = self._needed.get(topic, 0) + 1

    def revert(self, change: Change) -> Change:
        """Take a change back, except for the routes that another change has replaced meanwhile."""
        added, removed = [], []
        for before, after in change.replaced:
            own = before or after
            assert own is not None  # One of the two is a route.
            if self._routes.get((own.canonical_type, own.instrument)) is after:
                if before is not None:
                    added.append(before)
                elif after is not None:
                    removed.append(after)
        return self._apply(added=added, removed=removed)

    def _apply(self, *, added: list[Route], removed: list[Route]) -> Change:
        """Change the table at once, and return which topics begin and end to be needed."""
        begun: list[Topic] = []
        ended: list[Topic] = []
        replaced: list[tuple[Route | None, Route | None]] = []
        for route in removed:
            del self._routes[route.canonical_type, route.instrument]
            del self._counts[route.canonical_type, route.instrument]
            replaced.append((route, None))
            for topic in topics_of(route):
                self._needed[topic] -= 1
                if not self._needed[topic]:
                    del self._needed[topic]
                    ended.append(topic)
        for route in added:
            key = route.canonical_type, route.instrument
            replaced.append((self._routes.get(key), route))
            if key not in self._routes:
                self._counts[key] = RouteCounts()
                for topic in topics_of(route):
                    if topic not in self._needed:
                        self._needed[topic] = 0
                        begun.append(topic)
                    self._needed[topic] += 1
            self._routes[key] = route
        self.version += bool(added or removed)
        return Change(self.version, tuple(begun), tuple(sorted(ended)), tuple(replaced))

    def _route(self, kind: CanonicalType, instrument: str, rules: tuple[FilterRule, ...], throttle_ns: int) -> Route:
        symbol, dot, venue = instrument.rpartition(".")
        if not (symbol and dot and venue):
            msg = f"{instrument!r} is no instrument: write SYMBOL.VENUE"
            raise RouteError(msg)
        if throttle_ns < 0:
            msg = f"a throttle of {throttle_ns} ns is not allowed: use 0 or more"
            raise RouteError(msg)
        topics = (f"{symbol.lower()}@{STREAMS[kind]}",) if kind in STREAMS else ()
        return Route(kind, instrument, topics, self._pollers.get(kind, ()), rules, throttle_ns)

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


def topics_of(route: Route) -> list[Topic]:
    """Return a route's topics with their venue."""
    venue = route.instrument.rpartition(".")[2]
    return [(venue, topic) for topic in route.topics]

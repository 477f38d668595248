"""The sections of a gateway: ``[gateway]``, ``[[gateway.routes]]`` and ``[[gateway.pollers]]``.

Guarantees: immutable; an unknown key is refused; a missing key has the default of this file.
Does not: make a gateway (``app.build``).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from headrace.app.config.types import AboveZero, AtLeastOne, FilePath, ParserUse
from headrace.bus.filters import FilterRule
from headrace.market.canonical import CanonicalType

__all__ = ["GatewaySection", "PollerSection", "RouteSection"]


class RouteSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Routes that are there from the start; commands add others.

    type : what they carry.
    instruments : SYMBOL.VENUE, one route for each.
    filters : rules that all must hold for an event to go on.
    throttle : at most one event in this time, like "250ms"; others are consolidated. By default all pass.
    """

    type: CanonicalType
    instruments: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    filters: tuple[FilterRule, ...] = ()
    throttle: str | None = None


class PollerSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A REST endpoint that is asked on a schedule, for each instrument of the routes of a type.

    name : in keys of events, logs and the list of routes.
    type : the routes that need it; the type's own pollers are replaced.
    endpoint : the endpoint's name, with a query where one is needed: "depth?limit=100".
    interval_s : from one request to the next, s.
    parser : "snapshot" (depth), "json" (any object), or module:function of bytes that returns the payload, a dict.
    weight : of a request, where the venue's rules are not known to the adapter; 1 by default.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)]
    type: CanonicalType = CanonicalType.BOOK_SNAPSHOT
    endpoint: Annotated[str, msgspec.Meta(min_length=1)]
    interval_s: AboveZero
    parser: ParserUse = "snapshot"
    weight: AtLeastOne | None = None


class GatewaySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is subscribed at venues while the engine runs, and what it carries; its adapters are the binance feeds.

    snapshots : SQLite file for the newest snapshot of each instrument; by default they are in memory.
    snapshot_ttl_s : an older snapshot is marked stale, one twice as old is removed, s.
    levels : of each side of a FUSED event.
    workers : threads that parse and store.
    queue_max : parsing and storing that may wait; more waits for room.
    routes : routes that are there from the start.
    pollers : REST endpoints in place of the default ones.
    """

    snapshots: FilePath | None = None
    snapshot_ttl_s: AboveZero = 60.0
    levels: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 10
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    queue_max: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 64
    routes: tuple[RouteSection, ...] = ()
    pollers: tuple[PollerSection, ...] = ()

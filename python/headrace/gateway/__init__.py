"""Gateway: what is subscribed at a venue, joined, filtered and kept, by routes that change while it runs."""

from headrace.bus.filters import FilterRule
from headrace.gateway.adapter import Adapter
from headrace.gateway.gateway import Gateway
from headrace.gateway.routes import Poller, Route, RouteTable
from headrace.gateway.snapshots import MemorySnapshots, Snapshot, SnapshotStore, SqliteSnapshots
from headrace.market.canonical import CanonicalEvent, CanonicalType

__all__ = [
    "Adapter",
    "CanonicalEvent",
    "CanonicalType",
    "FilterRule",
    "Gateway",
    "MemorySnapshots",
    "Poller",
    "Route",
    "RouteTable",
    "Snapshot",
    "SnapshotStore",
    "SqliteSnapshots",
]

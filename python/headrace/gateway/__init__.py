"""Gateway: what is subscribed at a venue, joined, filtered and kept, by routes that change while it runs."""

from headrace.gateway.canonical import CanonicalEvent, CanonicalType
from headrace.gateway.filters import FilterRule
from headrace.gateway.routes import Route, RouteTable
from headrace.gateway.snapshots import MemorySnapshots, Snapshot, SnapshotStore, SqliteSnapshots

__all__ = [
    "CanonicalEvent",
    "CanonicalType",
    "FilterRule",
    "MemorySnapshots",
    "Route",
    "RouteTable",
    "Snapshot",
    "SnapshotStore",
    "SqliteSnapshots",
]

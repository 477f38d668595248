"""GatewayOptions: every option of a ``Gateway``, with its type, its default and its check.

Guarantees: an unknown option is an error that names the nearest one.
Does not: check routes and pollers, which the table and the pollers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

from headrace.market.checks import number, refuse, refuse_unknown, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.commands import Subscribe
    from headrace.gateway.pollers import Parser
    from headrace.gateway.routes import Poller
    from headrace.gateway.snapshots import SnapshotStore
    from headrace.market.canonical import CanonicalType

__all__ = ["GatewayOptions", "complete"]


class GatewayOptions(TypedDict, total=False):
    """The options of ``Gateway``, which says what each means."""

    routes: Sequence[Subscribe]
    pollers: Mapping[CanonicalType, Sequence[Poller]] | None
    parsers: Mapping[str, Parser] | None
    snapshots: SnapshotStore | None
    snapshot_ttl_s: float
    levels: int
    workers: int
    queue_max: int


_DEFAULTS: GatewayOptions = {
    "routes": (),
    "pollers": None,
    "parsers": None,
    "snapshots": None,
    "snapshot_ttl_s": 60.0,
    "levels": 10,
    "workers": 2,
    "queue_max": 64,
}


def complete(given: GatewayOptions) -> GatewayOptions:
    """Return all options, checked. Raises OptionError."""
    refuse_unknown("a gateway", given, _DEFAULTS)
    options = cast("GatewayOptions", {**_DEFAULTS, **given})
    if not number("snapshot_ttl_s", options["snapshot_ttl_s"]) > 0:
        refuse("snapshot_ttl_s", options["snapshot_ttl_s"], "seconds above 0")
    whole("levels", options["levels"], 1, 5_000, "levels")
    return options

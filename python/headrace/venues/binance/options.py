"""FeedOptions: every option of a ``BinanceFeed``, with its type, its default and its check.

Guarantees: an unknown option is an error that names the nearest one.
Does not: check addresses (``networks``), or names of streams and symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from headrace.market.checks import number, of_type, one_of, refuse, refuse_unknown, whole
from headrace.venues.binance.networks import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.venues.binance.rules import VenueRules

__all__ = ["FeedOptions", "complete"]


class FeedOptions(NetworkOptions, total=False):
    """The options of ``BinanceFeed``, which says what each means."""

    snapshots: str
    snapshot_levels: int
    backfill: bool
    time_unit: str
    quiet_s: float
    listing_every_s: float
    limits: Mapping[str, float] | None


_DEFAULTS: FeedOptions = {
    "network": "live",
    "url": None,
    "rest_url": None,
    "proxy": None,
    "source_address": None,
    "snapshots": "requested",
    "snapshot_levels": 1_000,
    "backfill": True,
    "time_unit": "ms",
    "quiet_s": 10.0,
    "listing_every_s": 600.0,
    "limits": None,
}


def complete(rules: VenueRules, given: FeedOptions) -> FeedOptions:
    """Return all options, checked. rules : of the feed's market. Raises OptionError."""
    refuse_unknown("BinanceFeed", given, _DEFAULTS)
    options = cast("FeedOptions", {**_DEFAULTS, **given})
    for name in ("quiet_s", "listing_every_s"):
        if not number(name, options[name]) > 0:
            refuse(name, options[name], "a number of seconds above 0")
    one_of("snapshots", options["snapshots"], ("requested", "always"))
    if options["time_unit"] != "ms" and (options["time_unit"], rules.venue) != ("us", "BINANCE"):
        refuse("time_unit", options["time_unit"], '"ms", or "us" at BINANCE')
    whole("snapshot_levels", options["snapshot_levels"], 1, rules.depth_weights[-1][0], "levels")
    of_type("backfill", options["backfill"], bool)
    for name in ("proxy", "source_address"):
        of_type(name, options[name], str, None)  # type: ignore[literal-required]  # the names are options
    return options

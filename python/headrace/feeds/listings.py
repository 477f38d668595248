"""Listings: what the venues of live feeds list of their instruments, at the start and at each change.

Guarantees: an exception out of a feed names the feed.
Does not: read a list; feeds do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.feeds.base import ListingFeed
from headrace.feeds.naming import NamedFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.feeds.base import AnyFeed
    from headrace.market.listed import Listed

__all__ = ["follow_listings", "listings_of"]


def listings_of(feeds: Iterable[AnyFeed]) -> list[Listed]:
    """Return what venues list of the instruments of feeds that are open."""
    found: list[Listed] = []
    for feed in feeds:
        if isinstance(feed, ListingFeed):
            with NamedFeed(feed, "listings"):
                found.extend(feed.listings)
    return found


def follow_listings(feeds: Iterable[AnyFeed], on_listed: Callable[[Listed], object] | None) -> None:
    """Have feeds call a function with each change of what their venues list; None: no more."""
    for feed in feeds:
        if isinstance(feed, ListingFeed):
            feed.on_listed = on_listed

"""Listings: what venues list of the instruments of a run, taken by the gates at a place that a repetition repeats.

Guarantees: each change is an event, and stands in the dispatch log before it takes effect.
Does not: read what a venue lists; feeds do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.feeds.listings import follow_listings, listings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.engine.loop import Driver
    from headrace.engine.repeat import Repeat
    from headrace.feeds.base import AnyFeed
    from headrace.market.listed import Listed
    from headrace.trading.risk import RiskGates

__all__ = ["Listings"]


class Listings:
    """The listings of one run. repeat : the log of the live run that is repeated; None: this one is no repetition."""

    def __init__(self, gates: RiskGates, driver: Driver, repeat: Repeat | None) -> None:
        self._gates = gates
        self._driver = driver
        self._repeat = repeat

    def open(self, feeds: Sequence[AnyFeed]) -> None:
        """Take what venues list of the feeds' instruments, and follow it; in a repetition, what the log says."""
        for listed in listings_of(feeds) if self._repeat is None else self._repeat.listed:
            self.take(listed)
        follow_listings(feeds, self.change)

    def take(self, listed: Listed) -> None:
        """Let the gates judge by it from now on."""
        self._gates.take_listing(listed)
        self._driver.publish_control("LISTED", listed.facts())

    def change(self, listed: Listed) -> None:
        """Take what has changed while the run goes on. Called on the loop's thread."""
        self._driver.mark("listed", listed)
        self.take(listed)

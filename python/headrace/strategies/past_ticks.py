"""PastTicks: the counts of one strategy's subscriptions to ticks that are over.

::

    stopped with its object: each ─▶ begin_anew ─▶ dropped: one sum

Guarantees: nothing is counted twice, or grows with how often a strategy is restarted.
Does not: count; subscriptions do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.dispatch.subscription_stats import sum_of_stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.dispatch.subscription_stats import SubscriptionStats

__all__ = ["PastTicks"]


class PastTicks:
    """The counts of one strategy. name : its own."""

    __slots__ = ("_dropped", "_name", "_stopped")

    def __init__(self, name: str) -> None:
        self._name = name
        self._stopped: tuple[SubscriptionStats, ...] = ()
        # One sum, or nothing.
        self._dropped: tuple[SubscriptionStats, ...] = ()

    def add_stopped(self, stats: SubscriptionStats) -> None:
        """Keep the counts of a subscription that its object had when it was stopped."""
        self._stopped = (*self._stopped, stats)

    def add_dropped(self, stats: SubscriptionStats) -> None:
        """Add the counts of a subscription that the strategy dropped to the sum."""
        self._dropped = (sum_of_stats(f"{self._name} (dropped)", (*self._dropped, stats)),)

    def begin_anew(self) -> None:
        """Add what was stopped to the sum: another object begins."""
        for stats in self._stopped:
            self.add_dropped(stats)
        self._stopped = ()

    def __iter__(self) -> Iterator[SubscriptionStats]:
        yield from self._stopped
        yield from self._dropped

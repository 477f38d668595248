"""DispatcherStats: what a dispatcher has counted, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.dispatch.subscription_stats import SubscriptionStats

__all__ = ["DispatcherStats"]


@dataclass(frozen=True, slots=True)
class DispatcherStats:
    """The counts of a dispatcher.

    published : ticks on the ring, gaps included. ticks : the same by kind. gaps, duplicates, late : found by the
    sequencer. restarts : of the venue's numbers. frames, ignored, rejected : by type and reason.
    elapsed_s : since the dispatcher was made.
    ticks_per_s : published over elapsed. subscriptions : the open ones, by name. closed : the sum of those that were
    closed, of which it keeps nothing else.
    """

    published: int
    ticks: Mapping[str, int]
    gaps: int
    duplicates: int
    late: int
    restarts: int
    frames: Mapping[str, int]
    ignored: Mapping[str, int]
    rejected: Mapping[str, int]
    elapsed_s: float
    ticks_per_s: float
    subscriptions: Mapping[str, SubscriptionStats]
    closed: SubscriptionStats

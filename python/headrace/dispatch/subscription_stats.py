"""The counts of a subscription's ticks, and their sum over several subscriptions.

::

    published == delivered + filtered + missed + conflated + skipped + pending          (the loss law)

Guarantees: the law holds for a sum as it holds for each.
Does not: count; native code does.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    import headrace._native as _native

__all__ = ["LatencyStats", "SubscriptionStats", "stats_of", "sum_of_stats"]


class LatencyStats(msgspec.Struct, frozen=True):
    """The durations of handler calls, ns.

    A fast singular handler is timed at one call in 64, which counts as 64; slow ones (from 65 µs) and plural calls are
    timed every time; async ones until they are done, other tasks' time included. ``max`` : the longest timed call.
    ``count`` : the number of calls behind the percentiles, which are at most 1/32 too high.
    """

    count: int
    p50: int
    p90: int
    p99: int
    p999: int
    max: int


class SubscriptionStats(msgspec.Struct, frozen=True):
    """The counts of a subscription's ticks, in ring positions since it joined.

    published : all of them. delivered : a handler was called (or the tick was pulled), also when the handler raised.
    filtered : not of its instruments and kinds, or published while it dozed. missed : overwritten before they were
    read, of any kind. conflated : folded into a newer quote. skipped : while paused or quarantined, jumped over, or
    above the rate. pending : not dispatched yet, including ticks that wait for a window. pending_ns : receive time
    between the last dispatched and the newest tick. snapshots : newest quotes delivered on join, resume and overrun;
    not part of the law.
    faults : calls that raised. calls : handler calls. demoted : whether it held the writer too long, and became lossy.
    delivered_hash : SHA-256 of the delivered ticks; None without hashing.
    """

    name: str
    state: str
    published: int
    delivered: int
    filtered: int
    missed: int
    conflated: int
    skipped: int
    pending: int
    pending_ns: int
    snapshots: int
    faults: int
    calls: int
    demoted: bool
    delivered_hash: str | None
    latency: LatencyStats

    @property
    def accounted(self) -> int:
        """The right side of the loss law; equals ``published`` while nothing is published or dispatched."""
        return self.delivered + self.filtered + self.missed + self.conflated + self.skipped + self.pending


# The counts that are added up; of the rest, the worst counts.
_SUMMED = [
    own.name for own in msgspec.structs.fields(SubscriptionStats) if own.type is int and own.name != "pending_ns"
]
_QUANTILES = ("p50", "p90", "p99", "p999", "max")
# All at once: a strategy that ends is counted with a few calls.
_read_summed, _read_quantiles = attrgetter(*_SUMMED), attrgetter(*_QUANTILES)
_read_pending_ns, _read_demoted = attrgetter("pending_ns"), attrgetter("demoted")
_read_latency, _read_count = attrgetter("latency"), attrgetter("count")


def sum_of_stats(name: str, stats: Iterable[SubscriptionStats]) -> SubscriptionStats:
    """Return the sum of several statistics, so that the loss law holds for it as well.

    state, delivered_hash : of the only one; "closed" and None otherwise. latency : the slowest at each percentile.
    """
    each = list(stats)
    if len(each) == 1:
        return each[0] if each[0].name == name else msgspec.structs.replace(each[0], name=name)
    if not each:
        counts, slowest = dict.fromkeys(_SUMMED, 0), dict.fromkeys(_QUANTILES, 0)
    else:
        counts = dict(zip(_SUMMED, map(sum, zip(*map(_read_summed, each), strict=True)), strict=True))
        quantiles = map(max, zip(*map(_read_quantiles, map(_read_latency, each)), strict=True))
        slowest = dict(zip(_QUANTILES, quantiles, strict=True))
    return SubscriptionStats(
        name=name,
        state="closed",
        **counts,
        pending_ns=max(map(_read_pending_ns, each), default=0),
        demoted=any(map(_read_demoted, each)),
        delivered_hash=None,
        latency=LatencyStats(count=sum(map(_read_count, map(_read_latency, each))), **slowest),
    )


def stats_of(name: str, membership: _native.Membership) -> SubscriptionStats:
    """Return the counts of a subscription as they are now."""
    return msgspec.convert({"name": name, "state": membership.state, **membership.stats()}, SubscriptionStats)

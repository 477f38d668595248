"""LatencyMeter: how often something was done, and how long it took, by key.

Guarantees: bounded by the number of keys; a percentile is at most 1/32 too high.
Does not: know what it measures; callers name it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Generic, TypeVar

from headrace.dispatch.subscription_stats import LatencyStats

__all__ = ["LatencyMeter"]

Key = TypeVar("Key")
# A bucket is 1/32 of its power of two wide.
BUCKET_BITS = 5


class LatencyMeter(Generic[Key]):
    """Latencies by key."""

    __slots__ = ("_buckets", "_max_ns")

    def __init__(self) -> None:
        # Exact below 64 ns, then 32 buckets to each power of two.
        self._buckets: defaultdict[Key, Counter[int]] = defaultdict(Counter)
        self._max_ns: dict[Key, int] = {}

    def record(self, key: Key, duration_ns: int) -> None:
        """Count one duration."""
        shift = max(0, duration_ns.bit_length() - BUCKET_BITS - 1)
        self._buckets[key][(shift << BUCKET_BITS) + (duration_ns >> shift)] += 1
        self._max_ns[key] = max(duration_ns, self._max_ns.get(key, 0))

    def latencies(self) -> dict[Key, LatencyStats]:
        """Return what was recorded, in the order in which each key was first seen."""
        return {key: _latency(buckets, self._max_ns[key]) for key, buckets in self._buckets.items()}


def _latency(buckets: Counter[int], max_ns: int) -> LatencyStats:
    count = buckets.total()

    def percentile(share: float) -> int:
        left = share * count
        for bucket, number in sorted(buckets.items()):
            left -= number
            if left <= 0:
                shift = max(0, (bucket >> BUCKET_BITS) - 1)
                return min(max_ns, ((bucket - (shift << BUCKET_BITS) + 1) << shift) - 1)
        return max_ns

    p50, p90, p99, p999 = (percentile(share) for share in (0.5, 0.9, 0.99, 0.999))
    return LatencyStats(count=count, p50=p50, p90=p90, p99=p99, p999=p999, max=max_ns)

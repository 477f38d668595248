"""CommandMeter: how many commands ended how, and how long they took.

Guarantees: bounded by the number of commands and outcomes; a percentile is at most 1/32 too high.
Does not: know commands; whoever records names them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.dispatch.subscription_stats import LatencyStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.commands.ack import AckStatus

__all__ = ["CommandMeter", "CommandStats"]

# A bucket is 1/32 of its power of two wide.
BUCKET_BITS = 5


@dataclass(frozen=True, slots=True)
class CommandStats:
    """What became of the commands: ``submitted == answered + in_flight``.

    waiting : for their target or a worker. running : handlers at work, those of urgent commands included.
    abandoned : handlers that outlived their timeout and would not be cancelled; they run still.
    outcomes : (verb, status) -> how many there were and how long each took from submission to answer, ns.
    audits_waiting : the control lane had no room for them yet. audits_lost : it never had; they stand in the log.
    """

    submitted: int
    answered: int
    in_flight: int
    waiting: int
    running: int
    abandoned: int
    version: int
    outcomes: Mapping[tuple[str, AckStatus], LatencyStats]
    audits_waiting: int
    audits_lost: int


class CommandMeter:
    """Latencies by (verb, status)."""

    __slots__ = ("_buckets", "_max_ns")

    def __init__(self) -> None:
        # Exact below 64 ns, then 32 buckets to each power of two.
        self._buckets: defaultdict[tuple[str, AckStatus], Counter[int]] = defaultdict(Counter)
        self._max_ns: dict[tuple[str, AckStatus], int] = {}

    def record(self, verb: str, status: AckStatus, duration_ns: int) -> None:
        """Count one answer."""
        shift = max(0, duration_ns.bit_length() - BUCKET_BITS - 1)
        self._buckets[verb, status][(shift << BUCKET_BITS) + (duration_ns >> shift)] += 1
        self._max_ns[verb, status] = max(duration_ns, self._max_ns.get((verb, status), 0))

    def outcomes(self) -> dict[tuple[str, AckStatus], LatencyStats]:
        """Return what was recorded, in the order in which each outcome was first seen."""
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

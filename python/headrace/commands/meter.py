"""CommandMeter: how many commands ended how, and how long they took.

Guarantees: bounded by the number of commands and outcomes; a percentile is at most 1/32 too high.
Does not: know commands; whoever records names them.
"""

from __future__ import annotations

from collections import Counter
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

    __slots__ = ("_histograms",)

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, AckStatus], _Histogram] = {}

    def record(self, verb: str, status: AckStatus, duration_ns: int) -> None:
        """Count one answer."""
        histogram = self._histograms.get((verb, status))
        if histogram is None:
            histogram = self._histograms[verb, status] = _Histogram()
        histogram.record(duration_ns)

    def outcomes(self) -> dict[tuple[str, AckStatus], LatencyStats]:
        """Return what was recorded, in the order in which each outcome was first seen."""
        return {key: histogram.summary() for key, histogram in self._histograms.items()}


class _Histogram:
    """Durations by bucket: exact below 64 ns, then 32 buckets to each power of two."""

    __slots__ = ("_buckets", "_max_ns")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._max_ns = 0

    def record(self, ns: int) -> None:
        shift = max(0, ns.bit_length() - BUCKET_BITS - 1)
        self._buckets[(shift << BUCKET_BITS) + (ns >> shift)] += 1
        self._max_ns = max(self._max_ns, ns)

    def summary(self) -> LatencyStats:
        count = self._buckets.total()
        buckets = sorted(self._buckets.items())

        def percentile(share: float) -> int:
            left = share * count
            for bucket, number in buckets:
                left -= number
                if left <= 0:
                    shift = max(0, (bucket >> BUCKET_BITS) - 1)
                    return min(self._max_ns, ((bucket - (shift << BUCKET_BITS) + 1) << shift) - 1)
            return self._max_ns

        p50, p90, p99, p999 = (percentile(share) for share in (0.5, 0.9, 0.99, 0.999))
        return LatencyStats(count=count, p50=p50, p90=p90, p99=p99, p999=p999, max=self._max_ns)

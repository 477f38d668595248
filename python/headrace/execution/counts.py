"""Counts of a run, and of all runs of a process.

Guarantees: a row is counted once, where its end was committed.
Does not: read the database; the backlog's age is set by the runner.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.execution.schema.states import RecommendationStatus

__all__ = ["RunCounts"]


@dataclass
class RunCounts:
    """What a run did.

    pulled : claimed. released : given back without an attempt. reaped : leases that were over. expired : ended by age.
    stale : finishes that were refused because the row was another worker's by then. refusals : by gate.
    """

    pulled: int = 0
    simulated: int = 0
    skipped: int = 0
    failed: int = 0
    sent: int = 0
    executed: int = 0
    stale: int = 0
    released: int = 0
    reaped: int = 0
    reaped_failed: int = 0
    expired: int = 0
    runs: int = 0
    seconds: float = 0.0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def processed(self) -> int:
        """How many rows this run brought to an end, or sent."""
        return self.simulated + self.skipped + self.failed + self.sent

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON holds them."""
        plain = {name: value for name, value in vars(self).items() if not isinstance(value, Counter)}
        return {
            **plain,
            "processed": self.processed,
            "seconds": round(self.seconds, 3),
            "refusals": dict(sorted(self.refusals.items())),
        }

    def count(self, status: RecommendationStatus, refused_by: Iterable[str] = ()) -> None:
        """Count a row that got this status."""
        name = status.value.lower()
        setattr(self, name, getattr(self, name) + 1)
        for gate in refused_by:
            self.refusals[gate] += 1

    def add(self, other: RunCounts) -> None:
        """Add another run's counts."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)

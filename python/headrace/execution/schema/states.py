"""The states of a recommendation, and every change between them that is allowed.

::

    PENDING ──claim──▶ PROCESSING ──▶ SIMULATED · SKIPPED · FAILED          (ends)
       │ ▲                 │ │
       │ └──reap, release──┘ └──▶ SENT ──▶ EXECUTED · FAILED                (a real order)
       └──▶ SKIPPED (expired, canceled)

Guarantees: the triggers of both databases are made from this table.
Does not: check a change in Python; the database refuses it.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["END_STATES", "TRANSITIONS", "RecommendationStatus"]


class RecommendationStatus(StrEnum):
    """The state of a recommendation."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SIMULATED = "SIMULATED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    SENT = "SENT"
    EXECUTED = "EXECUTED"


_S = RecommendationStatus
TRANSITIONS = frozenset(
    {
        (_S.PENDING, _S.PROCESSING),
        (_S.PENDING, _S.SKIPPED),
        (_S.PROCESSING, _S.PENDING),
        (_S.PROCESSING, _S.SIMULATED),
        (_S.PROCESSING, _S.SKIPPED),
        (_S.PROCESSING, _S.FAILED),
        (_S.PROCESSING, _S.SENT),
        (_S.SENT, _S.EXECUTED),
        (_S.SENT, _S.FAILED),
    }
)
END_STATES = frozenset(_S) - {before for before, _ in TRANSITIONS}

"""CommandStats: what became of the commands of one bus.

Guarantees: a copy; it does not change.
Does not: count; ``bus`` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.commands.ack import AckStatus
    from headrace.dispatch.subscription_stats import LatencyStats

__all__ = ["CommandStats"]


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

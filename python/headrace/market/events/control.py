"""Events of control: what happened to a strategy, to the run, and what operators did.

Guarantees: each names what it is about, and why.
Does not: act; commands do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.market.events.base import Event

__all__ = [
    "Audit",
    "Control",
    "StrategyStateChanged",
]


class Control(Event, frozen=True, kw_only=True):
    """An event of the engine.

    name : "ENGINE_READY", "FEED_ENDED", "STOPPING", "EOF", "LANE_RESIZED", "HALTED", "REARMED", or
        "LISTED": what a venue lists of an instrument of a live feed, at the start and at each change.
    """

    name: str
    detail: Mapping[str, Any] = {}


class StrategyStateChanged(Event, frozen=True, kw_only=True):
    """A strategy changed its state; ``version`` rises with every change."""

    strategy: str
    before: str
    after: str
    reason: str = ""
    version: int = 0


class Audit(Event, frozen=True, kw_only=True):
    """A command, or a change of what is allowed: its actor, its action and its outcome.

    outcome : the Ack's status. duration_ns : from the command's submission to its answer.
    """

    actor: str
    action: str
    target: str
    outcome: str
    reason: str = ""
    duration_ns: int = 0
    version: int = 0
    detail: Mapping[str, Any] = {}

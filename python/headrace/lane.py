"""Lane: one bounded queue of the event bus, and what it does when it is full.

::

    control ─▶ order ─▶ signal ─▶ data        who goes first; data still has one turn in sixteen

Guarantees: a lane delivers in the order in which it was published; what it drops is counted and told.
Does not: hold events; that is the bus's native core.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from headrace.limits import (
    LANE_ATTEMPTS_DATA,
    LANE_CAPACITY_CONTROL,
    LANE_CAPACITY_DATA,
    LANE_CAPACITY_ORDER,
    LANE_CAPACITY_SIGNAL,
    LANE_GROWTH_MAX,
)

__all__ = ["LANE_OPTIONS", "Lane", "LaneOptions"]


class Lane(StrEnum):
    """The lanes of the bus, highest priority first."""

    CONTROL = "control"
    ORDER = "order"
    SIGNAL = "signal"
    DATA = "data"


class LaneOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one lane behaves.

    capacity : events that causes may queue; consequences up to 8 times that.
    full : "refuse": the publisher gets LaneFullError, or waits for it; "drop_oldest": the oldest is dropped, counted
        and told by a Gap (live; a replay drains first).
    max_attempts : how often an event is given to a handler that raises, unless the handler says it is idempotent.
    growth_max : the capacity grows up to so many times itself while it stays full; 1: it never does.
    """

    capacity: int
    full: Literal["refuse", "drop_oldest"] = "refuse"
    max_attempts: int = 1
    growth_max: int = 1


LANE_OPTIONS: dict[Lane, LaneOptions] = {
    Lane.CONTROL: LaneOptions(capacity=LANE_CAPACITY_CONTROL),
    Lane.ORDER: LaneOptions(capacity=LANE_CAPACITY_ORDER, growth_max=LANE_GROWTH_MAX),
    Lane.SIGNAL: LaneOptions(capacity=LANE_CAPACITY_SIGNAL),
    Lane.DATA: LaneOptions(capacity=LANE_CAPACITY_DATA, full="drop_oldest", max_attempts=LANE_ATTEMPTS_DATA),
}

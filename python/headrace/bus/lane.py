"""Lane: one bounded queue of the event bus, and what it does when it is full.

::

    control ─▶ order ─▶ signal ─▶ data        who goes first; data still has one turn in sixteen

Guarantees: a lane delivers in the order in which it was published; what it drops is counted and told.
Does not: hold events; that is the bus's native core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from headrace.errors import OptionError
from headrace.limits import (
    LANE_ATTEMPTS_DATA,
    LANE_CAPACITY_CONTROL,
    LANE_CAPACITY_DATA,
    LANE_CAPACITY_ORDER,
    LANE_CAPACITY_SIGNAL,
    LANE_GROWTH_MAX,
)
from headrace.market.events import Lane

__all__ = ["LANE_OPTIONS", "BusStats", "HandlerStats", "LaneOptions", "LaneStats", "check_options"]


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


def check_options(lane: Lane, options: LaneOptions) -> None:
    """Refuse what a lane cannot have. Raises OptionError."""
    for name in ("capacity", "max_attempts", "growth_max"):
        value = getattr(options, name)
        if value < 1:
            msg = f"{name}={value} of the {lane} lane: must be 1 at least"
            raise OptionError(msg, option=name)


class LaneStats(NamedTuple):
    """What became of a lane's events: ``published == processed + dead + dropped + left`` at every quiet moment.

    published : taken into the lane, from publishers, handlers and redriven letters. processed : every handler is done
    with it and none failed for good. dead : a handler failed on it for good, the others have had it; one letter for
    each such handler. dropped : by a full lane, told by ``gaps`` Gaps. refused : by a full lane, and never taken.
    left : not finished; of these ``depth`` wait, the most there ever were is ``depth_max``. capacity : now.
    """

    published: int
    processed: int
    dead: int
    dropped: int
    refused: int
    gaps: int
    depth_max: int
    left: int
    depth: int
    capacity: int


class HandlerStats(NamedTuple):
    """calls : events given to it, again included. faults : how many of the calls raised."""

    calls: int
    faults: int


class BusStats(NamedTuple):
    """What became of a bus's events. retried : times an event was given to a handler again."""

    lanes: Mapping[Lane, LaneStats]
    retried: int
    handlers: Mapping[str, HandlerStats]


LANE_OPTIONS: dict[Lane, LaneOptions] = {
    Lane.CONTROL: LaneOptions(capacity=LANE_CAPACITY_CONTROL),
    Lane.ORDER: LaneOptions(capacity=LANE_CAPACITY_ORDER, growth_max=LANE_GROWTH_MAX),
    Lane.SIGNAL: LaneOptions(capacity=LANE_CAPACITY_SIGNAL),
    Lane.DATA: LaneOptions(capacity=LANE_CAPACITY_DATA, full="drop_oldest", max_attempts=LANE_ATTEMPTS_DATA),
}

"""Lane: one bounded queue of the event bus; its options, and its counts.

::

    control ─▶ order ─▶ signal ─▶ data        the order of priority; data still has one turn in sixteen

Guarantees: a lane delivers in the order of publishing; dropped events are counted and published as a Gap.
Does not: hold events; the bus's native core does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from headrace.limits import (
    LANE_ATTEMPTS_DATA,
    LANE_CAPACITY_CONTROL,
    LANE_CAPACITY_DATA,
    LANE_CAPACITY_ORDER,
    LANE_CAPACITY_SIGNAL,
    LANE_EVENTS_MAX,
    LANE_GROWTH_MAX,
)
from headrace.market.checks import of_type, one_of, whole
from headrace.market.events import Lane

__all__ = ["LANE_OPTIONS", "BusStats", "HandlerStats", "LaneOptions", "LaneStats", "options_of"]


class LaneOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one lane.

    capacity : in events; consequences (events published inside handlers) may fill up to 8 times as many.
    full : "refuse": the publisher waits for room, or gets LaneFullError; "drop_oldest": the oldest event is dropped,
        counted, and published as a Gap.
    max_attempts : how many times an event is delivered to a handler that raises, unless the handler is idempotent.
    growth_max : while the lane stays full, its capacity grows up to so many times; 1: it never grows.

    ``capacity``, ``full`` and ``growth_max`` bound what waits live. In a replay no lane is full below LANE_EVENTS_MAX
    (1,000,000) events; more raise LaneFullError. Raises OptionError.
    """

    capacity: int
    full: Literal["refuse", "drop_oldest"] = "refuse"
    max_attempts: int = 1
    growth_max: int = 1

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        one_of("full", self.full, ("refuse", "drop_oldest"))
        for name in ("capacity", "max_attempts", "growth_max"):
            whole(name, getattr(self, name), 1, LANE_EVENTS_MAX, "events" if name == "capacity" else "times")


class LaneStats(NamedTuple):
    """The counts of a lane's events: ``published == processed + dead + dropped + left`` while nothing runs.

    published : accepted by the lane, from publishers, handlers and redriven letters. processed : every handler is done
    with it and none failed for good. dead : a handler failed on it for good, after the others handled it; one letter
    for each such handler. dropped : by a full lane, published as ``gaps`` Gaps. refused : by a full lane, not counted
    in published. left : not finished; ``depth`` of these wait, ``depth_max`` is the most so far. capacity : now.
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
    """calls : events delivered to it, retries included. faults : how many of the calls raised."""

    calls: int
    faults: int


class BusStats(NamedTuple):
    """The counts of a bus. retried : how many times an event was delivered to a handler again."""

    lanes: Mapping[Lane, LaneStats]
    retried: int
    handlers: Mapping[str, HandlerStats]


LANE_OPTIONS: dict[Lane, LaneOptions] = {
    Lane.CONTROL: LaneOptions(capacity=LANE_CAPACITY_CONTROL),
    Lane.ORDER: LaneOptions(capacity=LANE_CAPACITY_ORDER, growth_max=LANE_GROWTH_MAX),
    Lane.SIGNAL: LaneOptions(capacity=LANE_CAPACITY_SIGNAL),
    Lane.DATA: LaneOptions(capacity=LANE_CAPACITY_DATA, full="drop_oldest", max_attempts=LANE_ATTEMPTS_DATA),
}


def options_of(given: Mapping[Lane, LaneOptions], *, is_replay: bool) -> dict[Lane, LaneOptions]:
    """Return the options of all lanes, highest priority first; in a replay no lane is full. Raises OptionError."""
    of_type("lanes", given, Mapping)
    for lane in given:
        one_of("a key of lanes", lane, Lane)
    known = {lane: given.get(lane, usual) for lane, usual in LANE_OPTIONS.items()}
    for lane, options in known.items():
        of_type(f"lanes[{str(lane)!r}]", options, LaneOptions)
    if not is_replay:
        return known
    return {
        lane: LaneOptions(capacity=LANE_EVENTS_MAX, max_attempts=options.max_attempts)
        for lane, options in known.items()
    }

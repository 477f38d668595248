"""Publisher: what the native core leaves of a publish: stamping an event, and waiting for room in its lane.

::

    publish ─▶ stamp ─▶ room? ─┬▶ yes: the event is in its lane
                               └▶ no: a handler, or the bus's own thread: LaneFullError at once
                                      other threads, and ``await publish``: wait, then LaneFullError

Guarantees: a wait ends with room, after LANE_WAIT_S of the bus's clock, or after BARRIER_S of wall time.
Does not: deliver events.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import LaneFullError
from headrace.limits import BARRIER_S, CONSEQUENCES_MAX, LANE_EVENTS_MAX, LANE_WAIT_S
from headrace.market.events import Control, Lane, stamped

if TYPE_CHECKING:
    from collections.abc import Callable

    import headrace._native as _native
    from headrace.bus.registry import Declared, Subscribers
    from headrace.market.clock import Clock
    from headrace.market.events import Event

__all__ = ["Publisher", "Waiting"]

log = logging.getLogger(__name__)

_LANES = tuple(Lane)


class Waiting(NamedTuple):
    """An event that waits for room. since_ns, since_s : by the bus's clock, and by the wall clock."""

    event: Event
    declared: Declared
    is_consequence: bool
    since_ns: int
    since_s: float


class Publisher:
    """Puts the events of one bus in their lanes.

    current : returns the event that is being handled, and its handler's name.
    """

    def __init__(
        self,
        core: _native.BusCore,
        clock: Clock,
        run_id: str,
        subscribers: Subscribers,
        current: Callable[[], tuple[Event, str] | None],
    ) -> None:
        self._core = core
        self._clock = clock
        self._run_id = run_id
        self._subscribers = subscribers
        self._current = current

    def publish(self, event: Event, *, by_owner: bool = False, is_consequence: bool = False) -> Waiting | None:
        """Stamp an event and publish it if there is room; otherwise return it, to wait.

        is_consequence : also outside handlers; what a handler publishes is one in any case.
        """
        declared = self._subscribers.declared(event, by_owner=by_owner)
        current, now_ns = self._current(), self._clock.now_ns()
        if not event.ts:
            cause, source = (None, "") if current is None else (current[0].cause, current[1])
            event = stamped(event, source=source, ts=now_ns, run_id=self._run_id, cause=cause)
        waiting = Waiting(event, declared, is_consequence or current is not None, now_ns, time.monotonic())
        return None if self.push(waiting) else waiting

    def push(self, waiting: Waiting, only: _native.BusHandler | None = None) -> bool:
        """Put an event in its lane and return True, if there is room. only : for this handler alone."""
        taken = self._core.push(
            waiting.event, consequence=waiting.is_consequence, now_ns=self._clock.now_ns(), only=only
        )
        if waiting.declared.options.growth_max > 1:
            self.report_resized()
        return taken

    def give_again(self, event: Event, handler: _native.BusHandler) -> None:
        """Put an event in its lane for one handler. Raises LaneFullError."""
        declared = self._subscribers.declared(event, by_owner=True)
        waiting = Waiting(event, declared, False, self._clock.now_ns(), time.monotonic())  # noqa: FBT003 - its field
        if not self.push(waiting, handler):
            raise self.full(waiting)

    def left_s(self, waiting: Waiting) -> float:
        """Return how long a publisher still waits: a second of the clock, at most 30 s of wall time."""
        return min(LANE_WAIT_S - self.waited_s(waiting), waiting.since_s + BARRIER_S - time.monotonic())

    def waited_s(self, waiting: Waiting) -> float:
        """Return how long a publisher has waited, by the bus's clock."""
        return (self._clock.now_ns() - waiting.since_ns) / 1e9

    def full(self, waiting: Waiting, waited_s: float = 0.0) -> LaneFullError:
        """Return the error of an event that found no room."""
        lane, capacity = waiting.declared.lane, self._core.counts()[waiting.declared.number][-1]
        advice = "its handlers are slower than its publishers: publish less, or set a larger capacity"
        if capacity >= LANE_EVENTS_MAX:
            advice = "a replay holds no more at one time: a handler answers each event with another, or more"
        elif waiting.is_consequence:
            capacity *= CONSEQUENCES_MAX
            advice = "a handler publishes too many events: publish fewer per event"
        msg = f"the {lane} lane is full: {capacity} events wait in it, no room after {waited_s:.3f} s; {advice}"
        return LaneFullError(msg, lane=str(lane), capacity=capacity, waited_s=waited_s)

    def report_resized(self) -> None:
        """Publish the lanes that changed their capacity; as a consequence, so that a full lane accepts it."""
        for number, before, after in self._core.take_resized():
            now_ns = self._clock.now_ns()
            detail = {"lane": str(_LANES[number]), "capacity_before": before, "capacity": after}
            event = Control(source="bus", ts=now_ns, run_id=self._run_id, name="LANE_RESIZED", detail=detail)
            if not self._core.push(event, consequence=True, now_ns=now_ns):
                log.error("the control lane is full: LANE_RESIZED of the %s lane was not published", _LANES[number])
            log.info("the %s lane takes %d events now, %d before", _LANES[number], after, before)

"""The base of every event: its lane, and the ticks that it was decided on.

Guarantees: an event is immutable; the bus fills in what its publisher left empty.
Does not: list the types of events.
"""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum

import msgspec

__all__ = [
    "Cause",
    "Event",
    "Lane",
    "current_cause",
    "stamped",
]


class Lane(StrEnum):
    """The lanes of the bus, highest priority first."""

    CONTROL = "control"
    ORDER = "order"
    SIGNAL = "signal"
    DATA = "data"


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The tick, or the batch of ticks, that something was decided on.

    instrument : ``SYMBOL.VENUE``, None for a gap in every instrument. kind : the tick's.
    first, last : ``seq`` of the first and last tick of the handler's call; equal for a singular handler.
    ts_init : when the last of them was received, ns.
    """

    instrument: str | None
    kind: str
    first: int
    last: int
    ts_init: int


# The ticks of the async handler that runs in this task; tasks that it starts inherit them.
current_cause: ContextVar[Cause | None] = ContextVar("headrace_cause", default=None)


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """The base of every event. The bus fills in these fields where they are empty.

    source : its publisher. ts : when it was published, by the engine's clock, ns. run_id : of the engine's run.
    cause : the ticks that it was decided on; None when there were none.
    """

    source: str = ""
    ts: int = 0
    run_id: str = ""
    cause: Cause | None = None


def stamped(event: Event, *, source: str, ts: int, run_id: str, cause: Cause | None) -> Event:
    """Return a copy of an event with these values in its empty fields; 1 µs."""
    return msgspec.structs.replace(
        event,
        source=event.source or source,
        ts=event.ts or ts,
        run_id=event.run_id or run_id,
        cause=cause if event.cause is None else event.cause,
    )

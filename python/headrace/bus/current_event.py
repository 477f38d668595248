"""Handling: the event that the current task is handling; events that the task publishes are consequences of it.

Guarantees: a task that a handler starts and leaves running handles nothing once the handler has ended.
Does not: cover plain handlers; the bus's native core does.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.market.events import Event

__all__ = ["Handling", "handling_in"]


class Handling:
    """One event in one async handler, or in the body of one ``consume()``.

    bus : the event's bus. name : the handler's. waits_for : what the handler itself waits for, None when unknown.
    """

    __slots__ = ("bus", "event", "is_over", "name", "waits_for")

    def __init__(self, bus: object, event: Event, name: str) -> None:
        self.bus = bus
        self.event = event
        self.name = name
        self.is_over = False
        self.waits_for: str | None = None


HANDLING: ContextVar[Handling | None] = ContextVar("headrace_handling", default=None)


def handling_in(bus: object) -> Handling | None:
    """Return the Handling of the event of this bus that the current task is handling, or None."""
    handling = HANDLING.get()
    if handling is None or handling.is_over or handling.bus is not bus:
        return None
    return handling

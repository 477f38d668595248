"""Handling: which event the running task is at, so that what it publishes is known for a consequence.

Guarantees: a task that a handler starts and leaves running is at nothing once the handler has ended.
Does not: know plain handlers; the bus's native core does.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.market.events import Event

__all__ = ["Handling", "handling_in"]


class Handling:
    """One event given to one async handler, or to the body of one ``consume()``.

    bus : whose event it is. name : the handler's. waits_for : what it waits for in its turn, when the bus knows.
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
    """Return what the running task is at on this bus, None when it is at nothing."""
    handling = HANDLING.get()
    if handling is None or handling.is_over or handling.bus is not bus:
        return None
    return handling

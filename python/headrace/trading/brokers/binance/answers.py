"""Answers: events of the broker's threads, on their way to the bus of its engine.

::

    a thread of the broker ─▶ publish ─▶ the loop that ran at ``attach`` ─▶ bus, or wait for room and try again
                                    └▶ there was no loop: the bus, at once

Guarantees: events arrive in the order in which they were published; one that finds no room in its lane is not lost.
Does not: hold what is published after the bus has closed; the log names it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from headrace.errors import ClosedError, LaneFullError
from headrace.market.events import Status
from headrace.market.instrument import instrument_of

if TYPE_CHECKING:
    from headrace.market.events import Event, OrderAmendRequested, OrderRequested
    from headrace.market.instrument import Instrument
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["Answers"]

log = logging.getLogger(__name__)

# A lane that is full drains within a turn or a few.
RETRY_S = 0.01


class Answers:
    """The events of one broker. name : what they call it. Made in the engine's own thread."""

    def __init__(self, name: str, context: BrokerContext) -> None:
        self._name = name
        self._context = context
        self._waiting: deque[Event] = deque()
        self._is_late = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def instrument(self, name: str) -> Instrument:
        """Return what is known of an instrument."""
        return instrument_of(self._context.instruments, name)

    def say(self, subject: str, state: str, reason: str) -> None:
        """Publish a Status; from any thread."""
        self.publish(Status(source=self._name, subject=subject, state=state, reason=reason))

    def said(self, request: OrderRequested | OrderAmendRequested) -> dict[str, Any]:
        """Return the fields that all events of an order have."""
        return {
            "source": self._name,
            "ts": self._context.clock.now_ns(),
            "run_id": request.run_id,
            "cause": request.cause,
            "order_id": request.order_id,
            "strategy": request.strategy,
            "instrument": request.instrument,
        }

    def publish(self, event: Event) -> None:
        """Publish an event; from any thread."""
        if self._loop is None:
            self._context.publish(event)
            return
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:
            log.warning("%s came after the end of the engine's loop: %s", type(event).__name__, event)

    def _take(self, event: Event) -> None:
        self._waiting.append(event)
        if not self._is_late:
            self._go_on()

    def _go_on(self) -> None:
        self._is_late = False
        while self._waiting:
            event = self._waiting.popleft()
            try:
                self._context.publish(event)
            except LaneFullError:
                self._waiting.appendleft(event)
                self._context.held_back += 1
                self._is_late = True
                assert self._loop is not None  # It runs this.
                self._loop.call_later(RETRY_S, self._go_on)
                return
            except ClosedError:
                log.warning("this came after the engine's end: %s", event)

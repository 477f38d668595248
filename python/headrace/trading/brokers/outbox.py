"""Outbox: what the simulated broker publishes of its orders, and the answers that wait for room on the bus.

Guarantees: events leave in the order in which the broker decided them; an answer that found no room leaves before
whatever follows it.
Does not: decide anything, or try again by itself.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from headrace.errors import OrderError

if TYPE_CHECKING:
    from headrace.market.events import OrderAmendRequested, OrderEvent, OrderRequested
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["Outbox"]

log = logging.getLogger(__name__)


class Outbox:
    """The events of one broker. name : what they call it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._context: BrokerContext | None = None
        self._waiting: deque[OrderEvent] = deque()

    @property
    def name(self) -> str:
        """What events call the broker."""
        return self._name

    @property
    def is_attached(self) -> bool:
        """Whether an engine has the broker."""
        return self._context is not None

    def attach(self, context: BrokerContext) -> None:
        """Publish on this engine's bus from now on."""
        self._context = context

    @property
    def context(self) -> BrokerContext:
        """What the engine provides. Raises OrderError before ``attach``."""
        if self._context is None:
            msg = f"the {self._name} broker has no desk: call attach(BrokerContext(...)) first, as an engine does"
            raise OrderError(msg, field="broker")
        return self._context

    def said(self, request: OrderRequested | OrderAmendRequested) -> dict[str, Any]:
        """Return the fields that all events of an order have."""
        return {
            "source": self._name,
            "ts": self.context.clock.now_ns(),
            "run_id": request.run_id,
            "cause": request.cause,
            "order_id": request.order_id,
            "strategy": request.strategy,
            "instrument": request.instrument,
        }

    def publish(self, event: OrderEvent) -> None:
        """Publish what waits, then an event. Raises LaneFullError."""
        if self._waiting:
            self.publish_waiting()
        self.context.publish(event)

    def publish_waiting(self) -> None:
        """Publish what waits. Raises LaneFullError; then the rest waits on."""
        while self._waiting:
            self.context.publish(self._waiting[0])
            self._waiting.popleft()

    def keep(self, event: OrderEvent) -> None:
        """Keep an event until there is room."""
        self._waiting.append(event)
        self.hold_back(1)

    def hold_back(self, count: int) -> None:
        """Count orders that found no room; the first are logged."""
        if not self.context.held_back:
            log.warning("the order lane has no room for fills of the %s broker: they wait for a quote", self._name)
        self.context.held_back += count

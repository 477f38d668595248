"""Outbox: what the simulated broker publishes of its orders, and the answers that wait for room on the bus.

Guarantees: events leave in the order in which the broker decided them; an answer that found no room leaves before
whatever follows it.
Does not: decide anything, or try again by itself.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.errors import OrderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.market.events import OrderAmendRequested, OrderEvent, OrderRequested
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["Outbox"]

log = logging.getLogger(__name__)


class Outbox:
    """The events of one broker. name : what events call it. now_ns : returns the time of the engine's clock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._context: BrokerContext | None = None
        self.now_ns: Callable[[], int] = self._refuse
        self._publish: Callable[[OrderEvent], None] = self._refuse
        self._waiting: deque[OrderEvent] = deque()

    @property
    def is_attached(self) -> bool:
        """Whether an engine has the broker."""
        return self._context is not None

    def attach(self, context: BrokerContext) -> None:
        """Publish on this engine's bus from now on."""
        self._context = context
        self.now_ns = context.clock.now_ns
        self._publish = context.publish

    @property
    def context(self) -> BrokerContext:
        """What the engine provides. Raises OrderError before ``attach``."""
        if self._context is None:
            self._refuse()
        return self._context

    def _refuse(self, *_: object) -> NoReturn:
        msg = f"the {self.name} broker has no desk: call attach(BrokerContext(...)) first, as an engine does"
        raise OrderError(msg, field="broker")

    def said(self, request: OrderRequested | OrderAmendRequested) -> dict[str, Any]:
        """Return the fields that all events of an order have."""
        return {
            "source": self.name,
            "ts": self.now_ns(),
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
        self._publish(event)

    def publish_waiting(self) -> None:
        """Publish what waits. Raises LaneFullError; then the rest waits on."""
        while self._waiting:
            self._publish(self._waiting[0])
            self._waiting.popleft()

    def keep(self, event: OrderEvent) -> None:
        """Keep an event until there is room."""
        self._waiting.append(event)
        self.hold_back(1)

    def hold_back(self, count: int) -> None:
        """Count orders that found no room; the first are logged."""
        if not self.context.held_back:
            log.warning("the order lane has no room for fills of the %s broker: they wait for a quote", self.name)
        self.context.held_back += count

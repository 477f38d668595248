"""Notices: the events that the orders' manager itself publishes, and those that it refused.

Guarantees: every notice carries the cause of what it is about; each refusal is counted, logged and audited.
Does not: decide anything.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypedDict

from headrace.errors import LaneFullError
from headrace.market.events import Audit, Cause, OrderCanceled, OrderRejected, PositionChanged

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.errors import OrderError
    from headrace.market.clock import Clock
    from headrace.market.events import OrderEvent, OrderRequested
    from headrace.trading.positions import Position
    from headrace.trading.risk import Refusal

__all__ = ["Notices"]

log = logging.getLogger(__name__)

# Refused events that ``is_refused`` remembers: far more than a bus holds at once.
REFUSED_KEPT = 1_000


class _Stamps(TypedDict):
    source: str
    ts: int
    run_id: str
    cause: Cause | None


class Notices:
    """Publishes the events of one manager."""

    def __init__(self, bus: EventBus, clock: Clock, run_id: str) -> None:
        self.refused_total = 0
        self._bus = bus
        self._clock = clock
        self._run_id = run_id
        # By its id: the event itself, and no equal one.
        self._refused: dict[int, OrderEvent] = {}

    def reject(self, request: OrderRequested, refusal: Refusal) -> None:
        """Publish that a gate refused an order. Raises LaneFullError."""
        gate, verdict = refusal
        self._bus.publish_nowait(
            OrderRejected(
                **self._stamps(request.cause),
                order_id=request.order_id,
                strategy=request.strategy,
                instrument=request.instrument,
                gate=gate,
                observed=str(verdict.observed),
                threshold=str(verdict.threshold),
                reason=verdict.reason,
            )
        )

    def cancel(self, request: OrderRequested, reason: str) -> None:
        """Publish that an order was canceled before it was sent. Raises LaneFullError."""
        self._bus.publish_nowait(
            OrderCanceled(
                **self._stamps(request.cause),
                order_id=request.order_id,
                strategy=request.strategy,
                instrument=request.instrument,
                left=request.quantity,
                reason=reason,
            )
        )

    def position(self, position: Position, cause: Cause | None) -> None:
        """Publish a position. Raises LaneFullError."""
        self._bus.publish_nowait(
            PositionChanged(
                **self._stamps(cause),
                strategy=position.strategy,
                instrument=position.instrument,
                quantity=position.quantity,
                average_price=position.average_price,
                realized_pnl=position.realized_pnl,
                fees=position.fees,
                currency=position.currency,
            )
        )

    def refuse(self, event: OrderEvent, error: OrderError) -> None:
        """Count, log and audit an event that is refused. The caller raises the error, and the bus keeps a letter."""
        self.refused_total += 1
        self._refused[id(event)] = event
        if len(self._refused) > REFUSED_KEPT:
            del self._refused[next(iter(self._refused))]
        log.error("%s", error)
        audit = Audit(
            **self._stamps(event.cause),
            actor=event.source,
            action=type(event).__name__,
            target=event.order_id,
            outcome="rejected",
            reason=str(error),
        )
        try:
            self._bus.publish_nowait(audit)
        except LaneFullError:
            log.exception("the audit of this refusal found no room in its lane")

    def is_refused(self, event: OrderEvent) -> bool:
        """Whether this very event was refused."""
        return id(event) in self._refused

    def _stamps(self, cause: Cause | None) -> _Stamps:
        return {"source": "orders", "ts": self._clock.now_ns(), "run_id": self._run_id, "cause": cause}

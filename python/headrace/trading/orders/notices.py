"""Notices: the events that the orders' manager itself publishes, and those that it refused.

What happens when the order lane is full
    a notice waits, behind those that wait already, until ``go_on``: no order is left without its end.

Guarantees: every notice carries the cause of what it is about; each refusal is counted, logged and audited.
Does not: decide anything.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, TypedDict

from headrace.errors import LaneFullError
from headrace.limits import FLATTEN_S
from headrace.market.events import (
    Audit,
    Cause,
    OrderAmendRejected,
    OrderCanceled,
    OrderRejected,
    PositionChanged,
)

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.errors import OrderError
    from headrace.market.clock import Clock
    from headrace.market.events import Event, OrderAmendRequested, OrderEvent, OrderRequested
    from headrace.trading.orders.flattening import Overdue
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

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self.refused_total = 0
        # Those that found no room.
        self.waiting: deque[Event] = deque()
        self._bus = bus
        self._clock = clock
        self._run_id = bus.run_id
        # By its id: the event itself, and no equal one.
        self._refused: dict[int, OrderEvent] = {}

    def reject(self, request: OrderRequested, refusal: Refusal) -> None:
        """Publish that a gate refused an order."""
        self._refuse(OrderRejected, request, refusal)

    def reject_amend(self, request: OrderRequested | OrderAmendRequested, refusal: Refusal) -> None:
        """Publish that an order stays as it is."""
        self._refuse(OrderAmendRejected, request, refusal)

    def _refuse(
        self,
        kind: type[OrderRejected | OrderAmendRejected],
        request: OrderRequested | OrderAmendRequested,
        refusal: Refusal,
    ) -> None:
        gate, verdict = refusal
        self._publish(
            kind(
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
        """Publish that an order was canceled before it was sent."""
        self._publish(
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
        """Publish a position."""
        self._publish(
            # Its stamps are written out, since each execution has one.
            PositionChanged(
                source="orders",
                ts=self._clock.now_ns(),
                run_id=self._run_id,
                cause=cause,
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
        self._audit(event.cause, event.source, type(event).__name__, event.order_id, "rejected", str(error))

    def overdue(self, flatten: Overdue) -> None:
        """Log and audit that a flatten has closed what was held before all of its orders were over."""
        orders = ", ".join(f"{order.order_id} ({order.standing})" for order in flatten.open_orders)
        reason = f"{orders} did not end within {FLATTEN_S:g} s; what is held now is closed: ask the broker for the rest"
        self._audit(flatten.cause, "orders", "Flatten", f"{flatten.strategy} {flatten.instrument}", "failed", reason)

    def go_on(self) -> None:
        """Publish what waits, as far as there is room."""
        waiting, self.waiting = self.waiting, deque()
        for event in waiting:
            self._publish(event)

    def _publish(self, event: Event) -> None:
        if not self.waiting:
            try:
                self._bus.publish_nowait(event)
            except LaneFullError:
                pass
            else:
                return
        self.waiting.append(event)

    def _audit(self, cause: Cause | None, actor: str, action: str, target: str, outcome: str, reason: str) -> None:
        log.error("%s", reason)
        audit = Audit(**self._stamps(cause), actor=actor, action=action, target=target, outcome=outcome, reason=reason)
        try:
            self._bus.publish_nowait(audit)
        except LaneFullError:
            log.exception("its audit found no room in its lane")

    def is_refused(self, event: OrderEvent) -> bool:
        """Whether this very event was refused."""
        return id(event) in self._refused

    def _stamps(self, cause: Cause | None) -> _Stamps:
        return {"source": "orders", "ts": self._clock.now_ns(), "run_id": self._run_id, "cause": cause}

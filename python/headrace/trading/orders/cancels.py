"""Cancels: the orders that are to be canceled, on their way to the broker.

::

    begin ─┬▶ not sent yet: the manager cancels it instead of sending it
           └▶ sent: Broker.cancel, now; with the next event where another thread asks, or the broker finds no room

Guarantees: no cancel is lost; where the broker raises, the order is as it was before.
Does not: publish; the manager and the broker do.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from headrace.errors import BrokerError, LaneFullError
from headrace.trading.brokers.base import call_broker
from headrace.trading.orders.order import OrderState

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.market.clock import Clock
    from headrace.market.events import Cause
    from headrace.trading.brokers.base import Broker
    from headrace.trading.orders.table import OrderTable
    from headrace.trading.risk import RiskGates

__all__ = ["Cancels"]

log = logging.getLogger(__name__)


class Cancels:
    """The cancels of one manager. is_own_thread : whether the broker may be called in this thread."""

    def __init__(
        self,
        table: OrderTable,
        gates: RiskGates,
        broker: Broker | None,
        clock: Clock,
        is_own_thread: Callable[[], bool],
    ) -> None:
        self._table = table
        self._gates = gates
        self._broker = broker
        self._clock = clock
        self._is_own_thread = is_own_thread
        # Those that ``go_on`` sends.
        self.waiting: dict[str, Cause | None] = {}

    def begin(self, order_id: str, reason: str, cause: Cause | None) -> Literal["accepted", "noop"]:
        """Mark an order as canceled, and have its broker cancel it. Raises BrokerError."""
        order = self._table.get(order_id)
        if order is None or not order.is_open or order.state is OrderState.PENDING_CANCEL:
            return "noop"
        self._table.mark_cancel(order_id, reason, self._clock.now_ns())
        if order.is_sent:
            self._gates.count_message(order.strategy)
            self._send(order_id, cause)
        return "accepted"

    def go_on(self) -> None:
        """Send the cancels that had to wait; on the bus's own thread."""
        waiting, self.waiting = self.waiting, {}
        for order_id, cause in waiting.items():
            order = self._table.get(order_id)
            if order is None or not order.is_open:
                continue
            try:
                self._send(order_id, cause)
            except BrokerError:
                log.exception("the broker could not cancel order %s: it is open as before", order_id)

    def _send(self, order_id: str, cause: Cause | None) -> None:
        assert self._broker is not None  # An order is sent to a broker only.
        if not self._is_own_thread():
            self.waiting[order_id] = cause
            return
        try:
            call_broker(self._broker, "cancel", order_id, cause)
        except LaneFullError:
            # The broker found no room for its answer: again with the next event.
            self.waiting[order_id] = cause
        except BrokerError:
            self._table.unmark_cancel(order_id)
            raise

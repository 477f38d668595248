"""Sending: a judged order, back from the bus, goes to the broker, unless something happened in between.

::

    OrderRequested, passed ─▶ canceled since? halted since? its OCO partner filled since? ─▶ Broker.submit

What happens when ``Broker.submit`` raises
    the outcome is unknown: the order stays open, with that as its reason, is counted as such, and is not sent again.

Guarantees: an order is sent at most once.
Does not: judge orders; that was done before they were published.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headrace.errors import BrokerError, LaneFullError, OrderError
from headrace.trading.brokers.base import call_broker
from headrace.trading.orders.order import PENDING_CANCEL, UNKNOWN

if TYPE_CHECKING:
    from headrace.market.events import OrderRequested
    from headrace.trading.brokers.base import Broker
    from headrace.trading.orders.judge import Judge
    from headrace.trading.orders.liquidations import Liquidations
    from headrace.trading.orders.notices import Notices
    from headrace.trading.orders.table import OrderTable
    from headrace.trading.risk import RiskGates

__all__ = ["Sending"]

log = logging.getLogger(__name__)


class Sending:
    """What sends the orders of one manager."""

    def __init__(
        self,
        table: OrderTable,
        gates: RiskGates,
        judge: Judge,
        notices: Notices,
        liquidations: Liquidations,
        broker: Broker | None,
    ) -> None:
        self._table = table
        self._gates = gates
        self._judge = judge
        self._notices = notices
        self._liquidations = liquidations
        self._broker = broker

    def send(self, request: OrderRequested) -> None:
        """Send an order that passed the gates to the broker. Raises OrderError, BrokerError and LaneFullError."""
        if request.verdict != "passed":
            return
        order_id = request.order_id
        order = self._table.get(order_id)
        if order is None or order.is_sent or not order.is_open:
            msg = f"order {order_id!r} is refused: it was sent, or has ended; submit a new one"
            error = OrderError(msg, field="order_id")
            self._notices.refuse(request, error)
            raise error
        if order.state is PENDING_CANCEL:
            self._notices.cancel(request, self._table.cancel_reason(order_id) or "canceled before it was sent")
            return
        if self._gates.is_halted and not self._liquidations.has(order_id):
            refusal = self._gates.check_halted(request, self._judge.exposure(request))
            if refusal is not None:
                self._notices.reject(request, refusal)
                return
        if request.oco and self._table.is_filled(request.oco):
            self._notices.cancel(request, f"its OCO partner {request.oco} was filled before")
            return
        assert self._broker is not None  # Without one no order passes.
        self._table.mark(order_id, is_sent=True)
        method, arguments = self._liquidations.call_of(request)
        try:
            call_broker(self._broker, method, *arguments)
        except (BrokerError, LaneFullError) as error:
            self._table.mark(order_id, reason=f"{UNKNOWN}: {error}")
            log.exception("order %s: the broker raised; whether it has the order is unknown", order_id)
            raise

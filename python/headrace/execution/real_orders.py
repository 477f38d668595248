"""RealOrders: real orders of a worker, through the same Broker as an engine's, and their outcomes.

::

    PROCESSING ─▶ SENT (client order id committed) ─▶ submit ─▶ an answer, or outcome() by id ─▶ EXECUTED · FAILED

What happens when the outcome is not known
    The row stays SENT. Each run asks again; nothing is sent again. A venue that denies the order until the horizon
    (``outcome_horizon_minutes``) ends it as FAILED.

Guarantees: an order is sent once, after its id is committed; a row that is SENT is never reaped or claimed.
Does not: cancel.
"""

from __future__ import annotations

import queue
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.errors import HeadraceError
from headrace.execution.database.base import transaction
from headrace.execution.ledger import insert_execution
from headrace.execution.pricing import Plan
from headrace.execution.values import canonical
from headrace.limits import ORDER_ANSWER_S
from headrace.market.clock import WallClock
from headrace.market.events import (
    Event,
    OrderCanceled,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OrderRequested,
    Status,
)
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.base import BrokerContext, call_broker
from headrace.trading.brokers.outcome import OrderOutcome

if TYPE_CHECKING:
    from headrace.execution.database.base import Connection, Value
    from headrace.execution.settings import ExecutionSettings
    from headrace.trading.brokers.outcome import AskableBroker

__all__ = ["RealOrders", "SentOrder", "sent_orders", "settle"]

_SENT = """
SELECT id, ticker, client_order_id, CAST(plan_json AS TEXT), MS(NOW()) - MS(sent_at) FROM dispatch_recommendations
WHERE status = 'SENT' AND id = COALESCE(CAST(:id AS BIGINT), id) ORDER BY sent_at, id LIMIT 100
"""
_SETTLE = """
UPDATE dispatch_recommendations SET status = :status, processed_at = NOW(), failure_reason = :why
WHERE id = :id AND status = 'SENT' AND client_order_id = :client_order_id
"""


class SentOrder(NamedTuple):
    """A row that is SENT. values : of its execution, as the decision made them. age_ms : since it was sent."""

    id: int
    ticker: str
    client_order_id: str
    values: dict[str, Any]
    age_ms: int

    @property
    def plan(self) -> Plan:
        """What was decided."""
        return Plan.from_document(self.values["plan"])


class RealOrders:
    """A broker, attached for one worker."""

    def __init__(self, broker: AskableBroker) -> None:
        self._broker = broker
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        context = BrokerContext(publish=self._events.put, clock=WallClock(), dispatcher=None, mode="live")
        call_broker(broker, "attach", context)

    def close(self) -> None:
        """Close the broker."""
        call_broker(self._broker, "close")

    def send(self, order: SentOrder) -> OrderOutcome | None:
        """Send an order whose row is SENT, and wait for its answer; None: the outcome is not known."""
        while not self._events.empty():
            self._events.get()
        plan = order.plan
        request = OrderRequested(
            order_id=order.client_order_id,
            strategy="execution",
            instrument=order.ticker,
            side=1 if plan.side > 0 else -1,
            order_type="market",
            quantity=plan.qty,
            ts=time.time_ns(),
            verdict="passed",
        )
        call_broker(self._broker, "submit", request)
        return self._answer(order.client_order_id)

    def ask(self, order: SentOrder) -> OrderOutcome | None:
        """Ask for the outcome of an order; None: it is not known now."""
        try:
            return self._broker.outcome(order.client_order_id, order.ticker)
        except HeadraceError:
            return None

    def _answer(self, order_id: str) -> OrderOutcome | None:
        """Wait for what ends an order; None: it is not known, or nothing comes in time."""
        deadline, filled, value = time.monotonic() + ORDER_ANSWER_S, ZERO, ZERO
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left_s)
            except queue.Empty:
                return None
            if isinstance(event, Status) and event.subject == order_id:
                return None
            if getattr(event, "order_id", order_id) != order_id:
                continue
            if isinstance(event, OrderFilled | OrderPartiallyFilled):
                filled += event.quantity
                value += MONEY.multiply(event.quantity, event.price)
            average = MONEY.divide(value, filled) if filled else ZERO
            if isinstance(event, OrderFilled):
                return OrderOutcome("filled", filled, average)
            if isinstance(event, OrderRejected | OrderCanceled):
                return OrderOutcome("ended", filled, average, event.reason)
        return None


def sent_orders(connection: Connection, number: int | None = None) -> list[SentOrder]:
    """Return the oldest rows that are SENT. number : the id of one of them."""
    rows = connection.rows(_SENT, {"id": number})
    return [SentOrder(number, ticker, own, msgspec.json.decode(text), age) for number, ticker, own, text, age in rows]


def settle(
    connection: Connection, order: SentOrder, outcome: OrderOutcome | None, settings: ExecutionSettings
) -> str | None:
    """Write the outcome of an order; return its status, or None while it is not known.

    Another worker may settle it at the same time: then its status stays, and None is returned.
    """
    if outcome is None or outcome.state == "open":
        return None
    if outcome.state == "missing" and order.age_ms < settings.outcome_horizon_minutes * 60_000:
        return None
    status, why = "EXECUTED", None
    if not outcome.filled:
        status, why = "FAILED", f"order {order.client_order_id}: {outcome.reason or outcome.state}"
    values: dict[str, Value] = {
        "id": order.id,
        "status": status,
        "why": why,
        "client_order_id": order.client_order_id,
    }
    with transaction(connection):
        if connection.changed(_SETTLE, values) != 1:
            return None
        if status == "EXECUTED":
            insert_execution(connection, _execution(connection, order, outcome))
    return status


def _execution(connection: Connection, order: SentOrder, outcome: OrderOutcome) -> dict[str, Value]:
    """Return the ledger's row: what was decided, at the price and quantity that the venue gave."""
    [[now]] = connection.rows("SELECT MS(NOW())")
    own = {name: value for name, value in order.values.items() if name != "plan"}
    return {
        **own,
        "done": now,
        "entry_price": canonical(Decimal(outcome.average_price)),
        "qty": canonical(outcome.filled),
        "notional": canonical(MONEY.multiply(outcome.filled, outcome.average_price)),
        "mode": "REAL",
        "client_order_id": order.client_order_id,
    }

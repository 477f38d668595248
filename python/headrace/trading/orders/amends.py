"""Amends: other quantities and prices for open orders, through the gates to the broker.

::

    amend ─▶ check ─▶ RiskGates, for what is left of the order ─▶ OrderAmendRequested, with their verdict ─▶ (bus)
                └▶ OrderError       └▶ when refused, OrderAmendRejected behind it         Broker.amend ◀────┘
                                              OrderAmended, or OrderAmendRejected ◀────────────┘

What happens when the order fills or ends before the change arrives
    the broker answers with OrderAmendRejected, or with what is left then; the order has one end in any case.
What happens when another thread amends
    the values are checked there; the order is looked at, judged and published on the bus's own thread, soon.

Guarantees: a change is judged like an order, beside everything else that works; the larger of both quantities counts
until the broker has answered.
Does not: change an order's side, kind or times.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, TypedDict

import msgspec

from headrace.errors import BrokerError, LaneFullError, OrderError
from headrace.market.events import OrderAmendRequested
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.base import AmendingBroker, call_broker
from headrace.trading.orders.order import OrderState
from headrace.trading.orders.request import amount, check_names, trail_of
from headrace.trading.risk import GateVerdict, Refusal

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace.market.events import Cause, OrderRequested
    from headrace.market.money import Amount
    from headrace.trading.brokers.base import Broker
    from headrace.trading.orders.judge import Judge
    from headrace.trading.orders.notices import Notices
    from headrace.trading.orders.order import Order
    from headrace.trading.orders.table import OrderTable

__all__ = ["AmendOptions", "Amends"]

log = logging.getLogger(__name__)


class AmendOptions(TypedDict, total=False):
    """What ``Strategy.amend`` takes, which describes it."""

    quantity: Amount | None
    price: Amount | None
    stop: Amount | None
    take_profit: Amount | None
    trail: Amount | None


# The field of a request that an option changes, and the types of orders that have it.
FIELDS: dict[str, tuple[str, frozenset[str]]] = {
    "price": ("price", frozenset({"limit", "stop_limit", "take_profit_limit"})),
    "stop": ("trigger_price", frozenset({"stop", "stop_limit"})),
    "take_profit": ("trigger_price", frozenset({"take_profit", "take_profit_limit"})),
    "trail": ("trail", frozenset({"trailing_stop", "trailing_stop_limit"})),
}


class Amends:
    """The changes of one manager's orders."""

    def __init__(self, table: OrderTable, judge: Judge, notices: Notices, broker: Broker | None) -> None:
        self._table = table
        self._judge = judge
        self._notices = notices
        self._broker = broker

    def checked(self, order: Order, options: AmendOptions) -> dict[str, Decimal]:
        """Return the fields of the request that change. Raises OrderError."""
        check_names(options, AmendOptions, "an amend")
        given = {name: value for name, value in options.items() if value is not None}
        request = order.request
        changes: dict[str, Decimal] = {}
        for name, value in given.items():
            if name == "quantity":
                changes["quantity"] = amount(name, value)  # type: ignore[arg-type]  # of a TypedDict
                continue
            field, types = FIELDS.get(name, ("", frozenset()))
            if request.order_type not in types:
                has = ["quantity", *(own for own, (_, of) in FIELDS.items() if request.order_type in of)]
                msg = f"{name} is nothing that a {request.order_type} order can be amended in: give {', '.join(has)}"
                raise OrderError(msg, field=name)
            changes[field] = _trail(value, request) if name == "trail" else amount(name, value)  # type: ignore[arg-type]  # as above
        if not changes:
            msg = f"order {order.order_id} is amended in nothing: give quantity=, price=, stop=, take_profit= or trail="
            raise OrderError(msg, field="quantity")
        if changes.get("quantity", request.quantity) <= order.filled:
            msg = f"order {order.order_id} has filled {order.filled}: give a larger quantity=, or cancel it"
            raise OrderError(msg, field="quantity")
        return changes

    def judge(self, order_id: str, changes: dict[str, Decimal], cause: Cause | None) -> Literal["accepted", "noop"]:
        """Judge a change and publish it with the verdict; on the bus's own thread. Raises what publishing raises."""
        order = self._table.get(order_id)
        if order is None or not order.is_open or order.state is OrderState.PENDING_CANCEL:
            return "noop"
        after = msgspec.structs.replace(order.request, **changes)
        left = MONEY.subtract(after.quantity, order.filled)
        refusal = None
        if left <= 0:
            refusal = _no("orders", after.quantity, f"above {order.filled}", "it has filled as much: cancel it")
        elif not isinstance(self._broker, AmendingBroker):
            name = "no broker" if self._broker is None else f"the {self._broker.name} broker"
            refusal = _no("broker", name, "a broker that amends", f"{name} amends no orders: cancel, and order again")
        request = OrderAmendRequested(
            order_id=order_id,
            strategy=order.strategy,
            instrument=order.instrument,
            source=order.strategy,
            cause=cause,
            quantity=after.quantity,
            price=after.price,
            trigger_price=after.trigger_price,
            trail=after.trail,
        )
        self._judge.judge_amend(request, msgspec.structs.replace(after, quantity=left, cause=cause), refusal)
        return "accepted"

    def judge_late(self, order_id: str, changes: dict[str, Decimal], cause: Cause | None) -> None:
        """Judge a change of another thread; where the lane has no room, the order stays as it is, and says so."""
        order = self._table.get(order_id)
        try:
            self.judge(order_id, changes, cause)
        except LaneFullError as error:
            assert order is not None  # Of an unknown one nothing is published.
            self._notices.reject_amend(order.request, _no("orders", "a full lane", "room", str(error)))

    def send(self, request: OrderAmendRequested) -> None:
        """Have the broker change an order, with the event of the bus."""
        if request.verdict != "passed":
            return
        order = self._table.get(request.order_id)
        if order is None or not order.is_open or not order.is_sent:
            self._table.reserve(request.order_id, ZERO)
            self._notices.reject_amend(request, _no("orders", "over", "open", "the order is over, or was never sent"))
            return
        assert self._broker is not None  # Without one no order is sent.
        try:
            call_broker(self._broker, "amend", request)
        except (BrokerError, LaneFullError):
            log.exception("order %s: the broker raised; whether it is amended is unknown", request.order_id)
            raise


def _trail(value: object, request: OrderRequested) -> Decimal:
    """Return another trail of an order. Raises OrderError: it is in another unit."""
    distance, unit = trail_of(value)
    if unit != request.trail_unit:
        msg = f"order {request.order_id} trails by {request.trail_text}, and not in the unit of {value}: give the same"
        raise OrderError(msg, field="trail")
    return distance


def _no(gate: str, observed: object, threshold: object, reason: str) -> Refusal:
    return Refusal(gate, GateVerdict(passed=False, observed=observed, threshold=threshold, reason=reason))

"""Liquidations: orders that close positions at a price that is given, on the same way as all orders, past the gates.

::

    close ─▶ OrderRequested(verdict="passed", tag="liquidation") ─▶ manager ─▶ Broker.fill_at ─▶ OrderFilled

Guarantees: each has an id, a request and its answers in the audit, as every other order has; no gate, limit or kill
switch holds it up.
Does not: decide what is closed; ``trading.liquidation`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from headrace.trading.orders.request import identify, request_of

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace.market.clock import Clock
    from headrace.market.events import Cause, OrderRequested
    from headrace.trading.orders.judge import Judge
    from headrace.trading.orders.request import OrderOptions
    from headrace.trading.orders.table import OrderTable
    from headrace.trading.positions import Position

__all__ = ["Liquidations"]


class Liquidations:
    """The liquidations of one manager. run_id : of its bus."""

    def __init__(self, judge: Judge, table: OrderTable, clock: Clock, run_id: str) -> None:
        self._judge = judge
        self._table = table
        self._clock = clock
        self._run_id = run_id
        # On their way to the broker: the price by order id.
        self._prices: dict[str, Decimal] = {}

    def close(self, position: Position, price: Decimal, cause: Cause) -> str:
        """Close a position at a price, and return the order's id; on the bus's own thread. Raises LaneFullError."""
        quantity, side = position.quantity.copy_abs(), -1 if position.quantity > 0 else 1
        options: OrderOptions = {"reduce_only": True, "tag": "liquidation"}
        request = request_of(position.strategy, position.instrument, side, quantity, options, self._clock.now_ns())
        identify(request, self._table.new_id(position.strategy), self._run_id, cause)
        self._judge.pass_on(request)
        self._prices[request.order_id] = price
        return request.order_id

    def has(self, order_id: str) -> bool:
        """Whether an order that was not sent yet is one of them."""
        return order_id in self._prices

    def call_of(self, request: OrderRequested) -> tuple[Literal["fill_at", "submit"], tuple[object, ...]]:
        """Return how the broker takes an order: the method and its arguments."""
        price = self._prices.pop(request.order_id, None)
        return ("submit", (request,)) if price is None else ("fill_at", (request, price))

"""RestingOrders: the orders that the simulated broker has of one instrument, and which quotes they may meet.

::

    quote ─▶ concerns(bid, ask)? two comparisons; mostly no ─▶ each order, in the order of arrival: meets(quote)?

Guarantees: an order never meets the tick that caused it, or one before, nor a quote that was received before it
arrived; each new order meets one quote at least, whatever its price.
Does not: fill; ``simulated`` does.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Literal

from headrace.market.money import ZERO, decimal_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.market.events import Cause, OrderRequested

__all__ = ["NEVER_NS", "RestingOrder", "RestingOrders", "ShownSide"]

NEVER_NS = sys.maxsize


class RestingOrder:
    """One order.

    arrives_ns : only quotes received from then on are met; 0: the next one. is_new : it has met none yet.
    filled, left, executions : what became of it. cancel_ns : when it is canceled, why, and what asked for it; 0: it is
    canceled, and nobody was told yet.
    """

    __slots__ = (
        *("arrives_ns", "cancel_cause", "cancel_ns", "cancel_reason"),
        *("executions", "filled", "is_new", "left", "request"),
    )

    def __init__(self, request: OrderRequested, arrives_ns: int) -> None:
        self.request = request
        self.left = request.quantity
        self.filled = ZERO
        self.executions = 0
        self.arrives_ns = arrives_ns
        self.is_new = True
        self.cancel_ns = NEVER_NS
        self.cancel_reason = ""
        self.cancel_cause: Cause | None = None

    @property
    def due_ns(self) -> int:
        """When it ends by the clock."""
        expires_ns = self.request.expires_ns
        return self.cancel_ns if expires_ns is None else min(self.cancel_ns, expires_ns)

    @property
    def liquidity(self) -> Literal["taker", "maker"]:
        """Which side of a trade it would be now: an order makes liquidity once it has rested at its limit."""
        return "taker" if self.is_new or self.request.price is None else "maker"

    def meets(self, quote: Cause) -> bool:
        """Say whether a quote came after what caused the order, and not before the order had arrived."""
        if self.cancel_ns == 0 or quote.ts_init < self.arrives_ns:
            return False
        cause = self.request.cause
        if cause is None:
            return True
        if (cause.instrument, cause.kind) == (quote.instrument, quote.kind):
            return quote.last > cause.last
        # Numbers of two kinds cannot be compared; what was received at the same time may have been before.
        return quote.ts_init > cause.ts_init


class RestingOrders:
    """Orders of one instrument, in the order in which they came.

    What any price may reach is kept as two floats, a hair on the safe side: the Decimals decide.
    """

    __slots__ = ("_ask_max", "_bid_min", "_orders")

    def __init__(self) -> None:
        self._orders: dict[str, RestingOrder] = {}
        self._ask_max = -math.inf
        self._bid_min = math.inf

    def __iter__(self) -> Iterator[RestingOrder]:
        return iter(list(self._orders.values()))

    def __len__(self) -> int:
        return len(self._orders)

    def add(self, order: RestingOrder) -> None:
        """Take up an order."""
        self._orders[order.request.order_id] = order
        self._widen(order)

    def remove(self, order: RestingOrder) -> None:
        """Let go of an order."""
        del self._orders[order.request.order_id]

    def concerns(self, bid_price: float, ask_price: float) -> bool:
        """Say whether a quote may fill any of them, or be the first that one meets."""
        return not (ask_price > self._ask_max and bid_price < self._bid_min)

    def settle(self) -> None:
        """Look again what any price may reach, after a quote was met."""
        self._ask_max, self._bid_min = -math.inf, math.inf
        for order in self._orders.values():
            self._widen(order)

    def _widen(self, order: RestingOrder) -> None:
        price = None if order.is_new else order.request.price
        if order.request.side > 0:
            reach = math.inf if price is None else math.nextafter(float(price), math.inf)
            self._ask_max = max(self._ask_max, reach)
        else:
            reach = -math.inf if price is None else math.nextafter(float(price), -math.inf)
            self._bid_min = min(self._bid_min, reach)


class ShownSide:
    """One side of a quote: its price, and what is left of its size."""

    __slots__ = ("left", "price")

    def __init__(self, price: float, size: float) -> None:
        is_there = 0 < price < math.inf and 0 < size < math.inf
        self.price = decimal_of(price) if is_there else ZERO
        self.left = decimal_of(size) if is_there else ZERO

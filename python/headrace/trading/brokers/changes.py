"""Changes: amends on their way to the simulated broker, and what they make of an order.

::

    take ─▶ (latency) ─▶ due ─▶ a smaller quantity: the order keeps its place
                             ─▶ other prices, a larger quantity: it arrives anew, behind all others

Guarantees: an order that is over, or whose trigger was reached, is never changed into what it cannot be any more: then
the answer is OrderAmendRejected.
Does not: judge a change; the gates did.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

import msgspec

from headrace.market.events import OrderAmended, OrderAmendRejected
from headrace.market.money import MONEY
from headrace.trading.brokers.partners import AMENDABLE
from headrace.trading.brokers.resting import NEVER_NS

if TYPE_CHECKING:
    from headrace.market.events import OrderAmendRequested
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.outbox import Outbox
    from headrace.trading.brokers.resting import RestingOrder

__all__ = ["Changes"]


class Changes:
    """The changes of one broker's orders."""

    def __init__(self, matching: Matching, outbox: Outbox) -> None:
        self._matching = matching
        self._outbox = outbox
        self._count = 0
        # When each arrives, its number, and what it is.
        self._on_the_way: list[tuple[int, int, OrderAmendRequested]] = []

    @property
    def next_ns(self) -> int:
        """When the next one arrives."""
        return self._on_the_way[0][0] if self._on_the_way else NEVER_NS

    def put(self, change: OrderAmendRequested, arrives_ns: int) -> None:
        """Have a change arrive later."""
        self._count += 1
        insort(self._on_the_way, (arrives_ns, self._count, change))

    def make_due(self, now_ns: int) -> None:
        """Make the changes that have arrived by now."""
        while self.next_ns <= now_ns:
            arrived_ns, _, change = self._on_the_way.pop(0)
            self.make(change, arrived_ns)

    def make(self, change: OrderAmendRequested, arrived_ns: int) -> None:
        """Change an order, and answer. arrived_ns : 0: there is no latency."""
        order = self._matching.orders.get(change.order_id)
        reason = "the order is over"
        if order is not None and order.cancel_ns != 0:
            reason = self._apply(order, change, arrived_ns)
        said = self._outbox.said(change)
        if order is None or reason:
            observed, threshold = "too late", "an order that can be amended so"
            self._matching.answer(
                OrderAmendRejected(**said, gate="broker", observed=observed, threshold=threshold, reason=reason)
            )
            return
        values = {name: getattr(order.request, name) for name in AMENDABLE}
        self._matching.answer(OrderAmended(**said, **values, left=order.left))

    def _apply(self, order: RestingOrder, change: OrderAmendRequested, arrived_ns: int) -> str:
        """Give an order other values; or return why it cannot have them."""
        before = order.request
        left = MONEY.subtract(change.quantity, order.filled)
        if left <= 0:
            return f"it has filled {order.filled}: cancel it"
        if not order.is_waiting and (before.trigger_price, before.trail) != (change.trigger_price, change.trail):
            return "its trigger was reached: amend its quantity, or its price"
        after = msgspec.structs.replace(before, **{name: getattr(change, name) for name in AMENDABLE})
        if after.price is None and before.price is not None:
            # A trailing stop limit got it while the change was on its way.
            after = msgspec.structs.replace(after, price=before.price)
        prices = (before.price, before.trigger_price, before.trail)
        order.left = left
        if change.quantity > before.quantity or prices != (after.price, after.trigger_price, after.trail):
            order.cause, order.arrives_ns = change.cause or order.cause, arrived_ns
            self._matching.move(order, after)
        else:
            order.request = after
        return ""

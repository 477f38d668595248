"""Partners: the OCO groups of the simulated broker: what one order of a group fills, the others lose.

::

    join ─▶ a fill ─▶ take_from_others ─┬▶ filled in part: the others shrink by it: OrderAmended
                                        └▶ filled whole: they are canceled

What happens when a partner is canceled, rejected or expires
    the others stay: a stop protects a position, whatever became of its target.

Guarantees: no two orders of a group fill the same, also against one quote or candle.
Does not: decide which of them is filled first; the fill model does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import LaneFullError
from headrace.market.events import OrderAmended
from headrace.market.money import MONEY

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.outbox import Outbox
    from headrace.trading.brokers.resting import RestingOrder

__all__ = ["AMENDABLE", "Partners"]

# The values of an order that may change.
AMENDABLE = ("quantity", "price", "trigger_price", "trail")


class Partners:
    """The groups of one broker, by the id of their first order."""

    def __init__(self, matching: Matching, outbox: Outbox) -> None:
        self._matching = matching
        self._outbox = outbox
        self._groups: dict[str, list[RestingOrder]] = {}

    def join(self, order: RestingOrder) -> None:
        """Make an order the partner of those of its group that are open."""
        root = order.request.oco
        group = self._groups.get(root)
        if group is None:
            first = self._matching.orders.get(root)
            group = self._groups[root] = [] if first is None else [first]
            if first is not None:
                first.partners = group
        group.append(order)
        order.partners = group

    def leave(self, order: RestingOrder) -> None:
        """Remove an order that is over; a group without orders is forgotten."""
        assert order.partners is not None
        order.partners.remove(order)
        if not order.partners:
            del self._groups[order.request.oco or order.request.order_id]

    def take_from_others(self, filled: RestingOrder, quantity: Decimal) -> None:
        """Take what an order has filled from its partners; one that is filled whole ends them."""
        name = filled.request.order_id
        for order in [own for own in filled.partners or () if own is not filled and own.cancel_ns != 0]:
            left = MONEY.subtract(order.left, quantity)
            if not filled.left or left <= 0:
                with suppress(LaneFullError):  # Then it is published later, and fills no more.
                    self._matching.end(order, f"its OCO partner {name} was filled")
                continue
            order.left = left
            order.request = msgspec.structs.replace(order.request, quantity=MONEY.add(order.filled, left))
            values = {own: getattr(order.request, own) for own in AMENDABLE}
            reason = f"its OCO partner {name} filled {quantity}"
            self._matching.answer(OrderAmended(**self._outbox.said(order.request), **values, left=left, reason=reason))

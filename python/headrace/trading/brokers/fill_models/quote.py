"""QuoteFill: orders fill against the opposite side of quotes, up to its displayed size.

::

    quote k     the strategy decides
    quote k+1   a market order, or a limit that it crosses: at the opposite price, as taker, up to its size
                any other limit rests; so does what is left of one
    quote k+2   what is left of a market order: as before
                what rests and is crossed: at its own limit, as maker, up to the opposite size

What happens to a stop or a take-profit order
    The side that it would take triggers it: the bid a sell, the ask a buy. Then it is a market or a limit order that
    arrives with this very quote.
What happens when several orders meet one quote
    They are filled in the order in which they came, and what one takes is gone for the next.

Guarantees: an order never fills against the tick that caused it, or one before.
Does not: simulate a place in a queue, hidden size, or an own effect on the market: the next quote shows its whole size
again, whatever was taken from the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import LaneFullError
from headrace.trading.brokers.fill_models.base import ORDER_TYPES, FillModel

if TYPE_CHECKING:
    from headrace.market.events import Cause
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.resting import RestingOrders, ShownSides

__all__ = ["QuoteFill"]


class QuoteFill(FillModel):
    """Fills from quotes; the default for ticks."""

    name = "quote"
    sees = frozenset({"quote"})
    order_types = ORDER_TYPES

    def on_quote(self, orders: RestingOrders, quote: Cause, shown: ShownSides, matching: Matching) -> None:
        """Fill what the quote allows, in the order in which the orders came."""
        if orders.triggers.orders:
            for order in orders.triggers.reached_by_quote(quote, shown):
                matching.trigger(order, quote)
        met = orders.met_by(quote, shown)
        for number, order in enumerate(met):
            try:
                matching.meet(order, shown[order.request.side], quote)
            except LaneFullError:
                matching.hold_back(len(met) - number)
                return

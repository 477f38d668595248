"""Fill models for trades: a limit that rests is filled by the trades of others, not by quotes alone.

::

    what takes              at quotes, as with "quote", but a shown size is taken once: again only as far as it grows
    trade_through           what rests is filled by a trade beyond its price, up to the size of the trade
    queue                   what rests at the best price is behind the size that was shown there when it came; sell
                            trades at its price take from a bid's queue, then fill it; a trade beyond fills it

What happens to the queue
    ``ahead`` is what is shown when the order comes to rest, 0 at a better price than the best, and unknown behind the
    best price until that is the best one. It shrinks with trades of the matching aggressor, and to what is shown: who
    leaves the queue was behind us, as long as that is possible. A quote that leaves the price empties the queue.
    A quote that crosses the limit fills it, up to the size that is shown, once.
What happens when several own orders rest
    The best price comes first, then the one that came first; what one takes of a trade is gone for the next.

Guarantees: a trade fills own orders once, up to its size, and only where its aggressor would have taken them, or where
it went through them.
Does not: fill what rests where the data has no trades. Of an instrument with trades and aggregated trades, the kind
that came first counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import LaneFullError
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.fill_models.base import ORDER_TYPES, FillModel
from headrace.trading.brokers.resting import ShownSide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from headrace.market.events import Cause
    from headrace.trading.brokers.fill_models.base import Trade
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.resting import RestingOrder, RestingOrders, ShownSides

__all__ = ["QueueFill", "TradeThroughFill", "note_taken", "shown_once"]


class TradeThroughFill(FillModel):
    """Resting limits are filled by trades beyond their price."""

    name = "trade_through"
    sees = frozenset({"quote", "trade"})
    order_types = ORDER_TYPES
    # What was taken is forgotten when the price is another one.
    sees_each_quote = True

    def on_quote(self, orders: RestingOrders, quote: Cause, shown: ShownSides, matching: Matching) -> None:
        """Fill what takes, in the order in which the orders came; then limits rest."""
        for order in orders.triggers.reached_by_quote(quote, shown):
            matching.trigger(order, quote)
        for side in (1, -1):
            shown_once(orders, side, [shown[side]])
        met = self._met_by(orders, quote, shown)
        for number, order in enumerate(met):
            takes = shown[order.request.side]
            before = takes.left
            try:
                matching.meet(order, takes, quote)
            except LaneFullError:
                matching.hold_back(len(met) - number)
                return
            finally:
                note_taken(orders, order.request.side, takes.price, MONEY.subtract(before, takes.left))

    def _met_by(self, orders: RestingOrders, quote: Cause, shown: ShownSides) -> list[RestingOrder]:  # noqa: ARG002
        return [order for order in orders.arriving if order.meets(quote)]

    def on_trade(self, orders: RestingOrders, trade: Trade, matching: Matching) -> None:
        """Fill the limits that the trade went through."""
        for side in (1, -1):
            left = ShownSide.of(trade.price, trade.size)
            for order in _best_first(orders, side, trade):
                if not _is_through(order, trade):
                    break
                _fill_at_limit(order, left, trade.seen, matching)


class QueueFill(TradeThroughFill):
    """Resting limits wait for their turn in the queue of their price."""

    name = "queue"

    def on_quote(self, orders: RestingOrders, quote: Cause, shown: ShownSides, matching: Matching) -> None:
        """Fill what takes; then see how long the queues can be at most."""
        super().on_quote(orders, quote, shown, matching)
        for side in (1, -1):
            # An order to buy queues at the bid: what orders to sell take.
            best = shown[-side]
            for order in orders.resting_of(side):
                _shorten_queue(order, best)

    def _met_by(self, orders: RestingOrders, quote: Cause, shown: ShownSides) -> list[RestingOrder]:
        return orders.met_by(quote, shown)

    def on_trade(self, orders: RestingOrders, trade: Trade, matching: Matching) -> None:
        """Take from the queues, and fill what comes to its turn."""
        for side in (1, -1):
            left, gone = ShownSide.of(trade.price, trade.size), ZERO
            for order in _best_first(orders, side, trade):
                if _is_through(order, trade):
                    order.ahead = ZERO
                elif trade.aggressor_side != -side or order.ahead is None or order.request.price != trade.price:
                    break
                # What the queue of the order before has taken is gone from this one, too.
                before = max(ZERO, MONEY.subtract(order.ahead, gone))
                taken = min(before, left.left)
                gone, left.left = MONEY.add(gone, taken), MONEY.subtract(left.left, taken)
                order.ahead = MONEY.subtract(before, taken)
                if not order.ahead:
                    _fill_at_limit(order, left, trade.seen, matching)


def shown_once(orders: RestingOrders, side: int, levels: list[ShownSide]) -> None:
    """Reduce the sizes of levels by what own orders took there; what is no longer shown is forgotten."""
    taken = orders.taken[side]
    if not taken:
        return
    shown = {level.price for level in levels}
    for price in [own for own in taken if own not in shown]:
        del taken[price]
    for level in levels:
        gone = taken.get(level.price)
        if gone is not None:
            # A size that was taken by others, too, is smaller than what we took.
            taken[level.price] = min(gone, level.left)
            level.left = MONEY.subtract(level.left, taken[level.price])


def note_taken(orders: RestingOrders, side: int, price: Decimal, quantity: Decimal) -> None:
    """Note what own orders took of the size that is shown at a price."""
    if quantity > 0:
        taken = orders.taken[side]
        taken[price] = MONEY.add(taken.get(price, ZERO), quantity)


def _shorten_queue(order: RestingOrder, best: ShownSide) -> None:
    """Set what can be ahead of an order at most. best : the best price of its own side, with the size there."""
    price = order.request.price
    assert price is not None  # It rests.
    is_better = not best.left or (price > best.price if order.request.side > 0 else price < best.price)
    if is_better:
        order.ahead = ZERO
    elif price == best.price:
        order.ahead = best.left if order.ahead is None else min(order.ahead, best.left)


def _best_first(orders: RestingOrders, side: int, trade: Trade) -> Iterator[RestingOrder]:
    """Yield the resting limits of a side that a trade's price reaches, the best price first, then the oldest."""
    reached = [order for order in orders.resting_at(side, trade.price) if order.meets(trade.seen)]
    sign = -side
    yield from sorted(reached, key=lambda own: (MONEY.multiply(own.request.price or ZERO, sign), own.number))


def _is_through(order: RestingOrder, trade: Trade) -> bool:
    limit = order.request.price
    assert limit is not None  # It rests.
    return trade.price < limit if order.request.side > 0 else trade.price > limit


def _fill_at_limit(order: RestingOrder, left: ShownSide, seen: Cause, matching: Matching) -> None:
    """Fill a resting limit from what is left of a trade."""
    if left.left:
        try:
            matching.meet(order, left, seen)
        except LaneFullError:
            matching.hold_back(1)

"""BookWalkFill: orders take the levels of the book, one after the other, each at its own price.

::

    book in sync changes ─▶ arriving orders take its levels, as far as their limit allows: a fill for each level
                         ─▶ what rests and is crossed fills at its own limit, up to the sizes that cross it

What happens where an instrument has no book
    Its orders meet quotes: a book of one level. From its first book on, only the book counts; while that is not in
    sync, orders wait.

Guarantees: a size that is shown fills own orders once; again only as far as it grows.
Does not: simulate hidden size, or that others withdraw when they see the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import LaneFullError
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.fill_models.base import ORDER_TYPES, FillModel
from headrace.trading.brokers.fill_models.trades import note_taken, shown_once
from headrace.trading.brokers.resting import ShownSide

if TYPE_CHECKING:
    from headrace._native import Book
    from headrace.market.events import Cause
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.resting import RestingOrder, RestingOrders, ShownSides

__all__ = ["BookWalkFill"]

# Levels that are looked at first; an order that wants more looks at all.
NEAR = 20


class BookWalkFill(FillModel):
    """Takers walk the book."""

    name = "book_walk"
    sees = frozenset({"quote", "book"})
    order_types = ORDER_TYPES
    sees_each_quote = True

    def on_quote(self, orders: RestingOrders, quote: Cause, shown: ShownSides, matching: Matching) -> None:
        """Fill what the quote allows, where there is no book."""
        self._meet(orders, quote, {side: [shown[side]] for side in (1, -1)}, matching)

    def on_book(self, orders: RestingOrders, seen: Cause, book: Book, matching: Matching) -> None:
        """Fill what the book allows."""
        wanted = sum((order.left for order in matching.orders.values()), ZERO)
        levels = {side: _levels(book, side, NEAR) for side in (1, -1)}
        for side, near in levels.items():
            if len(near) == NEAR and sum((own.left for own in near), ZERO) < wanted:
                levels[side] = _levels(book, side, None)
        self._meet(orders, seen, levels, matching)

    def _meet(self, orders: RestingOrders, seen: Cause, levels: dict[int, list[ShownSide]], matching: Matching) -> None:
        best = {side: own[0] if own else ShownSide.of(ZERO, ZERO) for side, own in levels.items()}
        for order in orders.triggers.reached_by_quote(seen, best):
            matching.trigger(order, seen)
        for side, own in levels.items():
            shown_once(orders, side, own)
        met = orders.met_by(seen, best)
        for number, order in enumerate(met):
            try:
                self._walk(orders, order, levels[order.request.side], seen, matching)
            except LaneFullError:
                matching.hold_back(len(met) - number)
                return

    @staticmethod
    def _walk(
        orders: RestingOrders, order: RestingOrder, levels: list[ShownSide], seen: Cause, matching: Matching
    ) -> None:
        before = [own.left for own in levels]
        try:
            matching.meet(order, [own for own in levels if own.left], seen)
        finally:
            for level, left in zip(levels, before, strict=True):
                note_taken(orders, order.request.side, level.price, MONEY.subtract(left, level.left))


def _levels(book: Book, side: int, count: int | None) -> list[ShownSide]:
    """Return the levels that orders of a side take, the best first."""
    prices, sizes = book.asks(count) if side > 0 else book.bids(count)
    return [ShownSide(price, size) for price, size in zip(prices.tolist(), sizes.tolist(), strict=True)]

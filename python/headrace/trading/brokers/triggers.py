"""Triggers: the orders of one instrument that wait for a price before they are market or limit orders.

::

    stop, trailing stop    a sell waits for a fall to its trigger, a buy for a rise
    take profit            a sell waits for a rise, a buy for a fall
    trailing stop          its trigger follows the best price since its arrival, and never goes back

Guarantees: a price that equals the trigger reaches it. While nothing is reached, a quote costs four comparisons; beside
trailing stops each quote is looked at.
Does not: fill, or publish that a trigger was reached.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from headrace.market.events import Cause
    from headrace.trading.brokers.resting import RestingOrder, ShownSide

__all__ = ["Triggers"]

by_number = attrgetter("number")


class Triggers:
    """Orders that wait. orders : all of them, by number."""

    __slots__ = ("_bounds", "_trailing", "orders")

    def __init__(self) -> None:
        self.orders: dict[int, RestingOrder] = {}
        self._trailing: dict[int, RestingOrder] = {}
        # Of (side, waits for a rise): the trigger that is reached first, a hair nearer. None: to be computed.
        self._bounds: dict[tuple[int, bool], float] | None = None

    def add(self, order: RestingOrder) -> None:
        """Add an order that waits."""
        self.orders[order.number] = order
        if order.request.trail is not None:
            self._trailing[order.number] = order
        self._bounds = None

    def pop(self, order: RestingOrder) -> bool:
        """Remove an order that was triggered, or is over; False: it did not wait."""
        if self.orders.pop(order.number, None) is None:
            return False
        self._trailing.pop(order.number, None)
        self._bounds = None
        return True

    def concerns(self, bid_price: float, ask_price: float) -> bool:
        """Return whether a quote may reach a trigger, or move one."""
        if self._trailing:
            return True
        bounds = self._bounds
        if bounds is None:
            bounds = self._bounds = self._computed()
        return (
            ask_price >= bounds[1, True]
            or bid_price <= bounds[-1, False]
            or bid_price >= bounds[-1, True]
            or ask_price <= bounds[1, False]
        )

    def _computed(self) -> dict[tuple[int, bool], float]:
        bounds = {(side, rises): math.inf if rises else -math.inf for side in (1, -1) for rises in (True, False)}
        for order in self.orders.values():
            trigger, key = order.trigger, (order.request.side, order.waits_for_rise)
            if trigger is not None:
                near = math.nextafter(float(trigger), -math.inf if key[1] else math.inf)
                bounds[key] = min(bounds[key], near) if key[1] else max(bounds[key], near)
        return bounds

    def reached_by_quote(self, quote: Cause, shown: Mapping[int, ShownSide]) -> list[RestingOrder]:
        """Return the orders whose trigger the side that they would take has reached, in the order in which they came.

        Trailing triggers are reached as the quotes before left them; then they follow this one.
        """
        found = []
        for order in self.orders.values():
            side = shown[order.request.side]
            if side.left and order.meets(quote):
                if order.is_reached(side.price):
                    found.append(order)
                else:
                    order.follow(side.price)
        return sorted(found, key=by_number)

    def reached_at(self, price: Decimal, by_ns: int) -> list[RestingOrder]:
        """Return the orders that had arrived by then, and whose trigger a price has reached, in their order."""
        return sorted((own for own in self._arrived(by_ns) if own.is_reached(price)), key=by_number)

    def between(self, low: Decimal, high: Decimal, by_ns: int) -> list[RestingOrder]:
        """Return the orders that had arrived by then, and whose trigger a range has reached, in their order."""
        met = (own for own in self._arrived(by_ns) if own.is_reached(high if own.waits_for_rise else low))
        return sorted(met, key=by_number)

    def follow(self, price: Decimal, by_ns: int, *, side: int = 0) -> None:
        """Have trailing triggers follow a price. side : of the orders; 0: both."""
        for order in self._trailing.values():
            if side in (0, order.request.side) and order.has_arrived(by_ns):
                order.follow(price)

    def trailing_reached(self, price: Decimal, by_ns: int) -> list[RestingOrder]:
        """Return the trailing stops that had arrived by then, and whose trigger a price has reached, in their order."""
        each = (own for own in self._trailing.values() if own.has_arrived(by_ns) and own.is_reached(price))
        return sorted(each, key=by_number)

    def _arrived(self, by_ns: int) -> Iterable[RestingOrder]:
        return (own for own in self.orders.values() if own.has_arrived(by_ns))

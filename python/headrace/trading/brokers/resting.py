"""RestingOrders: the orders that the simulated broker has of one instrument, and which of them a quote fills.

::

    add ─▶ arriving: a limit until its first quote, a market order until it is filled ─▶ each quote looks at these
     │        └▶ rest: a limit by its price ─▶ a quote looks at those that its opposite price reaches
     └▶ triggers: what waits for a price ─▶ release ─▶ arriving

Guarantees: an order never meets the tick that caused it, or one before, nor a quote that was received before it
arrived; orders are met in the order in which they came. What a quote does not reach costs it nothing.
Does not: fill; ``simulated`` does.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, insort
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from headrace.market.money import MONEY, ZERO, decimal_of
from headrace.market.tick import has_side
from headrace.trading.brokers.triggers import Triggers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.market.events import Cause, OrderRequested
    from headrace.market.instrument import Instrument
    from headrace.trading.brokers.fill_models.base import FillModel

__all__ = ["NEVER_NS", "Dues", "RestingOrder", "RestingOrders", "ShownSide", "ShownSides"]

NEVER_NS = sys.maxsize
UNBOUNDED = Decimal("Infinity")
HUNDRED = Decimal(100)


class RestingOrder:
    """One order.

    number : rises with each order. arrives_ns : only quotes received from then on are met; 0: the next one.
    arrived_ns : when it had arrived, whatever data there is. is_arriving : it has met none yet.
    filled, left, executions : what became of it.
    cancel_ns : when it is canceled, why, and what asked for it; 0: it is over, whether that was published or not.
    cause : only ticks after it are met. is_waiting : its trigger was not reached. best : the best price since a
    trailing stop arrived; None: it saw none. traded : of a trailing stop, its instrument; None: unknown. partners :
    its OCO group, with itself; None: it has none. ahead : the size before it in the queue of its price, by the fill
    model "queue"; None: unknown.
    """

    __slots__ = (
        *("ahead", "arrived_ns", "arrives_ns", "best", "cancel_cause", "cancel_ns", "cancel_reason", "cause"),
        *("executions", "filled", "is_arriving", "is_waiting", "left", "number", "partners", "request", "traded"),
    )

    def __init__(self, request: OrderRequested, number: int, now_ns: int, latency_ns: int) -> None:
        self.request = request
        self.cause = request.cause
        self.is_waiting = False
        self.best: Decimal | None = None
        self.traded: Instrument | None = None
        self.partners: list[RestingOrder] | None = None
        self.ahead: Decimal | None = None
        self.number = number
        self.left = request.quantity
        self.filled = ZERO
        self.executions = 0
        self.arrived_ns = now_ns + latency_ns
        self.arrives_ns = self.arrived_ns if latency_ns else 0
        self.is_arriving = True
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
        """Which side of a trade it would be now: what rests makes liquidity."""
        return "taker" if self.is_arriving or self.request.price is None else "maker"

    def has_arrived(self, by_ns: int) -> bool:
        """Return whether it had arrived by a time, ns, and is not canceled."""
        return self.cancel_ns != 0 and self.arrived_ns <= by_ns

    def meets(self, quote: Cause) -> bool:
        """Return whether a quote came after what caused the order, and not before the order had arrived."""
        if self.cancel_ns == 0 or quote.ts_init < self.arrives_ns:
            return False
        cause = self.cause
        if cause is None:
            return True
        if (cause.instrument, cause.kind) == (quote.instrument, quote.kind):
            return quote.last > cause.last
        # Numbers of two kinds cannot be compared; what was received at the same time may have been before.
        return quote.ts_init > cause.ts_init

    # What waits for a price

    @property
    def is_stop(self) -> bool:
        """Whether its trigger lies on the losing side."""
        return not self.request.order_type.startswith("take_profit")

    @property
    def waits_for_rise(self) -> bool:
        """Whether its trigger is reached from below."""
        return (self.request.side > 0) is self.is_stop

    @property
    def trigger(self) -> Decimal | None:
        """The price that it waits for; None: a trailing stop that has seen no price."""
        request = self.request
        trail = request.trail
        if trail is None or self.best is None:
            return request.trigger_price
        if request.trail_unit == "price":
            return MONEY.fma(trail, request.side, self.best)
        away = MONEY.divide(MONEY.multiply(self.best, trail), HUNDRED)
        exact = MONEY.fma(away, request.side, self.best)
        # Away from the market, so that it is never reached before the percentage is.
        return exact if self.traded is None else self.traded.in_ticks(exact, up=request.side > 0)

    @property
    def limit_behind(self) -> Decimal | None:
        """The limit of a trailing stop limit at its trigger; None: it has none, or one that bounds nothing."""
        offset, trigger = self.request.limit_offset, self.trigger
        if offset is None or trigger is None:
            return None
        limit = MONEY.fma(offset, self.request.side, trigger)
        return limit if limit > 0 else None

    def is_reached(self, price: Decimal) -> bool:
        """Return whether a price is at its trigger, or beyond."""
        trigger = self.trigger
        return trigger is not None and (price >= trigger if self.waits_for_rise else price <= trigger)

    def follow(self, price: Decimal) -> None:
        """Have the trigger of a trailing stop follow a better price."""
        if self.request.trail is not None:
            best = price if self.best is None else self.best
            self.best = min(best, price) if self.request.side > 0 else max(best, price)


class RestingOrders:
    """Orders of one instrument. model : what fills them; it may change while there are none.

    taken : by the side of the orders that take it and by price, what they took of the size that is shown there; kept by
    models that fill a shown size once.
    """

    __slots__ = ("_arriving", "_resting", "model", "sees_each_quote", "sees_quotes", "taken", "triggers")

    def __init__(self, model: FillModel) -> None:
        self.use(model)
        self.triggers = Triggers()
        self.taken: dict[int, dict[Decimal, Decimal]] = {1: {}, -1: {}}
        self._arriving: dict[int, RestingOrder] = {}
        self._resting = {side: _Limits(side) for side in (1, -1)}

    def use(self, model: FillModel) -> None:
        """Have a model fill them."""
        self.model = model
        self.sees_quotes = "quote" in model.sees
        self.sees_each_quote = model.sees_each_quote

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        resting = self._resting
        return not (self._arriving or self.triggers.orders or resting[1].orders or resting[-1].orders)

    @property
    def arriving(self) -> list[RestingOrder]:
        """Those that have met nothing yet, and market orders that are not filled whole, in their order."""
        return sorted(self._arriving.values(), key=attrgetter("number"))

    def not_resting(self, by_ns: int) -> list[RestingOrder]:
        """Return the orders that had arrived by a time and do not rest: what waits for a price, then what arrives."""
        each = [*sorted(self.triggers.orders.values(), key=attrgetter("number")), *self.arriving]
        return [order for order in each if order.has_arrived(by_ns)]

    def resting_of(self, side: int) -> list[RestingOrder]:
        """Return the resting limits of a side, the best price last."""
        return [order for _, _, order in self._resting[side].orders]

    def resting_at(self, side: int, opposite: Decimal) -> list[RestingOrder]:
        """Return the resting limits of a side that an opposite price reaches, the best price last."""
        return self._resting[side].reached(opposite)

    def add(self, order: RestingOrder) -> None:
        """Add an order that arrives, or that waits for a price."""
        request = order.request
        if request.trigger_price is not None or request.trail is not None:
            order.is_waiting = True
            self.triggers.add(order)
        else:
            self._arriving[order.number] = order

    def release(self, order: RestingOrder) -> None:
        """Have an order arrive whose trigger was reached."""
        order.is_waiting = False
        self.triggers.pop(order)
        self._arriving[order.number] = order

    def move(self, order: RestingOrder, request: OrderRequested, number: int) -> None:
        """Give an order other values, and a later place."""
        self.remove(order)
        order.request, order.number, order.is_arriving, order.ahead = request, number, True, None
        if order.is_waiting:
            self.triggers.add(order)
        else:
            self._arriving[number] = order

    def rest(self, order: RestingOrder) -> None:
        """Note that a limit order has met a quote: from now on it rests at its price."""
        del self._arriving[order.number]
        order.is_arriving = False
        self._resting[order.request.side].add(order)

    def remove(self, order: RestingOrder) -> None:
        """Remove an order that is over."""
        if self._arriving.pop(order.number, None) is None and not self.triggers.pop(order):
            self._resting[order.request.side].remove(order)

    def concerns(self, bid_price: float, ask_price: float) -> bool:
        """Return whether a quote may fill any of them, or be the first that one meets. Two comparisons, mostly."""
        return (
            bool(self._arriving)
            or self._resting[1].reach >= ask_price
            or self._resting[-1].reach <= bid_price
            or (bool(self.triggers.orders) and self.triggers.concerns(bid_price, ask_price))
        )

    def met_by(self, quote: Cause, shown: Mapping[int, ShownSide]) -> list[RestingOrder]:
        """Return the orders that a quote meets, in the order in which they came."""
        met = [order for order in self._arriving.values() if order.meets(quote)]
        for side, resting in self._resting.items():
            if resting.orders and shown[side].left:
                met += [order for order in resting.reached(shown[side].price) if order.meets(quote)]
        if len(met) > 1:
            met.sort(key=attrgetter("number"))
        return met


class _Limits:
    """Resting limit orders of one side, the best price last.

    reach : a float beyond the best price, by a hair: the Decimals decide.
    """

    __slots__ = ("orders", "reach", "side")

    def __init__(self, side: int) -> None:
        self.side = side
        self.orders: list[tuple[Decimal, int, RestingOrder]] = []
        self._set_reach()

    def _set_reach(self) -> None:
        beyond = math.inf * self.side
        best = self.orders[-1][2].request.price if self.orders else None
        self.reach = -beyond if best is None else math.nextafter(float(best), beyond)

    def _key(self, order: RestingOrder) -> tuple[Decimal, int, RestingOrder]:
        price = order.request.price
        assert price is not None  # A market order never rests.
        return (price if self.side > 0 else price.copy_negate(), order.number, order)

    def add(self, order: RestingOrder) -> None:
        insort(self.orders, self._key(order))
        self._set_reach()

    def remove(self, order: RestingOrder) -> None:
        del self.orders[bisect_left(self.orders, self._key(order))]
        self._set_reach()

    def reached(self, opposite: Decimal) -> list[RestingOrder]:
        """Return those that this opposite price crosses."""
        price = opposite if self.side > 0 else opposite.copy_negate()
        return [order for _, _, order in self.orders[bisect_left(self.orders, (price,)) :]]


class Dues:
    """Orders that end by the clock, the next one first."""

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: list[tuple[int, int, RestingOrder]] = []

    @property
    def next_ns(self) -> int:
        """When the next one ends."""
        return self._orders[0][0] if self._orders else NEVER_NS

    def first(self, now_ns: int) -> RestingOrder | None:
        """Return the first order that has ended by now."""
        return self._orders[0][2] if self.next_ns <= now_ns else None

    def add(self, order: RestingOrder) -> None:
        """Add an order if it ends by the clock."""
        if order.due_ns != NEVER_NS:
            insort(self._orders, (order.due_ns, order.number, order))

    def remove(self, order: RestingOrder) -> None:
        """Remove an order that is over."""
        if order.due_ns != NEVER_NS:
            del self._orders[bisect_left(self._orders, (order.due_ns, order.number))]

    def set_cancel(self, order: RestingOrder, cancel_ns: int, reason: str, cause: Cause | None) -> None:
        """Have an order end as canceled at that time, ns."""
        self.remove(order)
        order.cancel_ns, order.cancel_reason, order.cancel_cause = cancel_ns, reason, cause
        self.add(order)


class ShownSide:
    """One side of a quote: its price, and what is left of its size.

    left : 0 where the quote has no such side; infinite where its size is unknown, which bounds no fill.
    """

    __slots__ = ("left", "price")

    def __init__(self, price: float, size: float) -> None:
        is_there = has_side(price, size)
        self.price = decimal_of(price) if is_there else ZERO
        known = decimal_of(size) if math.isfinite(size) else UNBOUNDED
        self.left = known if is_there else ZERO

    @classmethod
    def of(cls, price: Decimal, size: Decimal) -> ShownSide:
        """Return a side of Decimals."""
        made = cls.__new__(cls)
        made.price, made.left = price, size
        return made


class ShownSides(dict[int, ShownSide]):
    """Both sides of a quote, by the side of an order that takes them: what nothing takes is not made."""

    __slots__ = ("_quote",)

    def __init__(self, bid_price: float, bid_size: float, ask_price: float, ask_size: float) -> None:
        self._quote = {1: (ask_price, ask_size), -1: (bid_price, bid_size)}

    def __missing__(self, side: int) -> ShownSide:
        made = self[side] = ShownSide(*self._quote[side])
        return made

"""Fill models for candles: what an open, a high, a low and a close say about the prices between them.

::

    candle k closes     the strategy decides: a buy, a limit
    candle k+1 opens    next_open, path: a market order, or a limit that the open crosses: at the open, as taker
    candle k+1 closes   next_open, path: a resting limit within low..high: at its own limit, as maker
                        close_slip: an order that the close crosses: at the close

    next_open     limits fill in the order in which they came
    path          limits fill where the path meets them: open, low, high, close while the position is long; open, high,
                  low, close while it is short: the worse extreme comes first. Flat: the extreme nearer to the open.
    close_slip    an order that was decided on a close fills at that same close, made worse by the slippage

An order that is made while orders fill at an open has arrived at that open, and takes part in its candle.
Guarantees: an order takes no part in a candle that opened before the order arrived; prices of a candle that is not
over are not used, but for its open.
Does not: know volumes: an order fills whole. The slippage of ``costs`` makes takers' prices worse in all three.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING

from headrace.market.events import Cause
from headrace.market.money import MONEY, ZERO, decimal_of
from headrace.trading.brokers.fill_models.base import ORDER_TYPES, FillModel
from headrace.trading.brokers.resting import ShownSide, ShownSides

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from decimal import Decimal

    from headrace.market.candles import CandleOpen
    from headrace.market.events import Bar
    from headrace.trading.brokers.fill_models.base import LastCandle
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.resting import RestingOrder, RestingOrders

__all__ = ["CloseSlipFill", "NextOpenFill", "PathFill"]

SEES_CANDLES = frozenset({"candle"})
_by_number = attrgetter("number")


class NextOpenFill(FillModel):
    """Market orders fill at the open of the next candle; the default for candles."""

    name = "next_open"
    sees = SEES_CANDLES
    order_types = ORDER_TYPES

    def on_order(self, order: RestingOrder, last: LastCandle, matching: Matching) -> None:
        """Fill an order that came of a fill at this very open, at the open."""
        opened = last.opened
        if opened is not None and matching.volume_share is None and order.has_arrived(opened.ts_open):
            _meet_open([order], ShownSide(opened.price, math.nan), opened.seen, matching)

    def on_open(self, orders: RestingOrders, opened: CandleOpen, matching: Matching) -> None:
        """Fill the orders that arrived by now, at the open."""
        if matching.volume_share is None:
            arrived = orders.not_resting(opened.ts_open)
            _meet_open(arrived, ShownSide(opened.price, math.nan), opened.seen, matching)

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill what the whole candle reaches."""
        shown, seen = ShownSide(candle.open, math.nan), _seen(candle)
        if matching.volume_share is not None:
            shown.left = MONEY.multiply(decimal_of(candle.volume), matching.volume_share)
            _meet_open(orders.not_resting(candle.ts_open), shown, seen, matching)
        self._meet_range(orders, candle, shown, seen, matching)

    def _meet_range(
        self, orders: RestingOrders, candle: Bar, shown: ShownSide, seen: Cause, matching: Matching
    ) -> None:
        """Fill stops, then limits and take profits, then trailing stops that the close has reached."""
        by_ns, triggers = candle.ts_open, orders.triggers
        low, high, close = (decimal_of(price) for price in (candle.low, candle.high, candle.close))
        rested = [*orders.resting_at(1, low), *orders.resting_at(-1, high)]
        waiting = triggers.between(low, high, by_ns) if triggers.orders else []
        met = [*rested, *(order for order in waiting if not order.is_stop)]
        for order in waiting:
            if order.is_stop:
                _meet_trigger(order, shown, seen, matching)
        for order in sorted(met, key=_by_number):
            if order.has_arrived(by_ns):
                _meet_at_its_price(order, shown, seen, matching)
        if triggers.orders:
            triggers.follow(low, by_ns, side=1)
            triggers.follow(high, by_ns, side=-1)
            for order in triggers.trailing_reached(close, by_ns):
                _meet_trigger(order, shown, seen, matching)


class PathFill(NextOpenFill):
    """Orders fill where the path through a candle meets them, the worse extreme first."""

    name = "path"

    def _meet_range(
        self, orders: RestingOrders, candle: Bar, shown: ShownSide, seen: Cause, matching: Matching
    ) -> None:
        """Walk from the open to both extremes and to the close, and fill what is met, the nearest first."""
        net = matching.net_of(candle.instrument)
        falls = net > 0 if net else candle.open - candle.low <= candle.high - candle.open
        extremes = (candle.low, candle.high) if falls else (candle.high, candle.low)
        at = decimal_of(candle.open)
        for corner in (*extremes, candle.close):
            to = decimal_of(corner)
            for price, order in _Leg(orders, at, to, falls=falls, by_ns=candle.ts_open):
                if order.is_waiting:
                    matching.trigger(order, seen)
                shown.price = price
                matching.meet(order, shown, seen)
            if orders.triggers.orders:
                orders.triggers.follow(to, candle.ts_open)
            at, falls = to, not falls


class _Leg:
    """A stretch of a path: yields where it meets which order, the nearest first, also those that rest on the way."""

    def __init__(self, orders: RestingOrders, at: Decimal, to: Decimal, *, falls: bool, by_ns: int) -> None:
        self._orders = orders
        self._at, self._to, self._falls, self._by_ns = at, to, falls, by_ns
        self._met: set[tuple[int, bool]] = set()

    def __iter__(self) -> Iterator[tuple[Decimal, RestingOrder]]:
        ahead = self._ahead()
        while ahead:
            place, number, waited, order = ahead.pop()
            self._met.add((number, waited))
            if not order.has_arrived(self._by_ns):
                continue
            yield place.copy_negate() if self._falls else place, order
            if waited and not order.is_arriving:
                # A limit now, which rests: the leg may reach it, too.
                ahead = self._ahead()

    def _ahead(self) -> list[tuple[Decimal, int, bool, RestingOrder]]:
        """Return what the leg meets from here on, the nearest last."""
        triggers = self._orders.triggers
        waiting = triggers.reached_at(self._to, self._by_ns) if triggers.orders else []
        levels = [(order.trigger, order, True) for order in waiting if order.waits_for_rise is not self._falls]
        resting = self._orders.resting_at(1 if self._falls else -1, self._to)
        levels += [(order.request.price, order, False) for order in resting]
        found = [
            (self._place(level), order.number, waited, order)
            for level, order, waited in levels
            if level is not None and (order.number, waited) not in self._met
        ]
        return sorted(found, key=lambda own: own[:2], reverse=True)

    def _place(self, level: Decimal) -> Decimal:
        """Return how far down or up the leg a level is; what lies behind its beginning is met there."""
        return max(level.copy_negate(), self._at.copy_negate()) if self._falls else max(level, self._at)


class CloseSlipFill(FillModel):
    """Orders fill at a close: that of the candle on which they were decided, or the next one."""

    name = "close_slip"
    sees = SEES_CANDLES

    def on_order(self, order: RestingOrder, last: LastCandle, matching: Matching) -> None:
        """Fill an order that was decided on the close of the candle that has just ended."""
        if last.closed is not None and order.has_arrived(last.closed.ts_close):
            _meet_open([order], ShownSide(last.closed.close, math.nan), _seen(last.closed), matching)

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill the orders that arrived by the close, at the close."""
        shown = ShownSides(candle.close, math.nan, candle.close, math.nan)
        resting = [order for side in (1, -1) for order in orders.resting_at(side, shown[side].price)]
        each = sorted([*orders.arriving, *resting], key=_by_number)
        arrived = [order for order in each if order.has_arrived(candle.ts_close)]
        _meet_open(arrived, ShownSide(candle.close, math.nan), _seen(candle), matching)


def _seen(candle: Bar) -> Cause:
    """Return what a fill against a whole candle names."""
    number = candle.cause.last if candle.cause is not None else 0
    return Cause(candle.instrument, "candle", number, number, candle.ts_close)


def _meet_open(each: Iterable[RestingOrder], shown: ShownSide, seen: Cause, matching: Matching) -> None:
    """Fill orders at the price of an open; those that wait, where it has reached their trigger."""
    for order in each:
        if order.is_waiting:
            if not order.is_reached(shown.price):
                order.follow(shown.price)
                continue
            matching.trigger(order, seen)
        matching.meet(order, shown, seen)


def _meet_trigger(order: RestingOrder, shown: ShownSide, seen: Cause, matching: Matching) -> None:
    """Fill an order at its trigger, which the range has reached."""
    trigger = order.trigger
    if trigger is not None and order.cancel_ns != 0:
        shown.price = trigger
        matching.trigger(order, seen)
        matching.meet(order, shown, seen)


def _meet_at_its_price(order: RestingOrder, shown: ShownSide, seen: Cause, matching: Matching) -> None:
    """Fill a limit that rests at its limit, or a take profit at its trigger."""
    if order.is_waiting:
        _meet_trigger(order, shown, seen, matching)
    else:
        shown.price = order.request.price or ZERO
        matching.meet(order, shown, seen)

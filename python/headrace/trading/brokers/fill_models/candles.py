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
from headrace.market.money import ZERO
from headrace.trading.brokers.fill_models.base import FillModel
from headrace.trading.brokers.resting import ShownSides

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    def on_order(self, order: RestingOrder, last: LastCandle, matching: Matching) -> None:
        """Fill an order that came of a fill at this very open, at the open."""
        if last.opened is not None and order.has_arrived(last.opened.ts_open):
            _meet_each([order], last.opened.price, last.opened.seen, matching)

    def on_open(self, orders: RestingOrders, opened: CandleOpen, matching: Matching) -> None:
        """Fill the orders that arrived by now, at the open."""
        arrived = [order for order in orders.arriving if order.has_arrived(opened.ts_open)]
        _meet_each(arrived, opened.price, opened.seen, matching)

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill the limits that rested when the candle opened, where its range reaches them."""
        shown = ShownSides(candle.high, math.nan, candle.low, math.nan)
        met = [order for side in (1, -1) for order in _on_the_way(orders, candle, shown, side)]
        for order in sorted(met, key=_by_number):
            matching.meet(order, shown[order.request.side], _seen(candle))


class PathFill(NextOpenFill):
    """Limits fill where the path through a candle meets them, the worse extreme first."""

    name = "path"

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill the limits in the order in which the path reaches them, the nearest to the open first."""
        net = matching.net_of(candle.instrument)
        is_low_first = net > 0 if net else candle.open - candle.low <= candle.high - candle.open
        shown = ShownSides(candle.high, math.nan, candle.low, math.nan)
        for side in (1, -1) if is_low_first else (-1, 1):
            for order in _on_the_way(orders, candle, shown, side):
                matching.meet(order, shown[side], _seen(candle))


class CloseSlipFill(FillModel):
    """Orders fill at a close: that of the candle on which they were decided, or the next one."""

    name = "close_slip"
    sees = SEES_CANDLES

    def on_order(self, order: RestingOrder, last: LastCandle, matching: Matching) -> None:
        """Fill an order that was decided on the close of the candle that has just ended."""
        if last.closed is not None and order.has_arrived(last.closed.ts_close):
            _meet_each([order], last.closed.close, _seen(last.closed), matching)

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill the orders that arrived by the close, at the close."""
        shown = ShownSides(candle.close, math.nan, candle.close, math.nan)
        resting = [order for side in (1, -1) for order in orders.resting_at(side, shown[side].price)]
        each = sorted([*orders.arriving, *resting], key=_by_number)
        arrived = [order for order in each if order.has_arrived(candle.ts_close)]
        _meet_each(arrived, candle.close, _seen(candle), matching)


def _seen(candle: Bar) -> Cause:
    """Return what a fill against a whole candle names."""
    number = candle.cause.last if candle.cause is not None else 0
    return Cause(candle.instrument, "candle", number, number, candle.ts_close)


def _meet_each(each: Iterable[RestingOrder], price: float, seen: Cause, matching: Matching) -> None:
    shown = ShownSides(price, math.nan, price, math.nan)
    for order in each:
        matching.meet(order, shown[order.request.side], seen)


def _on_the_way(orders: RestingOrders, candle: Bar, shown: ShownSides, side: int) -> list[RestingOrder]:
    """Return the resting limits of one side between the open and the extreme, the nearest to the open first."""
    if not shown[side].left:
        return []
    found = [own for own in orders.resting_at(side, shown[side].price) if own.has_arrived(candle.ts_open)]
    # The lists of limits end with the best price, and at one price with the newest order.
    return sorted(found, key=lambda own: (-side * (own.request.price or ZERO), own.number))

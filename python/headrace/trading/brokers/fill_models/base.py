"""FillModel: decides what an order fills against, and at which price.

::

    quote, trade, book, candle ─▶ SimulatedBroker ─▶ FillModel.on_… ─▶ Matching.meet · trigger ─▶ events

    on_order    an order was accepted                      on_quote    a quote of its instrument
    on_trade    a trade                                    on_book     a book that is in sync changed
    on_open     a candle begins; only its open is known    on_close    a candle ends; all of it is known

Guarantees: a model sees an instrument's orders only while there are some; it never sees data of the future.
Does not: publish, or keep books of what was filled (``matching``); compute fees and slippage (``costs``).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple, Protocol, get_args, runtime_checkable

from headrace.market.events import OrderType

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace._native import Book
    from headrace.market.candles import CandleOpen
    from headrace.market.events import Bar, Cause
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.resting import RestingOrder, RestingOrders, ShownSides

__all__ = ["ORDER_TYPES", "FillModel", "LastCandle", "Trade"]

ORDER_TYPES: AbstractSet[str] = frozenset(get_args(OrderType))
"""All types of orders."""


class LastCandle(NamedTuple):
    """The candles of an instrument. opened : the newest open. closed : the newest whole one."""

    opened: CandleOpen | None = None
    closed: Bar | None = None


class Trade(NamedTuple):
    """A trade between others. aggressor_side : +1: a buy took an offer; -1: a sell took a bid; 0: unknown."""

    seen: Cause
    price: Decimal
    size: Decimal
    aggressor_side: int


@runtime_checkable
class FillModel(Protocol):
    """One way to fill orders. Subclass it, and override what it sees.

    name : what configurations and errors call it. sees : the data that it fills from: "quote", "trade", "book",
    "candle". order_types : those that it simulates; the broker rejects any other order at its submission.
    sees_each_quote : it gets also quotes that reach no order.
    """

    name: str
    sees: AbstractSet[str]
    order_types: AbstractSet[str] = frozenset({"market", "limit"})
    sees_each_quote: bool = False

    def on_order(self, order: RestingOrder, last: LastCandle, matching: Matching) -> None:
        """Look at an order that was just accepted: it may fill at a price of this very time."""
        return

    def on_quote(self, orders: RestingOrders, quote: Cause, shown: ShownSides, matching: Matching) -> None:
        """Fill what a quote allows. shown : its sides, by the side of the orders that take them."""
        return

    def on_trade(self, orders: RestingOrders, trade: Trade, matching: Matching) -> None:
        """Fill what a trade between others allows."""
        return

    def on_book(self, orders: RestingOrders, seen: Cause, book: Book, matching: Matching) -> None:
        """Fill what a book in sync allows; it holds only during the call."""
        return

    def on_open(self, orders: RestingOrders, opened: CandleOpen, matching: Matching) -> None:
        """Fill what the open of a candle allows, at its open time."""
        return

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill what a whole candle allows, at its close time."""
        return

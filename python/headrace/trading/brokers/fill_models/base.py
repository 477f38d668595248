"""FillModel: decides what an order fills against, and at which price.

::

    quote, candle ─▶ SimulatedBroker ─▶ FillModel.on_… ─▶ Matching.meet · fill · rest ─▶ events

    on_order    an order was accepted                      on_quote    a quote of its instrument
    on_open     a candle begins; only its open is known    on_close    a candle ends; all of it is known

Guarantees: a model sees an instrument's orders only while there are some; it never sees data of the future.
Does not: publish, or keep books of what was filled (``matching``); compute fees and slippage (``costs``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from headrace.market.candles import CandleOpen
    from headrace.market.events import Bar, Cause
    from headrace.trading.brokers.matching import Matching
    from headrace.trading.brokers.resting import RestingOrder, RestingOrders, ShownSides

__all__ = ["FillModel", "LastCandle"]


class LastCandle(NamedTuple):
    """The candles of an instrument. opened : the newest open. closed : the newest whole one."""

    opened: CandleOpen | None = None
    closed: Bar | None = None


@runtime_checkable
class FillModel(Protocol):
    """One way to fill orders. Subclass it, and override what it sees.

    name : what configurations and errors call it. sees : the data that it fills from, "quote" or "candle".
    order_types : those that it simulates; the broker rejects any other order at its submission.
    """

    name: str
    sees: AbstractSet[str]
    order_types: AbstractSet[str] = frozenset({"market", "limit"})

    def on_order(self, order: RestingOrder, last: LastCandle, matching: Matching) -> None:
        """Look at an order that was just accepted: it may fill at a price of this very time."""
        return

    def on_quote(self, orders: RestingOrders, quote: Cause, shown: ShownSides, matching: Matching) -> None:
        """Fill what a quote allows. shown : its sides, by the side of the orders that take them."""
        return

    def on_open(self, orders: RestingOrders, opened: CandleOpen, matching: Matching) -> None:
        """Fill what the open of a candle allows, at its open time."""
        return

    def on_close(self, orders: RestingOrders, candle: Bar, matching: Matching) -> None:
        """Fill what a whole candle allows, at its close time."""
        return

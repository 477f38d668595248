"""Events of orders: from the request to the last fill, and what positions and money become by them.

Guarantees: amounts are Decimal.
Does not: judge; an order's states are the manager's.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from headrace.market.events.base import Cause, Event

__all__ = [
    "FundingPaid",
    "Liquidated",
    "OrderAccepted",
    "OrderAmendRejected",
    "OrderAmendRequested",
    "OrderAmended",
    "OrderCanceled",
    "OrderEvent",
    "OrderExpired",
    "OrderFill",
    "OrderFilled",
    "OrderPartiallyFilled",
    "OrderRejected",
    "OrderRequested",
    "OrderTriggered",
    "OrderType",
    "OtherFee",
    "PositionChanged",
    "TimeInForce",
]


OrderType: TypeAlias = Literal[
    "market",
    "limit",
    "stop",
    "stop_limit",
    "take_profit",
    "take_profit_limit",
    "trailing_stop",
    "trailing_stop_limit",
]
TimeInForce: TypeAlias = Literal["gtc", "ioc", "fok", "gtd"]


class OrderEvent(Event, frozen=True, kw_only=True):
    """The base of all order events."""

    order_id: str
    strategy: str
    instrument: str


class OrderRequested(OrderEvent, frozen=True, kw_only=True):
    """A new order, with the verdict of the gates. The orders' manager alone publishes it: call ``orders.submit``.

    side : +1 buy, -1 sell. price : the limit; None for an order that takes the market's price. trigger_price : from
    when on a stop or a take-profit order is a market or a limit order. trail : how far behind the best price since its
    arrival a trailing stop has its trigger, in prices or in percent of that price (``trail_unit``). limit_offset : how
    far beyond its trigger a trailing stop limit has its limit.
    time_in_force : "gtc" rests until canceled; "gtd" until ``expires_ns``; "ioc" fills what it can at once, the rest is
    canceled; "fok" fills at once and whole, or is canceled.
    reduce_only : the order may not add exposure. post_only : it makes liquidity, or is canceled. oco : the id of the
    first order of its group: what one of them fills, the others lose. tag : a word of the strategy's own, which results
    show.
    requested_quantity : what a gate that reduces has reduced to ``quantity``; None: none has.
    verdict : "passed": on its way to the broker. "refused": an OrderRejected follows, which names the gate. None: not
    judged yet; it is published with a verdict.
    """

    side: Literal[1, -1]
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    trail: Decimal | None = None
    trail_unit: Literal["price", "percent"] = "price"
    limit_offset: Decimal | None = None
    time_in_force: TimeInForce = "gtc"
    expires_ns: int | None = None
    reduce_only: bool = False
    post_only: bool = False
    oco: str = ""
    tag: str = ""
    requested_quantity: Decimal | None = None
    verdict: Literal["passed", "refused"] | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether it waits for a price before it is a market or a limit order."""
        return self.trigger_price is not None or self.trail is not None

    @property
    def trail_text(self) -> str:
        """Its trail as an option has it: "5" or "2%"; empty: it does not trail."""
        return "" if self.trail is None else f"{self.trail}{'%' if self.trail_unit == 'percent' else ''}"


class OrderAccepted(OrderEvent, frozen=True, kw_only=True):
    """The broker accepted the order."""

    broker_order_id: str = ""


class OrderRejected(OrderEvent, frozen=True, kw_only=True):
    """A gate or the broker refused the order.

    gate : the gate's name; "broker" when the order passed all gates. observed, threshold : the value that the gate saw
    and the value that it allows.
    """

    gate: str
    observed: str
    threshold: str
    reason: str


class OrderCanceled(OrderEvent, frozen=True, kw_only=True):
    """The order was canceled; ``left`` was not filled."""

    left: Decimal
    reason: str = ""


class OrderExpired(OrderEvent, frozen=True, kw_only=True):
    """The order expired; ``left`` was not filled."""

    left: Decimal


class OrderTriggered(OrderEvent, frozen=True, kw_only=True):
    """The market reached the trigger of a stop or a take-profit order: it is a market or a limit order now.

    price : the trigger. limit : that a trailing stop limit has from now on; None for others. quote : the tick or the
    candle that reached it.
    """

    price: Decimal
    limit: Decimal | None = None
    quote: Cause | None = None


class OrderAmendRequested(OrderEvent, frozen=True, kw_only=True):
    """An open order is to have other values, with the verdict of the gates. The orders' manager alone publishes it.

    quantity : the whole, with what is filled already. price, trigger_price, trail : all of them, as they would be.
    """

    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    trail: Decimal | None = None
    verdict: Literal["passed", "refused"] | None = None


class OrderAmended(OrderEvent, frozen=True, kw_only=True):
    """The order has other values from now on: it was amended, or an OCO partner was filled in part.

    quantity : the whole, with what is filled already; ``left`` of it is not filled.
    """

    quantity: Decimal
    left: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    trail: Decimal | None = None
    reason: str = ""


class OrderAmendRejected(OrderEvent, frozen=True, kw_only=True):
    """A gate or the broker refused to amend the order, which stays as it is. Fields as in OrderRejected."""

    gate: str
    observed: str
    threshold: str
    reason: str


class OtherFee(msgspec.Struct, frozen=True):
    """A fee that was paid in another currency than the one that its instrument settles in."""

    currency: str
    amount: Decimal


class OrderFill(OrderEvent, frozen=True, kw_only=True):
    """One execution: ``quantity`` at ``price`` for ``fee``; ``filled`` and ``left`` are the order's sums after it.

    fee : in the instrument's settlement currency. liquidity : "taker" or "maker". quote : the tick that it was filled
    against. other_fee : what was paid in another currency, in place of ``fee`` or beside it; None: nothing.
    """

    execution_id: str
    side: Literal[1, -1]
    quantity: Decimal
    price: Decimal
    fee: Decimal
    filled: Decimal
    left: Decimal
    liquidity: Literal["taker", "maker"] = "taker"
    quote: Cause | None = None
    other_fee: OtherFee | None = None


class OrderPartiallyFilled(OrderFill, frozen=True, kw_only=True):
    """An execution that leaves a part of the order open."""


class OrderFilled(OrderFill, frozen=True, kw_only=True):
    """The execution that completes the order."""


class PositionChanged(Event, frozen=True, kw_only=True):
    """A strategy's position in an instrument after an execution.

    quantity : signed. average_price : of the open quantity; 0 when flat. realized_pnl, fees : since the run began, in
    ``currency``.
    """

    strategy: str
    instrument: str
    quantity: Decimal
    average_price: Decimal
    realized_pnl: Decimal
    fees: Decimal
    currency: str = ""


class FundingPaid(Event, frozen=True, kw_only=True):
    """What a strategy paid for a perpetual contract that it held when funding was settled.

    settled_ns : when, by the venue, ns. quantity : held just before, signed. mark_price, rate : of the settlement.
    amount : in ``currency``; above 0 it was paid, below 0 received.
    """

    strategy: str
    instrument: str
    settled_ns: int
    quantity: Decimal
    mark_price: Decimal
    rate: Decimal
    amount: Decimal
    currency: str


class Liquidated(Event, frozen=True, kw_only=True):
    """An account's margin was used up: all of its positions on margin in ``currency`` are closed at these marks.

    equity : of the account in this currency, at the marks, without what is paid for whole; maintenance : what its
    positions needed at least. marks : the price that each instrument was judged at, and is closed at. The orders that
    close follow, with the tag "liquidation".
    """

    currency: str
    equity: Decimal
    maintenance: Decimal
    marks: Mapping[str, Decimal]

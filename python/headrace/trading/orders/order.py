"""Order: one order's life, as a table of what may become of it.

::

    SUBMITTED ─accepted─▶ ACCEPTED [─triggered─▶ TRIGGERED] ─fill─▶ PARTIALLY_FILLED ─fill─▶ FILLED
        │ rejected          │ cancel                │ cancel            │ cancel
        ▼                   ▼                       ▼                   ▼
    REJECTED           PENDING_CANCEL ─▶ CANCELED, or EXPIRED, or FILLED before the cancel reached the broker

    Only orders that wait for a price are ever TRIGGERED. An amended order keeps its state.

Guarantees: what is not in the table is refused; each order ends in exactly one of the four final states, or is open.
Does not: publish, or count profit; ``manager`` and ``positions`` do.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec

from headrace.market.events import (
    Cause,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
)
from headrace.market.money import MONEY, ZERO

__all__ = ["FILLED", "FINAL", "ORDER_TRANSITIONS", "PENDING_CANCEL", "SUBMITTED", "UNKNOWN", "Order", "OrderState"]


class OrderState(StrEnum):
    """The state of an order."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    TRIGGERED = "triggered"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


_S = OrderState
# What each order is compared with: until Python 3.12 an enum finds its members by a function of Python's.
SUBMITTED, PENDING_CANCEL, FILLED = _S.SUBMITTED, _S.PENDING_CANCEL, _S.FILLED

# How the reason of an order begins when its broker raised on it.
UNKNOWN = "outcome unknown"

FINAL = frozenset({_S.FILLED, _S.CANCELED, _S.REJECTED, _S.EXPIRED})

_ENDS: dict[type[OrderEvent], OrderState] = {
    OrderFilled: _S.FILLED,
    OrderCanceled: _S.CANCELED,
    OrderExpired: _S.EXPIRED,
}
_BEFORE_CANCEL = (_S.SUBMITTED, _S.ACCEPTED, _S.TRIGGERED, _S.PARTIALLY_FILLED)

# (state, event of the broker or a gate) -> state; what is missing is refused.
ORDER_TRANSITIONS: dict[tuple[OrderState, type[OrderEvent]], OrderState] = {
    (_S.SUBMITTED, OrderAccepted): _S.ACCEPTED,
    (_S.SUBMITTED, OrderRejected): _S.REJECTED,
    # A venue may report a fill before it reports that it accepted the order.
    **{(state, OrderPartiallyFilled): _S.PARTIALLY_FILLED for state in _BEFORE_CANCEL},
    **{(state, event): end for state in (*_BEFORE_CANCEL, _S.PENDING_CANCEL) for event, end in _ENDS.items()},
    # So it may with the trigger.
    **{(state, OrderTriggered): _S.TRIGGERED for state in (_S.SUBMITTED, _S.ACCEPTED)},
    **{(state, OrderAmended): state for state in (_S.ACCEPTED, _S.TRIGGERED, _S.PARTIALLY_FILLED)},
    # Until the broker answers a cancel, everything that was on its way still arrives.
    **{
        (_S.PENDING_CANCEL, event): _S.PENDING_CANCEL
        for event in (OrderAccepted, OrderTriggered, OrderAmended, OrderPartiallyFilled)
    },
    (_S.PENDING_CANCEL, OrderRejected): _S.REJECTED,
}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands; a later state is another object.

    request : as it was submitted, or amended since, with id, strategy, instrument, side, quantity and prices.
    is_sent : the broker has it, or may have it. filled : so much was executed, on average at ``average_price``, for
    ``fees``. reason : of its end, or why it may have none. gate : that refused it. ts : of its latest change, ns.
    """

    request: OrderRequested
    state: OrderState = OrderState.SUBMITTED
    is_sent: bool = False
    filled: Decimal = ZERO
    average_price: Decimal = ZERO
    fees: Decimal = ZERO
    broker_order_id: str = ""
    reason: str = ""
    gate: str = ""
    ts: int = 0

    @property
    def order_id(self) -> str:
        """The client order id."""
        return self.request.order_id

    @property
    def strategy(self) -> str:
        """The strategy that submitted it."""
        return self.request.strategy

    @property
    def instrument(self) -> str:
        """Its instrument."""
        return self.request.instrument

    @property
    def side(self) -> Literal[1, -1]:
        """+1 buy, -1 sell."""
        return self.request.side

    @property
    def quantity(self) -> Decimal:
        """The quantity that was submitted, or amended since."""
        return self.request.quantity

    @property
    def price(self) -> Decimal | None:
        """The limit; None for an order that takes the market's price."""
        return self.request.price

    @property
    def trigger_price(self) -> Decimal | None:
        """The price that a stop or a take-profit order waits for, or waited for; None for others."""
        return self.request.trigger_price

    @property
    def cause(self) -> Cause | None:
        """The tick that it goes back to."""
        return self.request.cause

    @property
    def left(self) -> Decimal:
        """The quantity that was not executed."""
        return MONEY.subtract(self.request.quantity, self.filled)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in FINAL

    @property
    def is_unknown(self) -> bool:
        """Whether the broker raised on its submit, and has not answered since: it may have the order."""
        return self.is_open and self.reason.startswith(UNKNOWN)

    @property
    def standing(self) -> str:
        """Its state and its reason, as a text."""
        return f"{self.state}: {self.reason}" if self.reason else str(self.state)

"""RestingOrder: an order that the simulated broker has, and which quotes it may meet.

Guarantees: it never meets the tick that caused it, or one before, nor a quote that was received before it arrived.
Does not: fill itself; ``simulated`` does.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Literal

from headrace.money import ZERO, decimal_of

if TYPE_CHECKING:
    from headrace.events import Cause, OrderRequested

__all__ = ["NEVER_NS", "RestingOrder", "ShownSide"]

NEVER_NS = sys.maxsize


class RestingOrder:
    """One order.

    arrives_ns : only quotes received from then on are met; 0: the next one. is_new : it has met none yet.
    filled, left, executions : what became of it. cancel_ns : when it is canceled, why, and what asked for it.
    """

    __slots__ = (
        *("arrives_ns", "cancel_cause", "cancel_ns", "cancel_reason"),
        *("executions", "filled", "is_new", "left", "request"),
    )

    def __init__(self, request: OrderRequested, arrives_ns: int) -> None:
        self.request = request
        self.left = request.quantity
        self.filled = ZERO
        self.executions = 0
        self.arrives_ns = arrives_ns
        self.is_new = True
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
        """Which side of a trade it would be now: an order makes liquidity once it has rested at its limit."""
        return "taker" if self.is_new or self.request.price is None else "maker"

    def meets(self, quote: Cause) -> bool:
        """Say whether a quote came after what caused the order, and not before the order had arrived."""
        if quote.ts_init < self.arrives_ns:
            return False
        cause = self.request.cause
        if cause is None:
            return True
        if (cause.instrument, cause.kind) == (quote.instrument, quote.kind):
            return quote.last > cause.last
        # Numbers of two kinds cannot be compared; what was received at the same time may have been before.
        return quote.ts_init > cause.ts_init


class ShownSide:
    """One side of a quote: its price, and what is left of its size."""

    __slots__ = ("left", "price")

    def __init__(self, price: float, size: float) -> None:
        is_there = 0 < price < math.inf and 0 < size < math.inf
        self.price = decimal_of(price) if is_there else ZERO
        self.left = decimal_of(size) if is_there else ZERO

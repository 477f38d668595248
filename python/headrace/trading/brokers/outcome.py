"""OrderOutcome: what a venue says has become of an order, asked for by the order's own id.

Guarantees: a broker that can be asked never has to send an order twice to find out whether it arrived.
Does not: mean that an order which the venue does not know was not taken: a venue may deny a new order for seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from headrace.trading.brokers.base import Broker

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["AskableBroker", "OrderOutcome"]


class OrderOutcome(NamedTuple):
    """What a venue says of an order.

    state : "filled", "open", "ended" (canceled, expired or rejected, perhaps after a part was filled), or "missing":
        the venue does not know it, now. filled : the quantity. average_price : of it; 0 without any. reason : in words.
    """

    state: Literal["filled", "open", "ended", "missing"]
    filled: Decimal
    average_price: Decimal
    reason: str = ""


@runtime_checkable
class AskableBroker(Broker, Protocol):
    """A broker that can be asked for the outcome of an order, as long as its venue remembers."""

    def outcome(self, order_id: str, instrument: str) -> OrderOutcome:
        """Return what the venue says now. Blocks for at most the broker's timeout. Raises VenueRequestError."""

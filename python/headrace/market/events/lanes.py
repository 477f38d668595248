"""Which lane an event waits in, and what it concerns.

Guarantees: each type of this package has a lane.
Does not: know a user's own types; ``EventBus.declare`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from headrace.market.events.base import Event, Lane
from headrace.market.events.control import Audit, Control, StrategyStateChanged
from headrace.market.events.data import Bar, BarFrame, Gap, Signal, Status, bar_key
from headrace.market.events.orders import (
    FundingPaid,
    Liquidated,
    OrderAccepted,
    OrderAmended,
    OrderAmendRejected,
    OrderAmendRequested,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
    PositionChanged,
)

__all__ = ["EVENT_KEYS", "EVENT_LANES"]

EVENT_LANES: dict[type[Event], Lane] = {
    **dict.fromkeys((Bar, BarFrame, Gap, Status), Lane.DATA),
    Signal: Lane.SIGNAL,
    **dict.fromkeys(
        (
            *(OrderRequested, OrderAccepted, OrderRejected, OrderCanceled, OrderExpired, OrderTriggered),
            *(OrderAmendRequested, OrderAmended, OrderAmendRejected),
            *(OrderPartiallyFilled, OrderFilled, PositionChanged, FundingPaid, Liquidated),
        ),
        Lane.ORDER,
    ),
    **dict.fromkeys((Control, StrategyStateChanged, Audit), Lane.CONTROL),
}

# What an event concerns: a handler that chooses by it costs events of other keys nothing. Subclasses have the same key.
EVENT_KEYS: dict[type[Event], Callable[[Any], Any]] = {
    Bar: bar_key,
    BarFrame: attrgetter("timeframe", "price", "time"),
    Signal: attrgetter("source"),
    OrderEvent: attrgetter("strategy"),
}

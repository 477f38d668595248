"""Events: the messages on the bus; typed, immutable, one tagged family.

::

    Event ┬ data     Bar · BarFrame · Gap · Status
          ├ signal   Signal
          ├ order    OrderRequested · OrderAccepted · OrderRejected · OrderCanceled · OrderExpired · OrderTriggered
          │          OrderAmendRequested · OrderAmended · OrderAmendRejected
          │          OrderPartiallyFilled · OrderFilled · PositionChanged · FundingPaid · Liquidated
          └ control  Control · StrategyStateChanged · Audit

Every event holds its publisher, its time by the engine's clock, its run, and the tick that caused it.

Guarantees: money is Decimal; a field of type ``Any`` holds what JSON does, and floats that it lacks.
Does not: carry ticks; those stay on the ring. ``event_json`` writes and reads events.
"""

from __future__ import annotations

from headrace.market.events.base import Cause, Event, Lane, current_cause, stamped
from headrace.market.events.control import Audit, Control, StrategyStateChanged
from headrace.market.events.data import Bar, BarFrame, Gap, Signal, Status
from headrace.market.events.lanes import EVENT_KEYS, EVENT_LANES
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
    OrderFill,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
    OrderType,
    OtherFee,
    PositionChanged,
    TimeInForce,
)

__all__ = [
    "EVENT_KEYS",
    "EVENT_LANES",
    "Audit",
    "Bar",
    "BarFrame",
    "Cause",
    "Control",
    "Event",
    "FundingPaid",
    "Gap",
    "Lane",
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
    "Signal",
    "Status",
    "StrategyStateChanged",
    "TimeInForce",
    "current_cause",
    "stamped",
]

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

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec

from headrace.market.checks import refuse, side_of

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
    "PositionChanged",
    "Signal",
    "Status",
    "StrategyStateChanged",
    "TimeInForce",
    "current_cause",
    "stamped",
]


OrderType: TypeAlias = Literal[
    "market", "limit", "stop", "stop_limit", "take_profit", "take_profit_limit", "trailing_stop"
]
TimeInForce: TypeAlias = Literal["gtc", "ioc", "fok", "gtd"]


class Lane(StrEnum):
    """The lanes of the bus, highest priority first."""

    CONTROL = "control"
    ORDER = "order"
    SIGNAL = "signal"
    DATA = "data"


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tick, or the batch of ticks, that something was decided on.

    instrument : ``SYMBOL.VENUE``, None for a gap in every instrument. kind : the tick's.
    first, last : ``seq`` of the first and last tick of the handler's call; equal for a singular handler.
    ts_init : when the last of them was received, ns.
    """

    instrument: str | None
    kind: str
    first: int
    last: int
    ts_init: int


# The ticks of the async handler that runs in this task; tasks that it starts inherit them.
current_cause: ContextVar[Cause | None] = ContextVar("headrace_cause", default=None)


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """The base of every event. The bus fills in these fields where they are empty.

    source : its publisher. ts : when it was published, by the engine's clock, ns. run_id : of the engine's run.
    cause : the ticks that it was decided on; None when there were none.
    """

    source: str = ""
    ts: int = 0
    run_id: str = ""
    cause: Cause | None = None


class Bar(Event, frozen=True, kw_only=True):
    """One interval of one instrument, stamped at its close; ``[ts_open, ts_close)``.

    timeframe : ``"1s"``, ``"1m"``, ``"1h"`` or ``"100t"``. price : the price it is made of: "trade", "agg_trade",
    "mid", "bid", "ask" or "kline". time : the time that decides which bar a tick is in, "ts_init" or "ts_event".
    volume : sum of sizes, 0 for quotes. count : ticks, for "kline" trades; 0: none came, and the prices are the close
        before.
    late : ticks so far that came after their bar was closed. partial : its interval began before the data did, so that
        ticks are missing.
    """

    instrument: str
    timeframe: str
    price: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    count: int
    ts_open: int
    ts_close: int
    late: int = 0
    partial: bool = False
    time: str = "ts_init"

    @property
    def is_empty(self) -> bool:
        """Whether no tick came in its interval."""
        return self.count == 0


class BarFrame(Event, frozen=True, kw_only=True):
    """The bars of one timeframe that closed at one time: ``bars["BTCUSDT.BINANCE"]``, ``for instrument in bars``.

    ts_close : the time, ns. bars : by instrument, in the order in which they closed. missing : instruments that had
    such bars before, and have none that closes now.
    """

    timeframe: str
    price: str
    time: str
    ts_close: int
    bars: Mapping[str, Bar]
    missing: tuple[str, ...] = ()

    def __getitem__(self, instrument: str) -> Bar:
        """Return the bar of an instrument. Raises KeyError where it is missing."""
        return self.bars[instrument]

    def __iter__(self) -> Iterator[str]:
        """Yield the instruments that have a bar."""
        return iter(self.bars)

    def __contains__(self, instrument: object) -> bool:
        return instrument in self.bars

    def __len__(self) -> int:
        return len(self.bars)

    def of(self, takes: Callable[[tuple[str, str, str, str, bool]], bool]) -> BarFrame | None:
        """Return the part that a strategy takes, by the keys of bars; None: it takes none of them."""
        bars = {name: bar for name, bar in self.bars.items() if takes(EVENT_KEYS[Bar](bar))}
        if not bars:
            return None
        missing = tuple(own for own in self.missing if takes((own, self.timeframe, self.price, self.time, False)))
        if len(bars) == len(self.bars) and len(missing) == len(self.missing):
            return self
        return msgspec.structs.replace(self, bars=bars, missing=missing)


class Gap(Event, frozen=True, kw_only=True):
    """Events that the data lane dropped before this one: ``missed`` of them, numbers ``first`` to ``last``."""

    lane: str
    missed: int
    first: int
    last: int


class Status(Event, frozen=True, kw_only=True):
    """The state of a feed, a service or the broker."""

    subject: str
    state: str
    reason: str = ""


class Signal(Event, frozen=True, kw_only=True):
    """A strategy's opinion of an instrument. Raises OptionError for a side that is none of the three.

    side : +1 buy, -1 sell, 0 close the position. strength : as the strategy scales it. price : the price that the
    strategy saw, or None.
    """

    instrument: str
    side: int
    strength: float = 1.0
    price: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        # By code that publishes its own, too: NaN is no side, and 1 of NumPy becomes an int.
        side = side_of(self.side)
        if side is None:
            refuse("side", self.side, "1 to buy, -1 to sell, or 0 to close the position")
        if side is not self.side:
            msgspec.structs.force_setattr(self, "side", side)


class OrderEvent(Event, frozen=True, kw_only=True):
    """The base of all order events."""

    order_id: str
    strategy: str
    instrument: str


class OrderRequested(OrderEvent, frozen=True, kw_only=True):
    """A new order, with the verdict of the gates. The orders' manager alone publishes it: call ``orders.submit``.

    side : +1 buy, -1 sell. price : the limit; None for an order that takes the market's price. trigger_price : from
    when on a stop or a take-profit order is a market or a limit order. trail : how far behind the best price since its
    arrival a trailing stop has its trigger. time_in_force : "gtc" rests until canceled; "gtd" until ``expires_ns``;
    "ioc" fills what it can at once, the rest is canceled; "fok" fills at once and whole, or is canceled.
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

    price : the trigger. quote : the tick or the candle that reached it.
    """

    price: Decimal
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


class OrderFill(OrderEvent, frozen=True, kw_only=True):
    """One execution: ``quantity`` at ``price`` for ``fee``; ``filled`` and ``left`` are the order's sums after it.

    fee : in the instrument's settlement currency. liquidity : "taker" or "maker". quote : the tick that it was filled
    against.
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


class Control(Event, frozen=True, kw_only=True):
    """An event of the engine.

    name : "ENGINE_READY", "FEED_ENDED", "STOPPING", "EOF", "LANE_RESIZED", "HALTED", "REARMED", or
        "LISTED": what a venue lists of an instrument of a live feed, at the start and at each change.
    """

    name: str
    detail: Mapping[str, Any] = {}


class StrategyStateChanged(Event, frozen=True, kw_only=True):
    """A strategy changed its state; ``version`` rises with every change."""

    strategy: str
    before: str
    after: str
    reason: str = ""
    version: int = 0


class Audit(Event, frozen=True, kw_only=True):
    """A command, or a change of what is allowed: its actor, its action and its outcome.

    outcome : the Ack's status. duration_ns : from the command's submission to its answer.
    """

    actor: str
    action: str
    target: str
    outcome: str
    reason: str = ""
    duration_ns: int = 0
    version: int = 0
    detail: Mapping[str, Any] = {}


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
    Bar: attrgetter("instrument", "timeframe", "price", "time", "is_empty"),
    BarFrame: attrgetter("timeframe", "price", "time"),
    Signal: attrgetter("source"),
    OrderEvent: attrgetter("strategy"),
}


def stamped(event: Event, *, source: str, ts: int, run_id: str, cause: Cause | None) -> Event:
    """Return a copy of an event with these values in its empty fields; 1 µs."""
    return msgspec.structs.replace(
        event,
        source=event.source or source,
        ts=event.ts or ts,
        run_id=event.run_id or run_id,
        cause=cause if event.cause is None else event.cause,
    )

"""What a broker is: it takes orders that passed every gate, and answers with events.

::

    RiskGates ─▶ submit(order) ─▶ context.publish(OrderAccepted · OrderRejected · fills · OrderCanceled · OrderExpired)

What happens to an answer that finds no room
    ``publish`` raises LaneFullError, and nothing was published. A broker that makes its executions itself changes
    nothing then, and tries again; a cancel that raises it is tried again by the orders' manager.
What happens when a broker raises
    ``call_broker`` raises BrokerError, which names the broker, the method and the exception, of whatever type that is.

Guarantees: methods return at once; what comes of them is published, now or later, on the engine's own thread.
Does not: check orders; that is ``risk``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from headrace.dispatch.faults import safe_text
from headrace.errors import BrokerError, LaneFullError, OptionError
from headrace.market.clock import Mode
from headrace.market.user_functions import refuse_unfinished, unfinished_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.market.candles import CandleOpen
    from headrace.market.clock import Clock, ModeName
    from headrace.market.events import Bar, Cause, Event, OrderAmendRequested, OrderRequested
    from headrace.market.instrument import Instrument

__all__ = [
    "AmendingBroker",
    "Broker",
    "BrokerContext",
    "CandleBroker",
    "FeeBroker",
    "MarginBroker",
    "PaperBroker",
    "call_broker",
    "check_broker",
    "guarded",
]


AT_ONCE = "since a broker's methods return at once: start a task in it, and publish the answer"


class BrokerContext:
    """What an engine provides to a broker.

    publish : publishes an answer; raises LaneFullError. clock : the engine's. dispatcher : where its ticks come
    from, to subscribe. mode : of the engine. instruments : what is known of them, by name.
    call_at : calls back at a time of the clock, ns, once; a later call may replace the one before. None: there are no
    timers. candles : the instruments that have candles, each with the length of those that orders may be filled from,
    ns: its shortest. newest_candles : returns the newest open and the newest whole candle of an instrument that orders
    are filled from; None for what was not there yet. held_back : how many answers found no room and had to wait; the
    broker counts, and the report shows it.
    """

    __slots__ = (
        *("call_at", "candles", "clock", "dispatcher", "held_back", "instruments", "mode", "newest_candles"),
        "publish",
    )

    def __init__(
        self,
        *,
        publish: Callable[[Event], None],
        clock: Clock,
        dispatcher: Dispatcher | None,
        mode: ModeName,
        instruments: Mapping[str, Instrument] | None = None,
        call_at: Callable[[int, Callable[[], None]], None] | None = None,
        candles: Mapping[str, int] | None = None,
        newest_candles: Callable[[str], tuple[CandleOpen | None, Bar | None]] = lambda _: (None, None),
    ) -> None:
        self.publish = publish
        self.clock = clock
        self.dispatcher = dispatcher
        self.mode = Mode(mode)
        self.instruments = MappingProxyType({}) if instruments is None else instruments
        self.call_at = call_at
        self.candles = MappingProxyType({}) if candles is None else candles
        self.newest_candles = newest_candles
        self.held_back = 0


@runtime_checkable
class Broker(Protocol):
    """Takes orders, gives executions."""

    @property
    def name(self) -> str:
        """What events and reports call it."""

    def attach(self, context: BrokerContext) -> None:
        """Get ready; called once, before any order, while the engine is set up."""

    def submit(self, order: OrderRequested) -> None:
        """Take an order. Answers with OrderAccepted or OrderRejected, then fills.

        What it raises means that nobody knows whether it took the order.
        """

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        """Cancel an order if it is still open; answers with OrderCanceled, and with nothing if it is over."""

    def close(self) -> None:
        """Let go of everything; may be called twice. Open orders stay as they are."""


@runtime_checkable
class CandleBroker(Broker, Protocol):
    """A broker that fills orders from candles, too: those of each instrument's shortest candles, in a replay."""

    def on_candles_open(self, opens: Sequence[CandleOpen]) -> None:
        """Take the opens of candles of one time; before anything else of that time but bars and timers."""

    def on_candles_close(self, candles: Sequence[Bar]) -> None:
        """Take whole candles, at their close time, before strategies get them."""


@runtime_checkable
class PaperBroker(Protocol):
    """A broker whose executions cost and earn nothing: what operators see is never added to live money."""

    @property
    def is_paper(self) -> Literal[True]:
        """True; a broker without this property trades live money."""


@runtime_checkable
class AmendingBroker(Broker, Protocol):
    """A broker that can change an open order; with any other one, orders are canceled and sent anew."""

    def amend(self, change: OrderAmendRequested) -> None:
        """Change an order if it is still open; answers with OrderAmended, or with OrderAmendRejected."""


@runtime_checkable
class FeeBroker(Protocol):
    """A broker whose fees are known before an execution."""

    def fee(self, instrument: Instrument, quantity: Decimal, price: Decimal) -> Decimal:
        """Return what an execution would cost at most, in the instrument's settlement currency."""


@runtime_checkable
class MarginBroker(Protocol):
    """A broker that has an engine's account on margin: the engine judges it, and the broker closes positions."""

    def fill_at(self, order: OrderRequested, price: Decimal) -> None:
        """Take an order that closes a position, and fill all of it at this price, now."""


def check_broker(broker: Broker) -> None:
    """Refuse a broker of which a method would not run. Raises OptionError."""
    of_candles = ("on_candles_open", "on_candles_close") if isinstance(broker, CandleBroker) else ()
    of_margin = ("fill_at",) if isinstance(broker, MarginBroker) else ()
    of_amends = ("amend",) if isinstance(broker, AmendingBroker) else ()
    for method in ("attach", "submit", "cancel", "close", *of_amends, *of_candles, *of_margin):
        if msg := unfinished_problem(f"{type(broker).__name__}.{method}", getattr(broker, method)):
            raise OptionError(msg, option="broker")


def call_broker(
    broker: Broker,
    method: Literal["attach", "submit", "amend", "cancel", "close", "fill_at", "on_candles_open", "on_candles_close"],
    *arguments: object,
) -> None:
    """Call a broker's method. Raises LaneFullError, and BrokerError for every other exception."""
    guarded(broker, method, getattr(broker, method), *arguments)


def guarded(broker: Broker, place: str, call: Callable[..., object], *arguments: object) -> None:
    """Call what belongs to a broker. Raises LaneFullError, and BrokerError for every other exception."""
    try:
        returned = call(*arguments)
        if returned is not None:
            refuse_unfinished(returned, AT_ONCE)
    except (KeyboardInterrupt, LaneFullError):
        raise
    except BaseException as error:
        name = _name(broker)
        msg = f"broker {name} raised {type(error).__name__} in {type(broker).__name__}.{place}: {safe_text(error)}"
        raise BrokerError(msg, broker=name, call=place) from error


def _name(broker: Broker) -> str:
    try:
        return str(broker.name)
    except Exception:  # noqa: BLE001 - of a broker that is broken already
        return type(broker).__name__

"""A trading desk without an engine: the real dispatcher, bus, gates, manager and simulated broker, driven by the test.

Guarantees: one ``quote`` is one turn: publish, dispatch, drain.
Does not: keep time by itself; the test moves the clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from headrace import Dispatcher
from headrace.bus import EventBus
from headrace.bus.lane import LaneOptions
from headrace.market.events import Cause, Event, Lane, OrderEvent, OrderRequested
from headrace.market.instrument import Instrument, RiskLimits
from headrace.trading.brokers import Broker, BrokerContext, SimulatedBroker
from headrace.trading.known_names import KnownNames
from headrace.trading.orders import Order, OrderManager
from headrace.trading.positions import Position, Positions
from headrace.trading.risk import RiskGates
from tests.support.feeding import BTC, ETH, HandClock, quotes

E = TypeVar("E", bound=Event)

S = 1_000_000_000
WIDE = RiskLimits(
    quantity_max=Decimal(100),
    notional_max=Decimal(1_000_000),
    price_collar=Decimal("0.5"),
    open_orders_max=50,
    message_rate_max=1_000.0,
    stale_after_s=60.0,
)
KNOWN = (Instrument(BTC, Decimal("0.5"), Decimal("0.1")), Instrument(ETH, Decimal("0.01"), Decimal("0.1")))


class Switch:
    """A kill switch that is only a flag."""

    def __init__(self) -> None:
        self.is_halted = False


class SilentBroker:
    """Accepts orders and cancels, and publishes nothing; the test publishes for it.

    raises : what each of its methods raises.
    """

    name = "silent"

    def __init__(self, *, raises: BaseException | None = None) -> None:
        self.submitted: list[OrderRequested] = []
        self.canceled: list[tuple[str, Cause | None]] = []
        self.raises = raises

    def attach(self, desk: BrokerContext) -> None:
        if self.raises is not None:
            raise self.raises

    def submit(self, order: OrderRequested) -> None:
        self.submitted.append(order)
        if self.raises is not None:
            raise self.raises

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        if self.raises is not None:
            raise self.raises
        self.canceled.append((order_id, cause))

    def close(self) -> None:
        pass


# Those of the desks of one test module, which its end closes: a dispatcher that is not closed keeps its broker alive,
# which keeps the dispatcher alive, with its ring and its thread.
OPEN_DISPATCHERS: list[Dispatcher] = []


def close_desks() -> None:
    """Close the dispatchers of all desks that were made since the last call."""
    while OPEN_DISPATCHERS:
        OPEN_DISPATCHERS.pop().close()


class Desk:
    """Everything between a tick and a position; ``events`` is what the bus carried, in its order."""

    def __init__(
        self,
        *,
        broker: Broker | None = None,
        limits: RiskLimits | None = WIDE,
        instruments: tuple[Instrument, ...] = KNOWN,
        lanes: dict[Lane, LaneOptions] | None = None,
        timers: bool = False,
        run_id: str = "run",
        **more: Any,
    ) -> None:
        self.clock = HandClock(S)
        # Calls from other threads; ``drain`` runs them.
        self.soon: deque[Callable[[], None]] = deque()
        # By their names; ``advance`` makes those that are due.
        self.calls_at: dict[str, tuple[int, Callable[[], None]]] = {}
        self.switch = Switch()
        self.dispatcher = Dispatcher(clock=self.clock, instruments=[own.name for own in instruments])
        OPEN_DISPATCHERS.append(self.dispatcher)
        self.bus = EventBus(clock=self.clock, run_id=run_id, lanes=lanes)
        self.gates = RiskGates(
            limits,
            instruments,
            clock=self.clock,
            quotes=self.dispatcher.newest.quote,
            kill_switch=self.switch,
        )
        self.positions = Positions(self.gates.instruments, KnownNames(self.dispatcher, strategies=("A", "B")))
        self.broker = broker
        self.orders = OrderManager(
            bus=self.bus,
            gates=self.gates,
            positions=self.positions,
            clock=self.clock,
            broker=broker,
            call_soon=self.soon.append,
            call_at=lambda name, due_ns, call: self.calls_at.update({name: (due_ns, call)}),
            mode=more.pop("mode", "replay"),
            **more,
        )
        self.alarms: list[tuple[int, Any]] = []
        self.context = BrokerContext(
            publish=self.bus.publish_consequence,
            clock=self.clock,
            dispatcher=self.dispatcher,
            mode="replay",
            instruments=self.gates.instruments,
            call_at=(lambda due_ns, call: self.alarms.append((due_ns, call))) if timers else None,
        )
        if broker is not None:
            broker.attach(self.context)
        self.events: list[Event] = []
        self.bus.subscribe(Event, self.events.append, name="record")

    def quote(
        self,
        bid: float,
        ask: float | None = None,
        *,
        bid_size: float = 1.0,
        ask_size: float = 1.0,
        instrument: str = BTC,
        at_ns: int | None = None,
        flags: int = 0,
    ) -> None:
        """Move the clock by a millisecond, or to a time, and publish and dispatch one quote."""
        self.clock.at_ns = self.clock.at_ns + 1_000_000 if at_ns is None else at_ns
        tick = quotes(
            self.dispatcher,
            [bid],
            instrument=instrument,
            ts_init=self.clock.at_ns,
            ask_price=bid + 1 if ask is None else ask,
            bid_size=bid_size,
            ask_size=ask_size,
        )
        tick["flags"] |= flags
        self.dispatcher.publish(tick)
        self.turn()

    def turn(self) -> None:
        """Dispatch and drain all that waits."""
        self.drain()
        self.dispatcher.dispatch()
        self.drain()

    def drain(self) -> None:
        """Run the calls from other threads, and drain the bus."""
        while self.soon:
            self.soon.popleft()()
        self.bus.drain()

    def advance(self, seconds: float) -> None:
        """Move the clock on, make the calls that are due by then, and drain."""
        self.clock.at_ns += int(seconds * S)
        for name, (due_ns, call) in list(self.calls_at.items()):
            if due_ns <= self.clock.at_ns:
                del self.calls_at[name]
                call()
        self.drain()

    def ask(self, side: int = 1, quantity: Any = 1, *, instrument: str = BTC, **more: Any) -> str:
        """Submit for strategy "A", and drain."""
        order_id = self.submit(side, quantity, instrument=instrument, **more)
        self.bus.drain()
        return order_id

    def submit(self, side: int = 1, quantity: Any = 1, *, instrument: str = BTC, **more: Any) -> str:
        """Submit for strategy "A"."""
        return self.orders.submit(
            **{"strategy": "A", "instrument": instrument, "side": side, "quantity": quantity, **more}
        )

    def order(self, order_id: str) -> Order:
        """An order that is there."""
        order = self.orders.order(order_id)
        assert order is not None, order_id
        return order

    def position(self, strategy: str = "A", instrument: str = BTC) -> Position:
        """A position."""
        return self.positions.position(strategy, instrument)

    def of(self, kind: type[E]) -> list[E]:
        """Events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def told(self, order_id: str) -> list[str]:
        """The names of the events of one order."""
        return [type(event).__name__ for event in self.of(OrderEvent) if event.order_id == order_id]


def simulated(**options: Any) -> Desk:
    """A desk with the simulated broker; options of either."""
    own = {name: options.pop(name) for name in ("limits", "instruments", "lanes", "timers") if name in options}
    return Desk(broker=SimulatedBroker(**options), **own)

"""OrderManager: takes orders through the gates to the broker, and accounts for what comes back.

::

    submit ─▶ check ─▶ RiskGates ─▶ OrderRequested, with their verdict ─▶ (bus) ─▶ Broker.submit
                           └▶ when refused, OrderRejected right behind it
    broker ─▶ OrderAccepted, fills, … ─▶ (bus) ─▶ table and Positions ─▶ PositionChanged

What happens when another thread submits
    the order has its id at once; it crosses to the bus's own thread, and is judged and published there.
What happens when the broker publishes an impossible event
    a fill above the quantity, for an unknown order, an execution twice: it is refused, counted, logged and audited, the
    bus keeps it as a dead letter, and neither order nor position changes.
What happens when ``Broker.submit`` raises
    the outcome is unknown: the order stays open, with that as its reason, is counted as such, and is not sent again.
What happens when a canceled order does not end
    ``flatten`` waits for it for FLATTEN_S, then closes what is held, and says which order it is.

Guarantees: every order goes through the gates, once, and is sent at most once; each id is open, or has exactly one
final state; ids are the same in every replay. Any thread may submit and cancel; the broker is called on the bus's own.
Does not: decide what to trade, or check numbers of brokers against each other.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Literal, Unpack

from headrace.errors import LaneFullError, OrderError
from headrace.market.checks import of_type, one_of
from headrace.market.clock import Mode, ModeName
from headrace.market.events import (
    Cause,
    Event,
    OrderAmendRejected,
    OrderAmendRequested,
    OrderEvent,
    OrderFill,
    OrderRejected,
    OrderRequested,
    PositionChanged,
    Signal,
)
from headrace.market.money import ZERO
from headrace.trading.orders.amends import Amends
from headrace.trading.orders.cancels import Cancels
from headrace.trading.orders.flattening import Flattenings
from headrace.trading.orders.judge import Judge
from headrace.trading.orders.liquidations import Liquidations
from headrace.trading.orders.notices import Notices
from headrace.trading.orders.order import OrderState
from headrace.trading.orders.refusals import Refusals
from headrace.trading.orders.request import check_names, identify, request_of
from headrace.trading.orders.sending import Sending
from headrace.trading.orders.sizing import FixedQuantity, Sizing, sized
from headrace.trading.orders.table import OrderStats, OrderTable, id_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.bus import EventBus
    from headrace.market.clock import Clock
    from headrace.market.money import Amount
    from headrace.trading.brokers.base import Broker
    from headrace.trading.orders.amends import AmendOptions
    from headrace.trading.orders.order import Order
    from headrace.trading.orders.refusals import Refused
    from headrace.trading.orders.request import OrderOptions
    from headrace.trading.positions import Positions
    from headrace.trading.risk import Permission, RiskGates

__all__ = ["OrderManager", "OrderStats"]

log = logging.getLogger(__name__)


class OrderManager:
    """The orders of an engine. Make it before other handlers of order events subscribe: it has to handle them first.

    Only it publishes OrderRequested on its bus. call_soon : calls back on the bus's own thread, soon; called in any.
    call_at : the same at a time of the clock, ns; a later call of the same name replaces the one before.
    broker : None: every order is rejected, after the gates. The bus's run_id is the beginning of every id; in a replay
    ids begin with the strategy.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        gates: RiskGates,
        positions: Positions,
        clock: Clock,
        call_soon: Callable[[Callable[[], None]], None],
        call_at: Callable[[str, int, Callable[[], None]], None],
        broker: Broker | None = None,
        mode: ModeName = Mode.LIVE,
    ) -> None:
        self.gates = gates
        self.positions = positions
        self.broker = broker
        self._bus = bus
        self._clock = clock
        self._run_id = run_id = bus.run_id
        self._call_soon = call_soon
        self._is_own_thread = bus.core.is_own_thread
        # Strategies in threads of their own submit and cancel, too. Never held while a thread waits for room.
        self._lock = threading.RLock()
        prefix = "" if mode == Mode.REPLAY or not run_id else id_prefix(run_id)
        self._table = OrderTable(prefix, gates.instruments)
        self._notices = Notices(bus, clock)
        self._flattenings = Flattenings(
            self._table, positions, lambda name, due_ns: call_at(name, due_ns, self._go_on), self._notices.overdue
        )
        self._cancels = Cancels(self._table, gates, broker, clock, self._is_own_thread)
        self._refusals = Refusals()
        self._judge = Judge(
            bus=bus,
            gates=gates,
            table=self._table,
            positions=positions,
            notices=self._notices,
            has_broker=broker is not None,
            lock=self._lock,
            call_soon=call_soon,
        )
        self.liquidations = Liquidations(self._judge, self._table, clock, run_id)
        self._sending = Sending(self._table, gates, self._judge, self._notices, self.liquidations, broker)
        self._amends = Amends(self._table, self._judge, self._notices, broker)
        # By type of event; a type that is not here is handled as its nearest base is, and added.
        self._handlers: dict[type, Callable[[Any], object]] = {
            OrderRequested: self._sending.send,
            OrderAmendRequested: self._amends.send,
            OrderAmendRejected: lambda event: self._table.reserve(event.order_id, ZERO),
            OrderEvent: self._on_answer,
            # It only brings on what waits.
            PositionChanged: lambda _: None,
        }
        bus.subscribe((OrderEvent, PositionChanged), self._on_event, name="orders")

    # Requests

    check_names = staticmethod(check_names)

    def submit(
        self,
        *,
        strategy: str,
        instrument: str,
        side: int,
        quantity: Amount,
        cause: Cause | None = None,
        **options: Unpack[OrderOptions],
    ) -> str:
        """Have the gates judge an order, publish it with their verdict, and return its id; the rest comes as events.

        In another thread than the bus's own the order is judged and published there, soon.

        side : +1 buy, -1 sell. cause : the tick that the order was decided on. quantity, options : as ``Strategy.buy``.

        Raises OrderError (an invalid order) and LaneFullError; then there is no order.
        """
        of_type("cause", cause, Cause, None)
        request = request_of(strategy, instrument, side, quantity, options, self._clock.now_ns())
        self.positions.add_trader(strategy)
        if request.oco:
            self._table.join(request)
        with self._lock:
            identify(request, self._table.new_id(strategy), self._run_id, cause or self._bus.current_cause())
        self._judge.take(request)
        return request.order_id

    def from_signal(self, signal: Signal, sizing: Sizing | None = None) -> str | None:
        """Make a market order of a signal, for the strategy that published it; None: nothing to do.

        sizing : FixedQuantity() unless given: one lot. A signal of side 0 closes the strategy's position.
        Raises as ``submit``.
        """
        of_type("signal", signal, Signal)
        of_type("sizing", sizing, Sizing, None)
        if signal.side == 0:
            self.positions.check_names(None, signal.instrument)
        position = self.positions.held(signal.source, signal.instrument)
        if signal.side == 0:
            quantity, buys = position.quantity.copy_abs(), position.quantity < 0
        else:
            instrument = self.gates.instruments.get(signal.instrument)
            quantity, buys = sized(sizing or FixedQuantity(), signal, position, instrument), signal.side > 0
        if quantity == 0:
            return None
        return self.submit(
            strategy=signal.source,
            instrument=signal.instrument,
            side=1 if buys else -1,
            quantity=quantity,
            reduce_only=signal.side == 0,
            cause=signal.cause,
        )

    def cancel(
        self, order_id: str, *, strategy: str | None = None, reason: str = "", cause: Cause | None = None
    ) -> Literal["accepted", "noop", "rejected"]:
        """Cancel an order: "accepted": on its way, and it may still fill; "noop": it is over, or being canceled.

        strategy : the order's; "rejected": it is another one's. None: whoever submitted it. No gate holds up a cancel.
        Raises OrderError for an id that was never given, and BrokerError; then the order is as it was.
        """
        of_type("strategy", strategy, str, None)
        of_type("reason", reason, str)
        of_type("cause", cause, Cause, None)
        with self._lock:
            if strategy not in (None, self._table.owner_of(order_id)):
                return "rejected"
            answer = self._cancels.begin(order_id, reason, cause)
            if self._cancels.waiting and not self._is_own_thread():
                self._call_soon(self._go_on)
        return answer

    def amend(
        self, order_id: str, *, strategy: str | None = None, cause: Cause | None = None, **options: Unpack[AmendOptions]
    ) -> Literal["accepted", "noop", "rejected"]:
        """Change an open order: "accepted": it is judged, and the rest comes as events; else as ``cancel``.

        In another thread than the bus's own it is judged soon. options : as ``Strategy.amend``.
        Raises OrderError (an id that was never given, a value that the order cannot have) and LaneFullError.
        """
        of_type("strategy", strategy, str, None)
        of_type("cause", cause, Cause, None)
        with self._lock:
            if strategy not in (None, self._table.owner_of(order_id)):
                return "rejected"
            order = self._table.get(order_id)
            if order is None or not order.is_open or order.state is OrderState.PENDING_CANCEL:
                return "noop"
            changes = self._amends.checked(order, options)
            cause = cause or self._bus.current_cause()
            if self._is_own_thread():
                return self._amends.judge(order_id, changes, cause)
        self._call_soon(lambda: self._amends.judge_late(order_id, changes, cause))
        return "accepted"

    def cancel_all(self, *, strategy: str | None = None, instrument: str | None = None, reason: str = "") -> list[str]:
        """Cancel every open order, of a strategy or in an instrument where one is given; return their ids.

        Each is tried; raises the first BrokerError afterwards. Raises InstrumentError and OptionError for an
        unknown instrument or strategy.
        """
        of_type("reason", reason, str)
        accepted: list[str] = []
        failed: Exception | None = None
        for order in self.orders(strategy=strategy, instrument=instrument, open_only=True):
            try:
                if self.cancel(order.order_id, reason=reason) == "accepted":
                    accepted.append(order.order_id)
            except Exception as error:
                log.exception("the broker could not cancel order %s", order.order_id)
                failed = failed or error
        if failed is not None:
            raise failed
        return accepted

    def flatten(self, *, strategy: str | None = None, instrument: str | None = None, reason: str = "") -> list[str]:
        """Cancel what is open, then close what is held with reduce_only market orders; return the ids of these.

        A closing order goes out when the last of the canceled orders is over, for what is held then; where nothing is
        left to close, its id is never used. It passes the gates like every order, and no permission keeps it back.
        A canceled order that has not ended after 5 s of the clock is named in the log and in an Audit, and what is held
        is closed without it.

        Raises InstrumentError and OptionError for an unknown instrument or strategy.
        """
        self.positions.check_names(strategy, instrument)
        of_type("reason", reason, str)
        with self._lock:
            ids = self._flattenings.begin(strategy, instrument, self._bus.current_cause(), self._clock.now_ns())
            try:
                self.cancel_all(strategy=strategy, instrument=instrument, reason=reason or "flatten")
            finally:
                if self._is_own_thread():
                    self._go_on()
                else:
                    self._call_soon(self._go_on)
        return ids

    def set_permission(self, strategy: str, permission: Permission) -> None:
        """Set what a strategy's orders may do: "all", only "reduce" its positions, or "none". Raises OptionError."""
        self.positions.check_names(strategy, None)
        one_of("permission", permission, ("all", "reduce", "none"))
        self._judge.permissions[strategy] = permission

    # What there is

    def order(self, order_id: str) -> Order | None:
        """Return an order as it stands; None: unknown, or over and no longer among the latest 10,000."""
        of_type("order_id", order_id, str)
        return self._table.get(order_id)

    def orders(
        self, *, strategy: str | None = None, instrument: str | None = None, open_only: bool = False
    ) -> list[Order]:
        """Return orders, oldest first. Raises InstrumentError and OptionError for an unknown instrument or strategy."""
        self.positions.check_names(strategy, instrument)
        of_type("open_only", open_only, bool)
        with self._lock:
            return self._table.select(strategy, instrument, open_only=open_only)

    def stats(self, strategy: str | None = None) -> OrderStats:
        """Count the orders of a strategy, or of all; ``submitted`` is the sum of ``open`` and the four ends.

        Raises OptionError for an unknown strategy.
        """
        self.positions.check_names(strategy, None)
        with self._lock:
            return self._table.stats(strategy)

    def refusals(self, strategy: str) -> Mapping[str, Refused]:
        """Return how often each gate refused a strategy's orders, with an example; the broker's stand as "broker".

        Raises OptionError for an unknown strategy.
        """
        self.positions.check_names(strategy, None)
        with self._lock:
            return self._refusals.of(strategy)

    @property
    def refused_events(self) -> int:
        """How many events were impossible, or would have sent an order twice."""
        return self._notices.refused_total

    def is_refused(self, event: OrderEvent) -> bool:
        """Whether this very event was refused: then no callback gets it."""
        return self._notices.is_refused(event)

    # Events of the bus

    def _on_event(self, event: Event) -> None:
        with self._lock:
            try:
                handler = self._handlers.get(type(event)) or self._handler_of(type(event))
                handler(event)
            finally:
                if self._notices.waiting or self._judge.crossing or self._cancels.waiting or self._flattenings.begun:
                    self._go_on()

    def _handler_of(self, kind: type[Event]) -> Callable[[Any], object]:
        self._handlers[kind] = found = next(self._handlers[own] for own in kind.__mro__ if own in self._handlers)
        return found

    def _on_answer(self, event: OrderEvent) -> None:
        """Account for an answer of a gate or the broker."""
        try:
            order = self._table.apply(event)
        except OrderError as error:
            self._notices.refuse(event, error)
            raise
        if self._judge.by_operator and not order.is_open:
            self._judge.by_operator.discard(event.order_id)
        if isinstance(event, OrderFill):
            position = self.positions.apply(event)
            self._notices.position(position, event.cause)
        elif isinstance(event, OrderRejected):
            self._refusals.add(order.request, event)

    def _go_on(self) -> None:
        """Do what had to wait: for room in the lane, for this thread, closing orders for the cancels before them."""
        with self._lock:
            self._notices.go_on()
            self._judge.go_on()
            self._cancels.go_on()
            try:
                for request in self._flattenings.due(self._clock.now_ns(), self._run_id):
                    if not self._judge.has_room:
                        break
                    self._judge.by_operator.add(request.order_id)
                    self._judge.judge(request)
            except LaneFullError:
                log.debug("a closing order waits for room in its lane")

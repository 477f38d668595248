"""OrderManager: takes orders through the gates to the broker, and accounts for what comes back.

::

    submit ─▶ check ─▶ RiskGates ─▶ OrderRequested, with their verdict ─▶ (bus) ─▶ Broker.submit
                           └▶ when refused, OrderRejected right behind it
    broker ─▶ OrderAccepted, fills, … ─▶ (bus) ─▶ table and Positions ─▶ PositionChanged

What happens when another thread submits
    the order has its id at once; it crosses to the bus's own thread, and is judged and published there.
What happens when the broker says what cannot be
    a fill above the quantity, for an unknown order, an execution twice: it is refused, counted, logged and audited, the
    bus keeps it as a dead letter, and neither order nor position changes.
What happens when ``Broker.submit`` raises
    the outcome is unknown: the order stays open, with that as its reason, and is not sent again.

Guarantees: every order goes through the gates, once, and is sent at most once; each id is open, or has exactly one
final state; ids are the same in every replay. Any thread may submit and cancel; the broker is called on the bus's own.
Does not: decide what to trade, or check numbers of brokers against each other.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Literal

from headrace.errors import LaneFullError, OrderError
from headrace.market.clock import Mode, ModeName
from headrace.market.events import (
    Event,
    OrderEvent,
    OrderFill,
    OrderRequested,
    PositionChanged,
)
from headrace.trading.orders.flattening import Flattenings
from headrace.trading.orders.judge import Judge
from headrace.trading.orders.notices import Notices
from headrace.trading.orders.order import OrderState
from headrace.trading.orders.request import amount, check_request
from headrace.trading.orders.sizing import FixedQuantity
from headrace.trading.orders.table import OrderStats, OrderTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.bus import EventBus
    from headrace.market.clock import Clock
    from headrace.market.events import Cause, Signal
    from headrace.market.money import Amount
    from headrace.trading.brokers.base import Broker
    from headrace.trading.orders.order import Order
    from headrace.trading.orders.sizing import Sizing
    from headrace.trading.positions import Positions
    from headrace.trading.risk import Permission, RiskGates

__all__ = ["OrderManager", "OrderStats"]

log = logging.getLogger(__name__)


class OrderManager:
    """The orders of an engine. Make it before other handlers of order events subscribe: it has to handle them first.

    Only it publishes OrderRequested on its bus. call_soon : calls back on the bus's own thread, soon; called in any.
    broker : None: every order is rejected, after the gates. run_id : of the engine's run, the beginning of every id; in
    a replay ids begin with the strategy.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        gates: RiskGates,
        positions: Positions,
        clock: Clock,
        call_soon: Callable[[Callable[[], None]], None],
        broker: Broker | None = None,
        run_id: str = "",
        mode: ModeName = Mode.LIVE,
    ) -> None:
        self.gates = gates
        self.positions = positions
        self.broker = broker
        self._bus = bus
        self._clock = clock
        self._run_id = run_id
        self._call_soon = call_soon
        self._is_own_thread = bus.core.is_own_thread
        # Strategies in threads of their own submit and cancel, too. Never held while a thread waits for room.
        self._lock = threading.RLock()
        self._table = OrderTable("" if mode == Mode.REPLAY or not run_id else f"{run_id}-")
        self._flattenings = Flattenings(self._table, positions)
        self._cancels_later: dict[str, Cause | None] = {}
        self._notices = Notices(bus, clock, run_id)
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
        bus.subscribe((OrderEvent, PositionChanged), self._on_event, name="orders")

    # Asking

    def submit(
        self,
        *,
        strategy: str,
        instrument: str,
        side: Literal[1, -1],
        quantity: Amount,
        price: Amount | None = None,
        order_type: Literal["market", "limit"] | None = None,
        time_in_force: Literal["gtc", "ioc"] = "gtc",
        expires_ns: int | None = None,
        reduce_only: bool = False,
        cause: Cause | None = None,
    ) -> str:
        """Have the gates judge an order, publish it with their verdict, and return its id; the rest comes as events.

        In another thread than the bus's own the order is judged and published there, soon.

        quantity, price : a float counts as the shortest text that names it. price : None for a market order.
        order_type : follows from the price unless given. time_in_force : "ioc" fills at once what it can.
        expires_ns : by the engine's clock. reduce_only : refused where it could add exposure. cause : the tick.

        Raises OrderError (what cannot be an order), LaneFullError; then there is no order.
        """
        now_ns = self._clock.now_ns()
        amounts = amount("quantity", quantity), None if price is None else amount("price", price)
        with self._lock:
            request = OrderRequested(
                source=strategy,
                ts=now_ns,
                run_id=self._run_id,
                cause=cause or self._bus.current_cause(),
                order_id=self._table.next_id(strategy),
                strategy=strategy,
                instrument=instrument,
                side=side,
                order_type=order_type or ("market" if price is None else "limit"),
                quantity=amounts[0],
                price=amounts[1],
                time_in_force=time_in_force,
                expires_ns=expires_ns,
                reduce_only=reduce_only,
            )
            check_request(request, now_ns)
            self._table.reserve(strategy)
        self._judge.take(request)
        return request.order_id

    def from_signal(self, signal: Signal, sizing: Sizing | None = None) -> str | None:
        """Make a market order of a signal, for the strategy that gave it; None: nothing to do.

        sizing : FixedQuantity() unless given: one lot. A signal of side 0 closes the strategy's position.
        Raises as ``submit``.
        """
        position = self.positions.position(signal.source, signal.instrument)
        side: Literal[1, -1]
        if signal.side == 0:
            if position.is_flat:
                return None
            side, quantity = (-1 if position.quantity > 0 else 1), position.quantity.copy_abs()
        else:
            instrument = self.gates.instruments.get(signal.instrument)
            sized = (sizing or FixedQuantity()).quantity(signal, position, instrument)
            if not sized:
                return None
            side, quantity = (1 if signal.side > 0 else -1), sized
        return self.submit(
            strategy=signal.source,
            instrument=signal.instrument,
            side=side,
            quantity=quantity,
            reduce_only=signal.side == 0,
            cause=signal.cause,
        )

    def cancel(
        self, order_id: str, *, reason: str = "", cause: Cause | None = None
    ) -> Literal["accepted", "noop", "rejected"]:
        """Cancel an order: "accepted": on its way, and it may still fill; "noop": it is over, or that was asked before.

        "rejected": there was never such an order. No gate holds up a cancel. Raises what the broker raised; then the
        order is as it was.
        """
        with self._lock:
            order = self._table.get(order_id)
            if order is None:
                return "noop" if self._table.was_there(order_id) else "rejected"
            if not order.is_open or order.state is OrderState.PENDING_CANCEL:
                return "noop"
            self._table.mark_cancel(order_id, reason, self._clock.now_ns())
            if order.is_sent:
                self.gates.count_message(order.strategy)
                try:
                    self._cancel_at_broker(order_id, cause)
                except Exception:
                    self._table.unmark_cancel(order_id)
                    raise
        return "accepted"

    def cancel_all(self, *, strategy: str | None = None, instrument: str | None = None, reason: str = "") -> list[str]:
        """Cancel every open order, of a strategy or in an instrument where one is given; return their ids.

        Each is tried; raises the first error of the broker afterwards.
        """
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
        """
        with self._lock:
            ids = self._flattenings.begin(strategy, instrument, self._bus.current_cause())
            try:
                self.cancel_all(strategy=strategy, instrument=instrument, reason=reason or "flatten")
            finally:
                self._on_bus_thread(self._go_on)
        return ids

    def set_permission(self, strategy: str, permission: Permission) -> None:
        """Say what a strategy's orders may do from now on: "all", only "reduce" its positions, or "none"."""
        self._judge.permissions[strategy] = permission

    # Looking

    def order(self, order_id: str) -> Order | None:
        """Return an order as it stands; None: unknown, or over and no longer among the latest 10,000."""
        return self._table.get(order_id)

    def orders(
        self, *, strategy: str | None = None, instrument: str | None = None, open_only: bool = False
    ) -> list[Order]:
        """Return orders, oldest first."""
        with self._lock:
            return self._table.select(strategy, instrument, open_only=open_only)

    def stats(self, strategy: str | None = None) -> OrderStats:
        """Count the orders of a strategy, or of all; ``submitted`` is the sum of ``open`` and the four ends."""
        with self._lock:
            return self._table.stats(strategy)

    @property
    def refused_events(self) -> int:
        """How many events of the broker could not be, or would have sent an order twice."""
        return self._notices.refused_total

    def is_refused(self, event: OrderEvent) -> bool:
        """Say whether this very event was refused, so that nobody acts on it."""
        return self._notices.is_refused(event)

    # What the bus brings

    def _on_event(self, event: Event) -> None:
        with self._lock:
            try:
                if isinstance(event, OrderRequested):
                    self._on_requested(event)
                elif isinstance(event, OrderEvent):
                    self._on_answer(event)
            finally:
                if self._cancels_later or self._flattenings.begun or self._judge.is_behind:
                    self._go_on()

    def _on_requested(self, request: OrderRequested) -> None:
        """Give an order that passed to the broker, unless it was canceled or halted since."""
        if request.verdict != "passed":
            return
        order_id = request.order_id
        order = self._table.get(order_id)
        if order is None or order.is_sent or not order.is_open:
            msg = f"order {order_id!r} is refused: it was sent, or ended, before; submit a new one"
            error = OrderError(msg, field="order_id")
            self._notices.refuse(request, error)
            raise error
        if order.state is OrderState.PENDING_CANCEL:
            self._notices.cancel(request, self._table.cancel_reason(order_id) or "canceled before it was sent")
            return
        if self.gates.is_halted:
            refusal = self.gates.check_halted(request, self._judge.exposure(request))
            if refusal is not None:
                self._judge.reject(request, refusal)
                return
        assert self.broker is not None  # Without one no order passes.
        self._table.mark_sent(order_id)
        try:
            self.broker.submit(request)
        except Exception as error:
            self._table.mark_reason(order_id, f"outcome unknown: {self.broker.name} raised {error!r}")
            log.exception("order %s: the broker raised; whether it took it is unknown", order_id)
            raise

    def _on_answer(self, event: OrderEvent) -> None:
        """Account for what a gate or the broker says."""
        try:
            order = self._table.apply(event)
        except OrderError as error:
            self._notices.refuse(event, error)
            raise
        if not order.is_open:
            self._judge.by_operator.discard(event.order_id)
        if isinstance(event, OrderFill):
            position = self.positions.apply(event)
            self._notices.position(position, event.cause)

    # Steps

    def _cancel_at_broker(self, order_id: str, cause: Cause | None) -> None:
        assert self.broker is not None  # An order is sent to a broker only.
        if not self._is_own_thread():
            self._cancels_later[order_id] = cause
            self._on_bus_thread(self._go_on)
            return
        try:
            self.broker.cancel(order_id, cause)
        except LaneFullError:
            # The broker found no room for its answer. Cancels always pass: again, when the lane has moved on.
            self._cancels_later[order_id] = cause

    def _cancel_later(self, order_id: str, cause: Cause | None) -> None:
        """Cancel after ``cancel`` has returned."""
        try:
            self._cancel_at_broker(order_id, cause)
        except Exception:
            self._table.unmark_cancel(order_id)
            log.exception("the broker could not cancel order %s: it is open as before", order_id)

    def _on_bus_thread(self, call: Callable[[], None]) -> None:
        if self._is_own_thread():
            call()
        else:
            self._call_soon(call)

    def _go_on(self) -> None:
        """Do what had to wait: for room in the lane, for this thread, closing orders for the cancels before them."""
        with self._lock:
            self._judge.go_on()
            for order_id, cause in list(self._cancels_later.items()):
                del self._cancels_later[order_id]
                order = self._table.get(order_id)
                if order is not None and order.is_open:
                    self._cancel_later(order_id, cause)
            try:
                for request in self._flattenings.due(self._clock.now_ns(), self._run_id):
                    if not self._judge.has_room:
                        break
                    self._judge.by_operator.add(request.order_id)
                    self._judge.begin(request)
            except LaneFullError:
                log.debug("a closing order waits for room in its lane")

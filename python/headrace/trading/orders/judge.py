"""Judge: takes an order through the gates, and publishes it with their verdict.

::

    submit ─▶ take ─┬▶ the bus's own thread ────────────▶ gates ─▶ OrderRequested(verdict) [─▶ OrderRejected]
                    └▶ another thread ─▶ Crossing ─▶ arrive ─▶┘

What happens when the order lane is full
    the bus's own thread: LaneFullError, and there is no order. An order that crossed waits for room, unjudged.

Guarantees: what passed counts as working at once, so that the next order is judged with it.
Does not: call the broker.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from msgspec.structs import force_setattr, replace

from headrace.errors import ClosedError, LaneFullError
from headrace.market.events import Lane, OrderAmendRequested, OrderRequested
from headrace.market.money import MONEY
from headrace.trading.orders.crossing import Crossing
from headrace.trading.risk import Exposure, GateVerdict, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.bus import EventBus
    from headrace.trading.orders.notices import Notices
    from headrace.trading.orders.table import OrderTable
    from headrace.trading.positions import Positions
    from headrace.trading.risk import Permission, RiskGates

__all__ = ["Judge"]

log = logging.getLogger(__name__)

ORDER_LANE = tuple(Lane).index(Lane.ORDER)
ADVICE = "call engine.orders.submit(...), which has the gates judge the order and publishes it with their verdict"
AMEND_ADVICE = "call engine.orders.amend(...), which has the gates judge the change and publishes it with their verdict"
NO_BROKER = Refusal(
    "broker",
    GateVerdict(
        passed=False,
        observed="no broker",
        threshold="a broker",
        reason="no broker: pass the engine one, such as headrace.SimulatedBroker()",
    ),
)


class Judge:
    """Publishes the orders of one manager: only it publishes OrderRequested on its bus.

    lock : of the table; never held while a thread waits for room. call_soon : as ``OrderManager``.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        gates: RiskGates,
        table: OrderTable,
        positions: Positions,
        notices: Notices,
        has_broker: bool,
        lock: threading.RLock,
        call_soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self.permissions: dict[str, Permission] = {}
        # Orders that a command sent to flatten.
        self.by_operator: set[str] = set()
        self._gates = gates
        self._table = table
        self._positions = positions
        self._notices = notices
        self._has_broker = has_broker
        self._lock = lock
        self._core = bus.core
        self._publish = bus.own(OrderRequested, ADVICE)
        self._publish_amend = bus.own(OrderAmendRequested, AMEND_ADVICE)
        self._crossing = Crossing(call_soon, self.go_on)
        # Orders of other threads that wait; always this one.
        self.crossing = self._crossing.requests

    def take(self, request: OrderRequested) -> None:
        """Judge and publish a new order, here or on the bus's own thread. Raises what publishing raises, LaneFullError.

        Then there is no order.
        """
        if self._core.is_own_thread():
            with self._lock:
                self.judge(request)
            return
        with self._lock:
            self._table.add(request)
        try:
            self._crossing.put(request)
        except LaneFullError:
            with self._lock:
                self._table.discard(request.order_id)
            raise

    def exposure(self, request: OrderRequested) -> Exposure:
        """Return what surrounds an order: what its strategy holds, has working and may do."""
        working, open_orders = self._table.working.of_side(request.strategy, request.instrument, request.side)
        if request.oco:
            working = self._table.working_beside(request)
        return Exposure(
            permission=self.permissions.get(request.strategy, "all"),
            position=self._positions.held(request.strategy, request.instrument).quantity,
            working=working,
            open_orders=open_orders,
            by_operator=request.order_id in self.by_operator,
        )

    @property
    def has_room(self) -> bool:
        """Whether the order lane would take an order that no handler submits."""
        return self._core.has_room(ORDER_LANE)

    def go_on(self) -> None:
        """Judge what crossed, as far as there is room; on the bus's own thread."""
        with self._lock:
            while self.has_room and (request := self._crossing.next()) is not None:
                if not self._judge_crossed(request):
                    break

    def _judge_crossed(self, request: OrderRequested) -> bool:
        try:
            self.judge(request)
        except LaneFullError:
            # A broker's thread was quicker. The order is as it was.
            self._crossing.put_back(request)
            return False
        except ClosedError as error:
            self._table.mark(request.order_id, reason=f"not sent: {error}")
            log.warning("order %s of another thread came too late: %s", request.order_id, error)
        return True

    def pass_on(self, request: OrderRequested) -> None:
        """Publish an order that no gate judges; on the bus's own thread. Raises what publishing raises."""
        with self._lock:
            force_setattr(request, "verdict", "passed")
            self._publish(request)
            self._table.add(request, works=True)

    def judge(self, request: OrderRequested) -> None:
        """Take an order through the gates and publish it with their verdict; on the bus's own thread.

        Raises what publishing raises; then everything is as it was.
        """
        quantity = request.quantity
        refusal = self._gates.check(request, self.exposure(request))
        is_message = refusal is None
        if is_message and not self._has_broker:
            refusal = NO_BROKER
        # In place: it is published with it, or not at all.
        force_setattr(request, "verdict", "passed" if refusal is None else "refused")
        try:
            self._publish(request)
        except BaseException:
            force_setattr(request, "verdict", None)
            force_setattr(request, "quantity", quantity)
            force_setattr(request, "requested_quantity", None)
            if is_message:
                self._gates.uncount_message(request.strategy)
            raise
        # It is in its lane, and handled after this.
        self._table.add(request, works=refusal is None)
        if refusal is not None:
            self._notices.reject(request, refusal)

    def judge_amend(self, request: OrderAmendRequested, order: OrderRequested, refusal: Refusal | None) -> None:
        """Take a change of an order through the gates and publish it with their verdict; on the bus's own thread.

        order : what is left of it, as it would be. refusal : of the manager; None: the gates judge.
        Raises what publishing raises; then everything is as it was.
        """
        is_message = False
        if refusal is None:
            _, open_orders = self._table.working.of_side(order.strategy, order.instrument, order.side)
            beside = {"working": self._table.working_beside(order), "open_orders": open_orders - 1}
            asked = order.quantity
            refusal = self._gates.check(order, replace(self.exposure(order), **beside))
            is_message = refusal is None
            # As far as a gate has reduced it.
            force_setattr(request, "quantity", MONEY.subtract(request.quantity, MONEY.subtract(asked, order.quantity)))
        force_setattr(request, "verdict", "passed" if refusal is None else "refused")
        try:
            self._publish_amend(request)
        except BaseException:
            if is_message:
                self._gates.uncount_message(request.strategy)
            raise
        if refusal is not None:
            self._notices.reject_amend(request, refusal)
            return
        now = self._table.get(request.order_id)
        if now is not None and request.quantity > now.quantity:
            self._table.reserve(request.order_id, MONEY.subtract(request.quantity, now.quantity))

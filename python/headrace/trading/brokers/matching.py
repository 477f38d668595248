"""Matching: the orders that the simulated broker has, what of them is filled, and how they end.

::

    add ─▶ a fill model calls meet(order, a side, what was seen) ─▶ fill ─▶ rest, cancel (ioc, fok), or over
                        or trigger(order, what was seen)              └▶ its OCO partners shrink
                                              clock ─▶ end_due ─▶ amended, canceled, expired

What happens when the bus has no room
    A fill does not happen; the order is as it was. What else is to be said of an order waits, and no order is filled
    before it is said. In a replay there is always room.

Guarantees: money is Decimal; a reduce-only order never adds to what its strategy holds; a post-only order never takes;
no two OCO partners fill the same.
Does not: decide when an order meets what; that is its instrument's ``FillModel``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import LaneFullError
from headrace.market.events import (
    Cause,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderPartiallyFilled,
    OrderTriggered,
)
from headrace.market.instrument import Instrument, instrument_of
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.changes import Changes
from headrace.trading.brokers.partners import Partners
from headrace.trading.brokers.resting import NEVER_NS, Dues, RestingOrder, RestingOrders, ShownSide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from headrace.market.events import OrderAmendRequested, OrderEvent, OrderRequested
    from headrace.trading.brokers.costs import Costs
    from headrace.trading.brokers.fill_models.base import FillModel
    from headrace.trading.brokers.latency import Delays
    from headrace.trading.brokers.outbox import Outbox

__all__ = ["Matching"]

# Times in force that leave nothing open, and why an order of each is canceled.
ENDS_AT_ONCE = {
    "ioc": "immediate or cancel: the quote held no more",
    "fok": "fill or kill: the quote held less than all of it",
}


class Matching:
    """The orders of one broker.

    delays : how long an order, a change or a cancel is on its way. on_empty : called with an instrument when its last
    open order is over.
    volume_share : the part of a candle's volume that orders may fill; None: they fill whole.
    """

    def __init__(
        self,
        outbox: Outbox,
        costs: Costs,
        delays: Delays,
        on_empty: Callable[[str], None],
        volume_share: Decimal | None = None,
    ) -> None:
        self.volume_share = volume_share
        self.known: Mapping[str, Instrument] = {}
        self.orders: dict[str, RestingOrder] = {}
        self.at: dict[str, RestingOrders] = {}
        # When to look for orders that have ended.
        self.look_ns = NEVER_NS
        self._outbox = outbox
        self._costs = costs
        self._delays = delays
        self._latency_ns = delays.constant_ns
        self._on_empty = on_empty
        # What it has filled, signed: as venues do, it knows what reduce_only may reduce.
        self._net: dict[tuple[str, str], Decimal] = {}
        self._taken = 0
        self._dues = Dues()
        self._partners = Partners(self, outbox)
        self._changes = Changes(self, outbox)

    def add(self, request: OrderRequested, model: FillModel) -> RestingOrder:
        """Accept an order. model : for its instrument, if that has no orders now."""
        self._taken += 1
        name, now_ns = self._outbox.name, self._outbox.now_ns()
        self.answer(
            # Its first fields are written out, and not said by the outbox: each order has one.
            OrderAccepted(
                source=name,
                ts=now_ns,
                run_id=request.run_id,
                cause=request.cause,
                order_id=request.order_id,
                strategy=request.strategy,
                instrument=request.instrument,
                broker_order_id=f"{name}-{self._taken}",
            )
        )
        latency_ns = self._latency_ns
        if latency_ns is None:
            latency_ns = self._delays.of(request.instrument, now_ns)
        order = RestingOrder(request, self._taken, now_ns, latency_ns)
        if request.trail is not None:
            order.traded = instrument_of(self.known, request.instrument)
        self.orders[request.order_id] = order
        orders = self.at.get(request.instrument)
        if orders is None:
            orders = self.at[request.instrument] = RestingOrders(model)
        elif orders.model is not model and orders.is_empty:
            orders.use(model)
        orders.add(order)
        if request.oco:
            self._partners.join(order)
        if order.due_ns != NEVER_NS:
            self._dues.add(order)
            self._look_at(order.due_ns)
        return order

    def _latency(self, instrument: str, now_ns: int) -> int:
        constant_ns = self._latency_ns
        return self._delays.of(instrument, now_ns) if constant_ns is None else constant_ns

    def answer(self, answer: OrderEvent) -> None:
        """Publish what was decided, or keep it until there is room."""
        try:
            self._outbox.publish(answer)
        except LaneFullError:
            self._outbox.keep(answer)
            self._set_look(answer.ts)

    def cancel(self, order_id: str, cause: Cause | None) -> None:
        """Cancel an order, after the latency; one that is over stays as it is. Raises LaneFullError."""
        order = self.orders.get(order_id)
        if order is None:
            return
        now_ns = self._outbox.now_ns()
        latency_ns = self._latency(order.request.instrument, now_ns)
        if not latency_ns:
            self.end(order, "canceled", cause)
        elif order.cancel_ns == NEVER_NS:
            self._dues.set_cancel(order, now_ns + latency_ns, "canceled", cause)
            self._look_at(order.cancel_ns)

    def amend(self, change: OrderAmendRequested) -> None:
        """Change an order, after the latency; one that is over stays as it is."""
        now_ns = self._outbox.now_ns()
        latency_ns = self._latency(change.instrument, now_ns)
        if latency_ns:
            self._changes.put(change, now_ns + latency_ns)
            self._look_at(now_ns + latency_ns)
        else:
            self._changes.make(change, 0)

    def move(self, order: RestingOrder, request: OrderRequested) -> None:
        """Give an order other values, and the last place."""
        self._dues.remove(order)
        self._taken += 1
        self.at[request.instrument].move(order, request, self._taken)
        self._dues.add(order)

    # What fill models call

    def trigger(self, order: RestingOrder, seen: Cause) -> None:
        """Have an order arrive whose trigger was reached; then ``meet`` fills it."""
        price = order.trigger
        assert price is not None  # It was reached.
        limit = order.limit_behind
        if limit is not None:
            order.request = msgspec.structs.replace(order.request, price=limit)
        self.at[order.request.instrument].release(order)
        self.answer(OrderTriggered(**self._outbox.said(order.request), price=price, limit=limit, quote=seen))

    def meet(self, order: RestingOrder, shown: ShownSide | Sequence[ShownSide], seen: Cause) -> None:
        """Fill what a side allows; then a limit order rests, or is over. Raises LaneFullError.

        A taker is filled at the side's price, slipped; what rests, at its own. shown : also several levels, the best
        first: each is a fill of its own.
        """
        if order.cancel_ns == 0:
            return
        request = order.request
        time_in_force = request.time_in_force
        levels = (shown,) if isinstance(shown, ShownSide) else shown
        if time_in_force == "fok" and self._fillable(order, levels) < order.left:
            levels = ()
        for level in levels:
            price = self._price(order, level)
            if price is None:
                break
            if request.post_only and order.is_arriving:
                self.end(order, "post only: it would have taken")
                return
            room = self._reducible(request)
            if room == 0:
                self.end(order, "reduce_only, and there is nothing left to reduce")
                return
            quantity = min(order.left, level.left) if room is None else min(order.left, level.left, room)
            quantity = instrument_of(self.known, request.instrument).in_lots(quantity)
            if quantity:
                self._fill(order, quantity, price, level, seen)
            if not order.left:
                return
        if time_in_force in ENDS_AT_ONCE:
            self.end(order, ENDS_AT_ONCE[time_in_force])
        elif order.is_arriving and request.price is not None:
            self.at[request.instrument].rest(order)

    def fill_at(self, order: RestingOrder, price: Decimal) -> None:
        """Fill an order whole at a price, whatever is shown. Raises LaneFullError."""
        shown = ShownSide(float(price), math.inf)
        seen = order.request.cause
        assert seen is not None  # A liquidation has the mark that it was judged at.
        self._fill(order, order.left, price, shown, seen)

    def _fillable(self, order: RestingOrder, levels: Sequence[ShownSide]) -> Decimal:
        """Return how much of levels an order may fill."""
        room, traded = self._reducible(order.request), instrument_of(self.known, order.request.instrument)
        met = (own.left for own in levels if self._price(order, own) is not None)
        total = sum((traded.in_lots(left) for left in met), ZERO)
        return total if room is None else min(total, room)

    def net_of(self, instrument: str) -> Decimal:
        """Return what was filled of an instrument for all strategies together, signed."""
        return sum((net for (_, name), net in self._net.items() if name == instrument), ZERO)

    def hold_back(self, count: int) -> None:
        """Count orders whose fills found no room."""
        self._outbox.hold_back(count)

    def _price(self, order: RestingOrder, shown: ShownSide) -> Decimal | None:
        """Return the price at which an order is filled here: its own once it rests; None: it is not filled."""
        request = order.request
        limit, side = request.price, request.side
        if shown.left == 0 or (limit is not None and (shown.price > limit if side > 0 else shown.price < limit)):
            return None
        if order.liquidity == "maker":
            return limit
        return self._costs.slipped(shown.price, request, self.known.get(request.instrument))

    def _reducible(self, request: OrderRequested) -> Decimal | None:
        """Return how much a reduce_only order may fill; None: as much as it likes."""
        if not request.reduce_only:
            return None
        net = self._net.get((request.strategy, request.instrument), ZERO)
        return max(ZERO, net.copy_negate() if request.side > 0 else net)

    def _fill(self, order: RestingOrder, quantity: Decimal, price: Decimal, shown: ShownSide, seen: Cause) -> None:
        """Publish an execution, then keep it: what found no room did not happen, and all is computed before."""
        request = order.request
        liquidity = order.liquidity
        traded = instrument_of(self.known, request.instrument)
        filled, left = MONEY.add(order.filled, quantity), MONEY.subtract(order.left, quantity)
        kind = OrderPartiallyFilled if left else OrderFilled
        key = (request.strategy, request.instrument)
        net = MONEY.fma(quantity, request.side, self._net.get(key, ZERO))
        shown_left = MONEY.subtract(shown.left, quantity)
        ts = self._outbox.now_ns()
        self._outbox.publish(
            # Its first fields are written out, and not said by the outbox: executions are many.
            kind(
                source=self._outbox.name,
                ts=ts,
                run_id=request.run_id,
                cause=request.cause,
                order_id=request.order_id,
                strategy=request.strategy,
                instrument=request.instrument,
                execution_id=f"{request.order_id}/{order.executions + 1}",
                side=request.side,
                quantity=quantity,
                price=price,
                fee=self._costs.fee(traded, quantity, price, liquidity, ts),
                filled=filled,
                left=left,
                liquidity=liquidity,
                quote=seen,
            )
        )
        if self._costs.has_tiers:
            self._costs.count(traded, quantity, price, ts)
        shown.left = shown_left
        self._net[key] = net
        order.filled, order.left = filled, left
        order.executions += 1
        if order.partners is not None:
            self._partners.take_from_others(order, quantity)
        if not left:
            self._remove(order)

    # Ends

    def end_due(self) -> None:
        """End what is canceled or expired by now; what finds no room in the lane is tried again, by the next quote."""
        now_ns = self._outbox.now_ns()
        if now_ns < self.look_ns:
            return
        try:
            self._outbox.publish_waiting()
            self._changes.make_due(now_ns)
            while (order := self._dues.first(now_ns)) is not None:
                if order.cancel_ns <= now_ns:
                    self.end(order, order.cancel_reason, order.cancel_cause)
                else:
                    self._outbox.publish(OrderExpired(**self._outbox.said(order.request), left=order.left))
                    self._remove(order)
        except LaneFullError:
            self._outbox.hold_back(1)
            self._set_look(now_ns + 1)
        else:
            self._set_look(min(self._dues.next_ns, self._changes.next_ns))

    def _look_at(self, due_ns: int) -> None:
        """Have an order ended when its time is over, also when no quote comes."""
        if due_ns < self.look_ns:
            self._set_look(due_ns)

    def _set_look(self, due_ns: int) -> None:
        """Look again at that time, with a timer or with the first quote from then on."""
        self.look_ns = due_ns
        call_at = self._outbox.context.call_at
        if call_at is not None and due_ns != NEVER_NS:
            call_at(due_ns, self.end_due)

    def end(self, order: RestingOrder, reason: str, cause: Cause | None = None) -> None:
        """Publish that an order is canceled. Raises LaneFullError; then it fills no more, and is published later."""
        said = {**self._outbox.said(order.request), "cause": cause or order.request.cause}
        try:
            self._outbox.publish(OrderCanceled(**said, left=order.left, reason=reason))
        except LaneFullError:
            self._dues.set_cancel(order, 0, reason, cause)
            self._set_look(said["ts"] + 1)
            raise
        self._remove(order)

    def _remove(self, order: RestingOrder) -> None:
        request = order.request
        del self.orders[request.order_id]
        self._dues.remove(order)
        order.cancel_ns = 0
        if order.partners is not None:
            self._partners.leave(order)
        # An empty one stays: instruments are few, and it is made for each order otherwise.
        orders = self.at[request.instrument]
        orders.remove(order)
        if orders.is_empty:
            self._on_empty(request.instrument)

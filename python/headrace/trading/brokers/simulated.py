"""SimulatedBroker: fills orders against the quotes that come after them; the same one live and in a replay.

::

    quote k ─▶ strategy ─▶ order ─▶ gates ─▶ submit

    quote k+1   a market order, or a limit that it crosses: at the opposite price, as taker, up to its size
                any other limit rests; so does what is left of one
    quote k+2   what is left of a market order: as before
                what rests and is crossed: at its own limit, as maker, up to the opposite size

What happens when several orders meet one quote
    They are filled in the order in which they came, and what one takes is gone for the next.
What happens when the bus has no room
    A fill does not happen; the order meets the next quote as it was. What else is to be said of an order waits, and no
    order is filled before it is said. In a replay there is always room.

Guarantees: an order never fills against the tick that caused it, or one before; nothing is random; money is Decimal.
Does not: simulate its place in a queue, hidden size, its own effect on the market, or outages: the next quote shows its
whole size again, whatever was taken from the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import EngineError, LaneFullError, OrderError
from headrace.market.checks import of_type, whole
from headrace.market.clock import Mode
from headrace.market.events import (
    Cause,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OrderRequested,
)
from headrace.market.instrument import Instrument, instrument_of
from headrace.market.money import MONEY, ZERO, Amount
from headrace.market.tick import NEVER_NEWEST, Flags
from headrace.trading.brokers.costs import Costs
from headrace.trading.brokers.outbox import Outbox
from headrace.trading.brokers.resting import NEVER_NS, Dues, RestingOrder, RestingOrders, ShownSide, ShownSides

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from headrace.dispatch.subscription import Subscription
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["SimulatedBroker"]


# Quotes that say nothing new: repeated on join or after a loss, sent again by the venue, or overtaken by a newer one.
OLD_QUOTE = int(Flags.SNAPSHOT | NEVER_NEWEST)


class SimulatedBroker:
    """A broker that needs nothing but quotes.

    latency_ns : how long an order or a cancel is on its way; 0: an order meets the next quote.
    maker_fee, taker_fee : a part of the notional (0.001: ten basis points), in the instrument's settlement currency; a
        maker's may be negative. An order is a taker where it fills against the first quote that it meets, and with
        every fill of a market order.
    slippage_ticks, slippage_bps : how much worse than the quote a taker is filled, never beyond its limit.

    Raises OptionError.
    """

    def __init__(
        self,
        *,
        latency_ns: int = 0,
        maker_fee: Amount = 0,
        taker_fee: Amount = 0,
        slippage_ticks: int = 0,
        slippage_bps: Amount = 0,
        name: str = "simulated",
    ) -> None:
        self._latency_ns = whole("latency_ns", latency_ns, 0, 1 << 62, "ns")
        self._costs = Costs(maker_fee, taker_fee, slippage_ticks, slippage_bps)
        of_type("name", name, str)
        self._name = name
        self._outbox = Outbox(name)
        self._known: Mapping[str, Instrument] = {}
        self._subscription: Subscription | None = None
        self._orders: dict[str, RestingOrder] = {}
        self._at: dict[str, RestingOrders] = {}
        # What it has filled, signed: as venues do, it knows what reduce_only may reduce.
        self._net: dict[tuple[str, str], Decimal] = {}
        self._taken = 0
        self._dues = Dues()
        # When to look for orders that have ended.
        self._look_ns = NEVER_NS

    @property
    def name(self) -> str:
        """What events and reports call it."""
        return self._name

    @property
    def open_orders(self) -> tuple[str, ...]:
        """The ids of the orders that it has, in the order in which they came."""
        return tuple(self._orders)

    # The broker's protocol

    def attach(self, context: BrokerContext) -> None:
        """Subscribe to quotes, before the strategies, so that orders meet a quote before its handlers run.

        Raises EngineError: another engine had this broker.
        """
        if self._outbox.is_attached:
            msg = (
                f"the {self._name} broker keeps orders and positions of the engine that had it: "
                "make a new SimulatedBroker for each engine"
            )
            raise EngineError(msg)
        self._outbox.attach(context)
        self._known = context.instruments
        if context.dispatcher is not None:
            self._subscription = context.dispatcher.subscribe(
                self._on_quote,
                callback="on_quote",
                name=f"{self._name} broker",
                # Live it never holds the feed for others: a quote that is lost to it is one that nobody traded on.
                overflow="block" if context.mode is Mode.REPLAY else "drop_oldest",
            )
            self._subscription.doze()

    def submit(self, order: OrderRequested) -> None:
        """Take an order; it meets quotes from the next one on. Raises OrderError (an id twice)."""
        context = self._outbox.context
        if order.order_id in self._orders:
            msg = f"the {self._name} broker has an order {order.order_id!r} already: each order has an id of its own"
            raise OrderError(msg, field="order_id")
        if refusal := self._refusal(order):
            observed, reason = refusal
            self._answer(
                OrderRejected(
                    **self._outbox.said(order),
                    gate="broker",
                    observed=observed,
                    threshold="what can be filled",
                    reason=reason,
                )
            )
            return
        self._taken += 1
        self._answer(OrderAccepted(**self._outbox.said(order), broker_order_id=f"{self._name}-{self._taken}"))
        arrives_ns = context.clock.now_ns() + self._latency_ns if self._latency_ns else 0
        resting = RestingOrder(order, self._taken, arrives_ns)
        self._orders[order.order_id] = resting
        orders = self._at.get(order.instrument)
        if orders is None:
            orders = self._at[order.instrument] = RestingOrders()
        orders.add(resting)
        if resting.due_ns != NEVER_NS:
            self._dues.add(resting)
            self._look_at(resting.due_ns)
        if self._subscription is not None:
            self._subscription.wake()

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        """Cancel an order, after the latency; one that is over stays as it is. Raises LaneFullError."""
        resting = self._orders.get(order_id)
        if resting is None:
            return
        if not self._latency_ns:
            self._cancel(resting, "canceled", cause)
        elif resting.cancel_ns == NEVER_NS:
            self._dues.set_cancel(resting, self._outbox.context.clock.now_ns() + self._latency_ns, "canceled", cause)
            self._look_at(resting.cancel_ns)

    def close(self) -> None:
        """Leave the ticks; open orders stay as they are."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def _answer(self, answer: OrderAccepted | OrderRejected) -> None:
        """Publish what becomes of a new order, or keep it until there is room: the broker has decided."""
        try:
            self._outbox.publish(answer)
        except LaneFullError:
            self._outbox.keep(answer)
            self._set_look(answer.ts)

    def _refusal(self, order: OrderRequested) -> tuple[str, str] | None:
        """Return what it sees, and why it cannot fill this order."""
        if self._subscription is None:
            return "no quotes", "the simulated broker fills against quotes: give the engine a feed"
        if self._costs.needs_tick(self._known.get(order.instrument)):
            lines = f'[instruments."{order.instrument}"]\nprice_tick = "0.01"'
            return "no price_tick", f"slippage_ticks needs the instrument's price_tick; add:\n{lines}"
        return None

    # Quotes

    def _on_quote(
        self,
        instrument: str,
        bid_price: float,
        ask_price: float,
        bid_size: float,
        ask_size: float,
        seq: int,
        ts_init: int,
        flags: int,
    ) -> None:
        if self._look_ns != NEVER_NS:
            self._end_due()
        orders = self._at.get(instrument)
        if orders is None or flags & OLD_QUOTE or not orders.concerns(bid_price, ask_price):
            return
        quote = Cause(instrument, "quote", seq, seq, ts_init)
        shown = ShownSides(bid_price, bid_size, ask_price, ask_size)
        met = orders.met_by(quote, shown)
        for number, order in enumerate(met):
            try:
                self._match(order, shown[order.request.side], quote)
            except LaneFullError:
                self._outbox.hold_back(len(met) - number)
                return

    def _match(self, order: RestingOrder, shown: ShownSide, quote: Cause) -> None:
        """Fill what a quote allows; then a limit order rests, or is over."""
        request = order.request
        price = self._price(order, shown)
        if price is not None:
            room = self._reducible(request)
            if room == 0:
                self._cancel(order, "reduce_only, and there is nothing left to reduce", None)
                return
            quantity = min(order.left, shown.left) if room is None else min(order.left, shown.left, room)
            quantity = instrument_of(self._known, request.instrument).in_lots(quantity)
            if quantity:
                self._fill(order, quantity, price, shown, quote)
        if order.left and request.time_in_force == "ioc":
            self._cancel(order, "immediate or cancel: the quote held no more", None)
        elif order.left and order.is_arriving and request.price is not None:
            self._at[request.instrument].rest(order)

    def _price(self, order: RestingOrder, shown: ShownSide) -> Decimal | None:
        """Return the price at which an order is filled here: its own once it rests; None: it is not filled."""
        request = order.request
        limit, side = request.price, request.side
        if shown.left == 0 or (limit is not None and (shown.price > limit if side > 0 else shown.price < limit)):
            return None
        if order.liquidity == "maker":
            return limit
        return self._costs.slipped(shown.price, request, self._known.get(request.instrument))

    def _reducible(self, request: OrderRequested) -> Decimal | None:
        """Return how much a reduce_only order may fill; None: as much as it likes."""
        if not request.reduce_only:
            return None
        net = self._net.get((request.strategy, request.instrument), ZERO)
        return max(ZERO, net.copy_negate() if request.side > 0 else net)

    def _fill(self, order: RestingOrder, quantity: Decimal, price: Decimal, shown: ShownSide, quote: Cause) -> None:
        """Publish an execution, then keep it: what found no room did not happen, and all is computed before."""
        request = order.request
        liquidity = order.liquidity
        traded = instrument_of(self._known, request.instrument)
        filled, left = MONEY.add(order.filled, quantity), MONEY.subtract(order.left, quantity)
        kind = OrderPartiallyFilled if left else OrderFilled
        key = (request.strategy, request.instrument)
        net = MONEY.fma(quantity, request.side, self._net.get(key, ZERO))
        shown_left = MONEY.subtract(shown.left, quantity)
        self._outbox.publish(
            kind(
                **self._outbox.said(request),
                execution_id=f"{request.order_id}/{order.executions + 1}",
                side=request.side,
                quantity=quantity,
                price=price,
                fee=self._costs.fee(traded, quantity, price, liquidity),
                filled=filled,
                left=left,
                liquidity=liquidity,
                quote=quote,
            )
        )
        shown.left = shown_left
        self._net[key] = net
        order.filled, order.left = filled, left
        order.executions += 1
        if not left:
            self._remove(order)

    # Ends

    def _end_due(self) -> None:
        """End what is canceled or expired by now; what finds no room in the lane is tried again, by the next quote."""
        now_ns = self._outbox.context.clock.now_ns()
        if now_ns < self._look_ns:
            return
        try:
            self._outbox.publish_waiting()
            while (order := self._dues.first(now_ns)) is not None:
                if order.cancel_ns <= now_ns:
                    self._cancel(order, order.cancel_reason, order.cancel_cause)
                else:
                    self._outbox.publish(OrderExpired(**self._outbox.said(order.request), left=order.left))
                    self._remove(order)
        except LaneFullError:
            self._outbox.hold_back(1)
            self._set_look(now_ns + 1)
        else:
            self._set_look(self._dues.next_ns)

    def _look_at(self, due_ns: int) -> None:
        """Have an order ended when its time is over, also when no quote comes."""
        if due_ns < self._look_ns:
            self._set_look(due_ns)

    def _set_look(self, due_ns: int) -> None:
        """Look again at that time, with a timer or with the first quote from then on."""
        self._look_ns = due_ns
        call_at = self._outbox.context.call_at
        if call_at is not None and due_ns != NEVER_NS:
            call_at(due_ns, self._end_due)

    def _cancel(self, order: RestingOrder, reason: str, cause: Cause | None) -> None:
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
        del self._orders[request.order_id]
        self._dues.remove(order)
        # An empty one stays: instruments are few, and it is made for each order otherwise.
        self._at[request.instrument].remove(order)
        if not self._orders and self._subscription is not None:
            self._subscription.doze()

"""SimulatedBroker: fills orders against the quotes that come after them; the same one live and in a replay.

::

    quote k ─▶ strategy ─▶ order ─▶ gates ─▶ submit          quote k+1 ─▶ fill at its opposite side, up to its size
                                                             quote k+2 ─▶ the rest of a market order, or of a limit
                                                                          that the opposite price still reaches

What happens when several orders want one quote
    they are served in the order in which they came, and what one takes the next does not get.
What happens when the bus has no room for a fill
    the fill does not happen; the order meets the next quote as it was.

Guarantees: an order never fills against the tick that caused it, or one before; nothing is random; money is Decimal.
Does not: simulate its place in a queue, hidden size, its own effect on the market, or outages: the next quote shows its
whole size again, whatever was taken from the one before.
"""

from __future__ import annotations

import logging
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import LaneFullError, OptionError, OrderError
from headrace.market.checks import whole
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
from headrace.market.instrument import Instrument
from headrace.market.money import MONEY, ZERO, Amount, decimal_of
from headrace.market.tick import NEVER_NEWEST, Flags
from headrace.trading.brokers.resting import NEVER_NS, RestingOrder, RestingOrders, ShownSide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.dispatch.subscription import Subscription
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["SimulatedBroker"]

log = logging.getLogger(__name__)

# Quotes that say nothing new: repeated on join or after a loss, sent again by the venue, or overtaken by a newer one.
OLD_QUOTE = int(Flags.SNAPSHOT | NEVER_NEWEST)
BPS = Decimal(10_000)


class _Fees(NamedTuple):
    maker: Decimal
    taker: Decimal


class SimulatedBroker:
    """A broker that needs nothing but quotes.

    latency_ns : so long an order or a cancel is on its way; 0: an order meets the next quote.
    maker_fee, taker_fee : a part of the notional (0.001: ten basis points), in the instrument's settlement currency; a
        maker's may be negative. An order is a
        taker where it fills against the first quote that it meets, and with every fill of a market order.
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
        self._fees = _Fees(_part("maker_fee", maker_fee, low=-1), _part("taker_fee", taker_fee))
        self._slippage_ticks = whole("slippage_ticks", slippage_ticks, 0, 1 << 62, "ticks")
        self._slippage = MONEY.divide(_part("slippage_bps", slippage_bps, high=BPS), BPS)
        self._name = name
        self._context: BrokerContext | None = None
        self._subscription: Subscription | None = None
        self._orders: dict[str, RestingOrder] = {}
        self._at: dict[str, RestingOrders] = {}
        # What it has filled, signed: as venues do, it knows what reduce_only may reduce.
        self._net: dict[tuple[str, str], Decimal] = {}
        self._taken = 0
        self._due_ns = NEVER_NS
        self._held_back = 0

    @property
    def name(self) -> str:
        """What events and reports call it."""
        return self._name

    @property
    def open_orders(self) -> tuple[str, ...]:
        """The ids of the orders that it has, in the order in which they came."""
        return tuple(self._orders)

    @property
    def held_back(self) -> int:
        """How often the bus had no room for what the broker would have told."""
        return self._held_back

    # The broker's protocol

    def attach(self, context: BrokerContext) -> None:
        """Subscribe to quotes, before the strategies, so that a quote is met before anybody answers it."""
        self._context = context
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
        """Take an order; it meets quotes from the next one on. Raises OrderError (an id twice), LaneFullError."""
        context = self._attached()
        if order.order_id in self._orders:
            msg = f"the {self._name} broker has an order {order.order_id!r} already: each order has an id of its own"
            raise OrderError(msg, field="order_id")
        if refusal := self._refusal(order):
            observed, reason = refusal
            context.publish(
                OrderRejected(
                    **self._said(order), gate="broker", observed=observed, threshold="what can be filled", reason=reason
                )
            )
            return
        context.publish(OrderAccepted(**self._said(order), broker_order_id=f"{self._name}-{self._taken + 1}"))
        self._taken += 1
        arrives_ns = context.clock.now_ns() + self._latency_ns if self._latency_ns else 0
        resting = RestingOrder(order, arrives_ns)
        self._orders[order.order_id] = resting
        self._at.setdefault(order.instrument, RestingOrders()).add(resting)
        self._remind(resting.due_ns)
        if self._subscription is not None:
            self._subscription.wake()

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        """Cancel an order, after the latency; one that is over stays as it is. Raises LaneFullError."""
        resting = self._orders.get(order_id)
        if resting is None:
            return
        if self._latency_ns and resting.cancel_ns == NEVER_NS:
            resting.cancel_ns = self._attached().clock.now_ns() + self._latency_ns
            resting.cancel_reason, resting.cancel_cause = "canceled", cause
            self._remind(resting.cancel_ns)
        elif not self._latency_ns:
            self._cancel(resting, "canceled", cause)

    def close(self) -> None:
        """Leave the ticks; open orders stay as they are."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def _attached(self) -> BrokerContext:
        if self._context is None:
            msg = f"the {self._name} broker has no desk: call attach(BrokerContext(...)) first, as an engine does"
            raise OrderError(msg, field="broker")
        return self._context

    def _refusal(self, order: OrderRequested) -> tuple[str, str] | None:
        """Return what it sees, and why it cannot fill this order."""
        if self._subscription is None:
            return "no quotes", "the simulated broker fills against quotes: give the engine a feed"
        instrument = self._instruments.get(order.instrument)
        if self._slippage_ticks and (instrument is None or instrument.price_tick is None):
            lines = f'[instruments."{order.instrument}"]\nprice_tick = "0.01"'
            return "no price_tick", f"slippage_ticks needs the instrument's price_tick; add:\n{lines}"
        return None

    @property
    def _instruments(self) -> Mapping[str, Instrument]:
        return self._attached().instruments

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
        try:
            if self._due_ns != NEVER_NS:
                self._end_due()
            resting = self._at.get(instrument)
            if resting is None or flags & OLD_QUOTE or not resting.concerns(bid_price, ask_price):
                return
            quote = Cause(instrument, "quote", seq, seq, ts_init)
            shown = {1: ShownSide(ask_price, ask_size), -1: ShownSide(bid_price, bid_size)}
            for order in resting:
                if order.meets(quote):
                    self._match(order, shown[order.request.side], quote)
            resting.settle()
        except LaneFullError:
            self._hold_back()

    def _match(self, order: RestingOrder, shown: ShownSide, quote: Cause) -> None:
        """Fill what a quote allows; then an order that does not rest is over."""
        request = order.request
        price = self._price(order, shown)
        if price is not None:
            room = self._reducible(request)
            if room == 0:
                self._cancel(order, "reduce_only, and there is nothing left to reduce", None)
                return
            quantity = min(order.left, shown.left) if room is None else min(order.left, shown.left, room)
            quantity = self._in_lots(request.instrument, quantity)
            if quantity:
                self._fill(order, quantity, price, shown, quote)
        if order.left and request.time_in_force == "ioc":
            self._cancel(order, "immediate or cancel: the quote held no more", None)
        order.is_new = False

    def _price(self, order: RestingOrder, shown: ShownSide) -> Decimal | None:
        """Return what the order is filled at here; None: it is not."""
        request = order.request
        limit, side = request.price, request.side
        if shown.left == 0 or (limit is not None and (shown.price > limit if side > 0 else shown.price < limit)):
            return None
        return shown.price if order.liquidity == "maker" else self._slipped(shown.price, request)

    def _slipped(self, price: Decimal, request: OrderRequested) -> Decimal:
        """Return a taker's price: worse by the slippage, on the instrument's tick, not beyond its limit."""
        if not (self._slippage_ticks or self._slippage):
            return price
        side, limit = Decimal(request.side), request.price
        known = self._instruments.get(request.instrument)
        tick = None if known is None else known.price_tick
        worse = MONEY.fma(MONEY.multiply(price, self._slippage), side, price)
        if tick:
            worse = MONEY.fma(MONEY.multiply(tick, self._slippage_ticks), side, worse)
            steps = MONEY.divide(worse, tick).to_integral_value(ROUND_CEILING if side > 0 else ROUND_FLOOR)
            worse = MONEY.multiply(max(steps, Decimal(1)), tick)
        if limit is None:
            return worse
        return min(worse, limit) if side > 0 else max(worse, limit)

    def _reducible(self, request: OrderRequested) -> Decimal | None:
        """Return how much a reduce_only order may fill; None: as much as it likes."""
        if not request.reduce_only:
            return None
        net = self._net.get((request.strategy, request.instrument), ZERO)
        return max(ZERO, net.copy_negate() if request.side > 0 else net)

    def _in_lots(self, instrument: str, quantity: Decimal) -> Decimal:
        known = self._instruments.get(instrument)
        if known is None or not known.lot_size:
            return quantity
        return MONEY.multiply(MONEY.divide_int(quantity, known.lot_size), known.lot_size)

    def _fill(self, order: RestingOrder, quantity: Decimal, price: Decimal, shown: ShownSide, quote: Cause) -> None:
        """Tell an execution, then account for it: what could not be told did not happen."""
        request = order.request
        liquidity = order.liquidity
        traded = self._instruments.get(request.instrument) or Instrument(request.instrument)
        rate = self._fees.taker if liquidity == "taker" else self._fees.maker
        filled, left = MONEY.add(order.filled, quantity), MONEY.subtract(order.left, quantity)
        kind = OrderPartiallyFilled if left else OrderFilled
        self._attached().publish(
            kind(
                **self._said(request),
                execution_id=f"{request.order_id}/{order.executions + 1}",
                side=request.side,
                quantity=quantity,
                price=price,
                fee=traded.fee(quantity, price, rate),
                filled=filled,
                left=left,
                liquidity=liquidity,
                quote=quote,
            )
        )
        shown.left = MONEY.subtract(shown.left, quantity)
        order.filled, order.left = filled, left
        order.executions += 1
        key = (request.strategy, request.instrument)
        self._net[key] = MONEY.fma(quantity, request.side, self._net.get(key, ZERO))
        if not left:
            self._remove(order)

    # Ends

    def _end_due(self) -> None:
        """End what is canceled or expired by now. Raises LaneFullError; then the rest is due still."""
        now_ns = self._attached().clock.now_ns()
        if now_ns < self._due_ns:
            return
        for order in [order for order in self._orders.values() if order.due_ns <= now_ns]:
            if order.cancel_ns <= now_ns:
                self._cancel(order, order.cancel_reason, order.cancel_cause)
            else:
                self._attached().publish(OrderExpired(**self._said(order.request), left=order.left))
                self._remove(order)
        self._set_due(min((order.due_ns for order in self._orders.values()), default=NEVER_NS))

    def _on_time(self) -> None:
        try:
            self._end_due()
        except LaneFullError:
            self._hold_back()
            self._set_due(self._attached().clock.now_ns() + 1)

    def _remind(self, due_ns: int) -> None:
        """Have the order ended when its time is over, also when no quote comes."""
        if due_ns < self._due_ns:
            self._set_due(due_ns)

    def _set_due(self, due_ns: int) -> None:
        """Look again at that time, with a timer or with the first quote from then on."""
        self._due_ns = due_ns
        call_at = self._attached().call_at
        if call_at is not None and due_ns != NEVER_NS:
            call_at(due_ns, self._on_time)

    def _cancel(self, order: RestingOrder, reason: str, cause: Cause | None) -> None:
        """Tell that an order is canceled. Raises LaneFullError; then it fills no more, and is told with what is due."""
        said = {**self._said(order.request), "cause": cause or order.request.cause}
        try:
            self._attached().publish(OrderCanceled(**said, left=order.left, reason=reason))
        except LaneFullError:
            order.cancel_ns, order.cancel_reason, order.cancel_cause = 0, reason, cause
            self._set_due(said["ts"] + 1)
            raise
        self._remove(order)

    def _remove(self, order: RestingOrder) -> None:
        request = order.request
        del self._orders[request.order_id]
        self._at[request.instrument].remove(order)
        if not self._at[request.instrument]:
            del self._at[request.instrument]
        if not self._orders and self._subscription is not None:
            self._subscription.doze()

    def _hold_back(self) -> None:
        self._held_back += 1
        if self._held_back == 1:
            log.warning(
                "the order lane has no room for what the %s broker tells: it waits for the next quote", self._name
            )

    def _said(self, request: OrderRequested) -> dict[str, Any]:
        """Return what all events of an order say."""
        context = self._attached()
        return {
            "source": self._name,
            "ts": context.clock.now_ns(),
            "run_id": request.run_id,
            "cause": request.cause,
            "order_id": request.order_id,
            "strategy": request.strategy,
            "instrument": request.instrument,
        }


def _part(option: str, value: Amount, *, low: int = 0, high: int | Decimal = 1) -> Decimal:
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        number = None
    if number is None or (not low < number < high and number != 0):
        msg = f"{option}={value!r} is not allowed: give a number from {low} to below {high}"
        raise OptionError(msg, option=option)
    return number

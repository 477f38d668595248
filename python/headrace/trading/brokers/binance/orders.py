"""OpenOrders: the orders that the venue has or may have, and what its answers make of each.

::

    sending ─▶ open ─fills, by trade id─▶ filled            canceled, expired
       └▶ unknown ─┘    └─ amend: modifying ─▶ open, or canceling ─▶ sending again, under another client order id

What happens when fills are missing
    An order ends only when its published trades are all that the venue says it has executed: ``take`` answers False
    until then, and the follower fetches them.

Guarantees: each trade of an order is published once, in the order of its id; nothing of an order follows its end.
Does not: ask the venue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from headrace.limits import ORDER_MISSING_S
from headrace.market.events import (
    OrderAccepted,
    OrderAmended,
    OrderAmendRejected,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OtherFee,
)
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.outcome import OrderOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headrace.market.events import OrderAmendRequested, OrderRequested
    from headrace.market.instrument import Instrument
    from headrace.trading.brokers.binance.answers import Answers

__all__ = ["OpenOrder", "OpenOrders", "outcome_of"]

log = logging.getLogger(__name__)

ENDED = ("CANCELED", "EXPIRED", "REJECTED", "EXPIRED_IN_MATCH")
# The venue's longest client order id.
NAME_CHARACTERS_MAX = 36

# sending : a request with it is on its way. unknown : one had no answer. open : the venue has it. modifying : a request
# that changes it was sent. canceling : it is canceled, to be sent with other values.
State: TypeAlias = Literal["sending", "unknown", "open", "modifying", "canceling"]
Row: TypeAlias = "Mapping[str, Any]"


class OpenOrder:
    """One order at the venue; changed by OpenOrders alone.

    request : as submitted, or amended since. name : its client order id at the venue now; an order that was sent again
    has another one, and ``before`` is what was filled under the earlier ones.
    """

    __slots__ = (
        "before",
        "change",
        "filled",
        "is_accepted",
        "is_cancel_told",
        "is_cancel_wanted",
        "is_over",
        "name",
        "request",
        "state",
        "times_sent",
        "trades",
        "waits_since",
    )

    def __init__(self, request: OrderRequested) -> None:
        self.request = request
        self.name = request.order_id
        self.state: State = "sending"
        self.times_sent = 1
        # Since when the latest request has had no answer, of ``time.monotonic``.
        self.waits_since = time.monotonic()
        self.is_accepted = self.is_over = False
        # told : the log has named a failed cancel.
        self.is_cancel_wanted = self.is_cancel_told = False
        self.filled = self.before = ZERO
        self.trades: set[int] = set()
        self.change: OrderAmendRequested | None = None

    @property
    def symbol(self) -> str:
        """The venue's name of its instrument."""
        return self.request.instrument.rpartition(".")[0]

    @property
    def left(self) -> Decimal:
        """The quantity that is not filled."""
        return MONEY.subtract(self.request.quantity, self.filled)

    @property
    def is_being_canceled(self) -> bool:
        """Whether a cancel has to be sent until the venue has answered it."""
        return not self.is_over and (self.is_cancel_wanted or self.state == "canceling")


class OpenOrders:
    """The open orders of one broker; any thread may call.

    send_again : called with an order that was canceled to be sent with other values.
    """

    def __init__(self, answers: Answers, send_again: Callable[[OpenOrder], None]) -> None:
        self._answers = answers
        self._send_again = send_again
        self._lock = threading.RLock()
        self._open: dict[str, OpenOrder] = {}
        # Currencies of fees that a warning named.
        self._other_fees: set[str] = set()
        # Every client order id so far; None once the orders are known that were open before.
        self.names: set[str] | None = set()

    @property
    def has_any(self) -> bool:
        """Whether an order is open."""
        return bool(self._open)

    def end_names(self) -> set[str]:
        """Return every client order id so far, and keep none from now on."""
        with self._lock:
            names, self.names = self.names, None
        return names or set()

    def add(self, request: OrderRequested) -> OpenOrder:
        """Add an order that is about to be sent."""
        with self._lock:
            order = self._open[request.order_id] = OpenOrder(request)
            if self.names is not None:
                self.names.add(order.name)
        return order

    def get(self, order_id: str) -> OpenOrder | None:
        """Return an open order by its first id."""
        return self._open.get(order_id)

    def by_symbol(self) -> dict[str, list[OpenOrder]]:
        """Return the orders that the venue may be asked for."""
        found: defaultdict[str, list[OpenOrder]] = defaultdict(list)
        with self._lock:
            for order in self._open.values():
                if order.state != "sending":
                    found[order.symbol].append(order)
        return found

    # What requests bring

    def unknown(self, order: OpenOrder, reason: str) -> None:
        """A request that sends an order had no answer: the venue may have it."""
        with self._lock:
            order.state, order.waits_since = "unknown", time.monotonic()
            self._answers.say(order.request.order_id, "unknown", reason)

    def never_sent(self, order: OpenOrder, *, observed: str, threshold: str, reason: str) -> None:
        """The venue did not take an order, or its second half when it was to be sent with other values."""
        with self._lock:
            if order.is_over:
                return
            if order.change is not None:
                self._end(order, reason)
                return
            said = self._answers.said(order.request)
            self._close(order)
            self._answers.publish(
                OrderRejected(**said, gate="broker", observed=observed, threshold=threshold, reason=reason)
            )

    def missing(self, order: OpenOrder) -> None:
        """The venue does not know an order whose request had no answer."""
        with self._lock:
            if order.state == "unknown" and time.monotonic() - order.waits_since > ORDER_MISSING_S:
                reason = f"the venue has not known it for {ORDER_MISSING_S:.0f} s, so its request never arrived"
                self.never_sent(order, observed="no such order", threshold="an order", reason=reason)

    def take(self, order: OpenOrder, name: str, row: Row, trades: Iterable[Row] = ()) -> bool:
        """Publish what an answer says of an order and was not published. False: trades of it are missing.

        name : the client order id that was asked for. trades : of this order at the venue, as REST has them.
        """
        found = outcome_of(row)
        with self._lock:
            if order.is_over or order.name != name:
                return True
            self._know(order, row)
            if self._is_filled_by(order, trades):
                return True
            if MONEY.add(order.before, found.filled) > order.filled:
                return False
            if found.state != "open":
                self._end(order, found.reason)
            return True

    def _is_filled_by(self, order: OpenOrder, trades: Iterable[Row]) -> bool:
        for trade in sorted(trades, key=_number):
            self._fill(order, trade)
        return order.is_over

    def _know(self, order: OpenOrder, row: Row) -> None:
        """The venue has an order, as a row says."""
        change = order.change
        if not order.is_accepted:
            order.is_accepted, order.state = True, "open"
            self._answers.publish(
                OrderAccepted(**self._answers.said(order.request), broker_order_id=str(row["orderId"]))
            )
        elif order.state in ("sending", "unknown"):
            self._amended(order)
        elif change is not None and order.state == "modifying":
            if Decimal(row["origQty"]) == change.quantity and Decimal(row["price"]) == change.price:
                self._amended(order)
            elif time.monotonic() - order.waits_since > ORDER_MISSING_S:
                self.refuse_change(order, "the old values", "the venue has kept them: the request never arrived")

    def _fill(self, order: OpenOrder, trade: Row) -> None:
        number = _number(trade)
        if order.is_over or number in order.trades:
            return
        order.trades.add(number)
        quantity, price = Decimal(trade["qty"]), Decimal(trade["price"])
        order.filled = MONEY.add(order.filled, quantity)
        left = order.left
        is_maker = trade.get("isMaker", trade.get("maker", False))
        fee, other = _fees(self._answers.instrument(order.request.instrument), trade)
        if other is not None:
            self._warn_of(other, order.request.instrument)
        kind = OrderPartiallyFilled if left > 0 else OrderFilled
        fill = kind(
            **self._answers.said(order.request),
            execution_id=str(number),
            side=order.request.side,
            quantity=quantity,
            price=price,
            fee=fee,
            other_fee=other,
            filled=order.filled,
            left=left,
            liquidity="maker" if is_maker else "taker",
        )
        if left <= 0:
            self.refuse_change(order, "filled", "the order filled before")
            self._close(order)
        self._answers.publish(fill)

    def _warn_of(self, fee: OtherFee, instrument: str) -> None:
        """Say once that fees are paid in a currency that nothing converts."""
        if fee.currency in self._other_fees:
            return
        self._other_fees.add(fee.currency)
        reason = (
            f"the first one of {instrument} is {fee.amount:f} {fee.currency}; such fees are in no profit and no limit "
            f"of another currency: see the account's balance of {fee.currency}, or have the venue take fees otherwise"
        )
        log.warning("fees in %s are not converted: %s", fee.currency, reason)
        self._answers.say(f"fees in {fee.currency}", "not converted", reason)

    # Amends

    def begin_change(
        self, order: OpenOrder, change: OrderAmendRequested, state: Literal["modifying", "canceling"]
    ) -> bool:
        """Note that an order is to have other values. False: it cannot, and that was published."""
        with self._lock:
            observed: str = "over" if order.is_over else order.state
            if order.is_cancel_wanted:
                observed = "being canceled"
            next_name = _next_name(order)
            if state == "canceling" and len(next_name) > NAME_CHARACTERS_MAX:
                observed = f"an id of {len(next_name)} characters"
            is_open = observed == "open"
            if is_open:
                order.change, order.state, order.waits_since = change, state, time.monotonic()
            else:
                self.amend_refused(change, observed, "the order is not open at the venue, or is being changed")
            return is_open

    def refuse_change(self, order: OpenOrder, observed: str, reason: str) -> None:
        """An order keeps its values, if it was to have others."""
        with self._lock:
            change, order.change = order.change, None
            if change is not None:
                if order.state in ("modifying", "canceling"):
                    order.state = "open"
                self.amend_refused(change, observed, reason)

    def amend_refused(self, change: OrderAmendRequested, observed: str, reason: str) -> None:
        """Say that a change was not made."""
        said = self._answers.said(change)
        self._answers.publish(
            OrderAmendRejected(**said, gate="broker", observed=observed, threshold="an open order", reason=reason)
        )

    def _amended(self, order: OpenOrder) -> None:
        change, order.change, order.state = order.change, None, "open"
        assert change is not None  # Whatever was sent again was sent for it.
        order.request = msgspec.structs.replace(order.request, quantity=change.quantity, price=change.price)
        said = self._answers.said(change)
        self._answers.publish(OrderAmended(**said, quantity=change.quantity, left=order.left, price=change.price))

    # Ends

    def want_cancel(self, order_id: str) -> OpenOrder | None:
        """Note that an order is to be canceled; None: it is over."""
        with self._lock:
            order = self._open.get(order_id)
            if order is not None:
                order.is_cancel_wanted = True
            return order

    def _end(self, order: OpenOrder, reason: str) -> None:
        """The venue has ended an order whose trades are all published."""
        change = order.change
        is_ours = order.state == "canceling" and reason == "CANCELED" and not order.is_cancel_wanted
        if change is not None and is_ours and change.quantity > order.filled:
            order.name, order.before = _next_name(order), order.filled
            order.times_sent, order.state, order.waits_since = order.times_sent + 1, "sending", time.monotonic()
            if self.names is not None:
                self.names.add(order.name)
            self._send_again(order)
            return
        self.refuse_change(order, "ended", reason)
        said, left = self._answers.said(order.request), order.left
        rests = order.request.price is not None and order.request.time_in_force == "gtc"
        self._close(order)
        if reason == "EXPIRED" and rests:
            self._answers.publish(OrderExpired(**said, left=left))
        else:
            self._answers.publish(OrderCanceled(**said, left=left, reason=reason))

    def _close(self, order: OpenOrder) -> None:
        order.is_over = True
        self._open.pop(order.request.order_id, None)


def outcome_of(row: Row) -> OrderOutcome:
    """Return what an answer says of an order. Spot and futures name the sum of its value differently."""
    filled = Decimal(row["executedQty"])
    value = Decimal(row.get("cummulativeQuoteQty", row.get("cumQuote", "0")))
    average = MONEY.divide(value, filled) if filled else ZERO
    status = row["status"]
    if status == "FILLED":
        return OrderOutcome("filled", filled, average)
    if status in ENDED:
        return OrderOutcome("ended", filled, average, status)
    return OrderOutcome("open", filled, average, status)


def _next_name(order: OpenOrder) -> str:
    return f"{order.request.order_id}_{order.times_sent + 1}"


def _number(trade: Row) -> int:
    """Return a trade's id, as the answer to an order or a list of trades has it."""
    return int(trade["tradeId"] if "tradeId" in trade else trade["id"])


def _fees(instrument: Instrument, trade: Row) -> tuple[Decimal, OtherFee | None]:
    """Return a trade's fee in the settlement currency, or what was paid in a third asset.

    One that was paid in the coin counts at the trade's price.
    """
    asset, fee = trade.get("commissionAsset"), Decimal(trade.get("commission", "0"))
    if asset == instrument.currencies.base:
        return MONEY.multiply(fee, Decimal(trade["price"])), None
    if asset == instrument.settles or not fee:
        return fee, None
    return ZERO, OtherFee(asset or "an unnamed asset", fee)

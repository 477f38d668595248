"""BinanceBroker: market and limit orders over Binance's REST, each with a client order id of ours, followed to its end.

::

    submit, amend, cancel ─▶ thread ─▶ POST, PUT, DELETE order ─┬▶ an answer ─▶ OpenOrders ─▶ events
                                                                └▶ none, 5xx, -1006, -1007 ─▶ Status "unknown"
    while orders are open: Follower ─▶ GET openOrders, order, trades ─▶ OpenOrders ─▶ events

What happens when a request has no answer
    An order is not sent again: the venue is asked for it by its id, and it is rejected when the venue has not known it
    for 60 s. A cancel is sent again until the order is over. A change counts once the venue shows it.
What happens to an amend on the spot market, which changes no order
    The order is canceled, and what is then left of the new quantity is sent under another client order id. So it never
    fills more than the new quantity; between the two requests there is no order at the venue.

Guarantees: an order is sent at most once; each of its trades is published once; methods return at once, and what comes
of them is published in the loop that was running at ``attach``, else in a thread of the broker. An order of another
market is rejected, and nothing is sent.
Does not: convert fees that are paid in a third asset: they stand in the account's balance of that asset, and the first
one is a warning. Send orders that wait for a price.

Source: the venue's public documentation of REST endpoints, read in November 2026.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

from headrace.errors import OrderError, VenueRequestError
from headrace.limits import ORDER_POLL_S
from headrace.market.checks import number, one_of, refuse
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.binance.answers import Answers
from headrace.trading.brokers.binance.follower import Follower
from headrace.trading.brokers.binance.orders import OpenOrder, OpenOrders, outcome_of
from headrace.trading.brokers.binance.rest import NO_SUCH_ORDER, SignedRest, is_refusal
from headrace.trading.brokers.outcome import OrderOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from headrace.market.events import Cause, OrderAmendRequested, OrderRequested
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["BinanceBroker"]

log = logging.getLogger(__name__)

VENUES = ("BINANCE", "BINANCE_USDM")
SENDS = "market and limit orders: gtc, ioc, fok, post_only"
ADVICE = f"a BinanceBroker sends orders of its own venue alone, and its venue is one of {', '.join(VENUES)}"
# What a cancel is answered with when the order is over, or not seen yet: the follower finds out which.
UNKNOWN_ORDER = -2011


class BinanceBroker:
    """A broker for one market. Where a post_only order would take, the venue refuses it.

    rest_url : what ``/api/v3`` follows. api_key, secret : of the account. venue : BINANCE or BINANCE_USDM.
    timeout_s : of one request. poll_s : the time between two looks at open orders; longer where the venue's weights
    ask for it. limits : rules of the venue to change, such as ``{"weight_max": 1_200}``. Raises OptionError.
    """

    name = "binance"

    def __init__(
        self,
        *,
        rest_url: str,
        api_key: str,
        secret: str,
        venue: str = "BINANCE",
        timeout_s: float = 5.0,
        poll_s: float = ORDER_POLL_S,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        for option, seconds in (("timeout_s", timeout_s), ("poll_s", poll_s)):
            if not 0 < number(option, seconds) < float("inf"):
                refuse(option, seconds, "a number of seconds above 0")
        # The table needs no extra, but its folder does: an import at the top would be one of the core.
        from headrace.venues.binance.rules import rules_of

        self._venue = one_of("venue", venue, VENUES)
        self._rest = SignedRest(rest_url, api_key, secret, rules_of(venue, limits), timeout_s)
        self._poll_s = poll_s
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._orders: OpenOrders | None = None
        self._follower: Follower | None = None

    def attach(self, context: BrokerContext) -> None:
        """Get ready, and look which orders are open before the first one."""
        answers = Answers(self.name, context)
        self._orders = OpenOrders(answers, lambda order: self._jobs.put(lambda: self._send(order)))
        self._thread = threading.Thread(target=self._work, name="orders of binance", daemon=True)
        self._thread.start()
        self._follower = Follower(self.name, self._rest, self._orders, answers, self._put_cancel, self._poll_s)

    def submit(self, order: OrderRequested) -> None:
        """Send an order from the broker's thread. Raises OrderError before ``attach``."""
        if self._orders is None:
            msg = "the binance broker has no desk: call attach(BrokerContext(...)) first, as an engine does"
            raise OrderError(msg, field="broker")
        own = self._orders.add(order)
        if order.instrument.rpartition(".")[2] != self._venue:
            # At another market its symbol may be something else.
            advice = f"{order.instrument} is not traded there: {ADVICE}"
            self._orders.never_sent(own, observed=order.instrument, threshold=self._venue, reason=advice)
        elif reason := _unsendable(order):
            advice = f"the binance broker sends {SENDS}; keep the {reason} in your strategy, and send when it is due"
            self._orders.never_sent(own, observed=reason, threshold=SENDS, reason=advice)
        else:
            self._jobs.put(lambda: self._send(own))
            # It sleeps while there are no orders.
            self._look_soon()

    def amend(self, change: OrderAmendRequested) -> None:
        """Change an order's quantity or price from the broker's thread."""
        order = None if self._orders is None else self._orders.get(change.order_id)
        if order is not None:
            self._jobs.put(lambda: self._amend(order, change))
        elif self._orders is not None:
            self._orders.amend_refused(change, "over", "the order is over at the venue")

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:  # noqa: ARG002 - the venue takes no cause
        """Cancel an order from the broker's thread; an order that is over stays as it is."""
        order = None if self._orders is None else self._orders.want_cancel(order_id)
        if order is not None:
            self._jobs.put(lambda: self._cancel(order, is_first=True))

    def close(self) -> None:
        """End the threads after what they do now; may be called twice. Open orders stay as they are."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._follower is not None:
            self._follower.close()
        self._jobs.put(None)
        thread.join(self._rest.timeout_s * 2)

    def outcome(self, order_id: str, instrument: str) -> OrderOutcome:
        """Ask for an order by its client's id, then in the open orders. Raises VenueRequestError."""
        symbol, _, venue = instrument.rpartition(".")
        if venue != self._venue:
            msg = f"{instrument} was not sent to {self._venue}: {ADVICE}"
            raise VenueRequestError(msg, url="", status=None)
        try:
            return outcome_of(self._rest.request("GET", "order", symbol=symbol, origClientOrderId=order_id))
        except VenueRequestError as error:
            if getattr(error, "code", None) != NO_SUCH_ORDER:
                raise
        for own in self._rest.request("GET", "openOrders", symbol=symbol):
            if own["clientOrderId"] == order_id:
                return outcome_of(own)
        return OrderOutcome("missing", ZERO, ZERO, "the venue does not know it")

    # In the broker's thread

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("the binance broker failed")

    def _put_cancel(self, order: OpenOrder) -> None:
        self._jobs.put(lambda: self._cancel(order))

    def _send(self, order: OpenOrder) -> None:
        """Send an order, or what is left of it under new values."""
        assert self._orders is not None
        request, name = order.request, order.name
        quantity, price = request.quantity, request.price
        if order.change is not None:
            quantity, price = MONEY.subtract(order.change.quantity, order.before), order.change.price
        fields: dict[str, object] = {
            "symbol": order.symbol,
            "side": "BUY" if request.side > 0 else "SELL",
            "quantity": f"{quantity:f}",
            "newClientOrderId": name,
            # Futures have no answer with trades.
            "newOrderRespType": "FULL" if self._rest.is_spot else "RESULT",
            **self._type_of(request, price),
        }
        try:
            answer = self._rest.request("POST", "order", **fields)
        except VenueRequestError as error:
            if is_refusal(error):
                self._orders.never_sent(order, observed=str(error.status), threshold="200", reason=str(error))
            else:
                self._orders.unknown(order, str(error))
            return
        self._take(order, name, answer)

    def _type_of(self, request: OrderRequested, price: Decimal | None) -> dict[str, object]:
        """Return the fields that say what kind of order it is."""
        if price is None:
            return {"type": "MARKET"}
        limit = {"price": f"{price:f}"}
        if not request.post_only:
            return {"type": "LIMIT", "timeInForce": request.time_in_force.upper(), **limit}
        # Each market has its own way to say that an order must not take.
        if self._rest.is_spot:
            return {"type": "LIMIT_MAKER", **limit}
        return {"type": "LIMIT", "timeInForce": "GTX", **limit}

    def _cancel(self, order: OpenOrder, *, is_first: bool = False) -> None:
        """Cancel an order; one that the venue does not answer, or does not know, is canceled again by the follower."""
        if not order.is_being_canceled:
            return
        name = order.name
        try:
            answer = self._rest.request("DELETE", "order", symbol=order.symbol, origClientOrderId=name)
        except VenueRequestError as error:
            if getattr(error, "code", None) == UNKNOWN_ORDER:
                if is_first:
                    self._look_soon()
            elif not order.is_cancel_told:
                order.is_cancel_told = True
                log.warning("order %s is not canceled yet, and will be canceled again: %s", name, error)
            return
        self._take(order, name, answer)

    def _amend(self, order: OpenOrder, change: OrderAmendRequested) -> None:
        assert self._orders is not None
        if not self._orders.begin_change(order, change, "canceling" if self._rest.is_spot else "modifying"):
            return
        if self._rest.is_spot:
            self._cancel(order, is_first=True)
            return
        name = order.name
        fields: dict[str, object] = {
            "symbol": order.symbol,
            "origClientOrderId": name,
            "side": "BUY" if order.request.side > 0 else "SELL",
            "quantity": f"{change.quantity:f}",
            "price": f"{change.price:f}",
        }
        try:
            answer = self._rest.request("PUT", "order", **fields)
        except VenueRequestError as error:
            if is_refusal(error):
                self._orders.refuse_change(order, str(error.status), str(error))
                self._look_soon()
            return
        self._take(order, name, answer)

    def _take(self, order: OpenOrder, name: str, answer: dict[str, object]) -> None:
        assert self._orders is not None
        trades = answer.get("fills", ())
        if not self._orders.take(order, name, answer, trades if isinstance(trades, list) else ()):
            self._look_soon()

    def _look_soon(self) -> None:
        if self._follower is not None:
            self._follower.wake()


def _unsendable(order: OrderRequested) -> str:
    """Return what of an order this broker does not send; empty: nothing."""
    if order.is_conditional:
        return f"{order.order_type} order"
    if order.expires_ns is not None:
        return "order with an expiry"
    return "oco order" if order.oco else ""

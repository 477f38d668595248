"""BinanceBroker: market and limit orders over Binance's REST, each with a client order id of ours.

::

    submit ─▶ thread ─▶ POST /order ─┬▶ an answer ─▶ OrderAccepted, fills, OrderCanceled · OrderRejected
                                     └▶ none, 5xx, -1006, -1007 ─▶ Status "unknown": ask outcome(), never send again

Guarantees: an order is sent at most once; ``submit`` and ``cancel`` return at once; what comes of them is published in
the loop that was running at ``attach``, else in the broker's thread.
Does not: convert fees that are paid in another asset than the quote currency; those count as 0.

Source: the venue's public documentation of REST endpoints, read in November 2026.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import logging
import queue
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from headrace.errors import OrderError, VenueRequestError
from headrace.market.checks import one_of, refuse
from headrace.market.events import (
    Event,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    Status,
)
from headrace.market.instrument import Instrument
from headrace.market.money import MONEY, ZERO
from headrace.trading.brokers.outcome import OrderOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.market.events import Cause, OrderRequested
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["BinanceBroker"]

log = logging.getLogger(__name__)

PATHS = {"BINANCE": "/api/v3", "BINANCE_USDM": "/fapi/v1"}
ANSWER_BYTES_MAX = 1 << 20
# The venue does not know whether it took the order.
UNKNOWN_CODES = (-1006, -1007)
NO_SUCH_ORDER = -2013
ENDED = ("CANCELED", "EXPIRED", "REJECTED", "EXPIRED_IN_MATCH")


class BinanceBroker:
    """A broker for one market.

    rest_url : what ``/api/v3`` follows. api_key, secret : of the account. venue : BINANCE or BINANCE_USDM.
    timeout_s : of one request. Raises OptionError.
    """

    name = "binance"

    def __init__(
        self, *, rest_url: str, api_key: str, secret: str, venue: str = "BINANCE", timeout_s: float = 5.0
    ) -> None:
        parts = urlsplit(rest_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            refuse("rest_url", rest_url, "an address like https://api.binance.com")
        self._is_secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/") + PATHS[one_of("venue", venue, PATHS)]
        self._api_key, self._secret = api_key, secret
        self._timeout_s = timeout_s
        self._context: BrokerContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Of open orders, so that a cancel finds their request.
        self._open: dict[str, OrderRequested] = {}

    def attach(self, context: BrokerContext) -> None:
        """Get ready."""
        self._context = context
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._thread = threading.Thread(target=self._work, name="orders of binance", daemon=True)
        self._thread.start()

    def submit(self, order: OrderRequested) -> None:
        """Send an order from the broker's thread. Raises OrderError before ``attach``."""
        if self._thread is None:
            msg = "the binance broker has no desk: call attach(BrokerContext(...)) first, as an engine does"
            raise OrderError(msg, field="broker")
        self._open[order.order_id] = order
        self._jobs.put(lambda: self._submit(order))

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:  # noqa: ARG002 - the venue takes no cause
        """Cancel an order from the broker's thread; an order that is over stays as it is."""
        order = self._open.get(order_id)
        if order is not None:
            self._jobs.put(lambda: self._cancel(order))

    def close(self) -> None:
        """End the thread after what it does now; may be called twice. Open orders stay as they are."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join(self._timeout_s * 2)

    def outcome(self, order_id: str, instrument: str) -> OrderOutcome:
        """Ask for an order by its client's id, then in the open orders. Raises VenueRequestError."""
        symbol = instrument.partition(".")[0]
        try:
            return _outcome_of(self._request("GET", "order", symbol=symbol, origClientOrderId=order_id))
        except VenueRequestError as error:
            if getattr(error, "code", None) != NO_SUCH_ORDER:
                raise
        for own in self._request("GET", "openOrders", symbol=symbol):
            if own["clientOrderId"] == order_id:
                return _outcome_of(own)
        return OrderOutcome("missing", ZERO, ZERO, "the venue does not know it")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("the binance broker failed")

    def _submit(self, order: OrderRequested) -> None:
        if reason := _unsendable(order):
            self._open.pop(order.order_id, None)
            sends = "market and limit orders: gtc, ioc, fok"
            advice = f"the binance broker sends {sends}; keep the {reason} in your strategy, and send when it is due"
            self._publish(
                OrderRejected(**self._said(order), gate="broker", observed=reason, threshold=sends, reason=advice)
            )
            return
        fields: dict[str, object] = {
            "symbol": order.instrument.partition(".")[0],
            "side": "BUY" if order.side > 0 else "SELL",
            "type": order.order_type.upper(),
            "quantity": f"{order.quantity:f}",
            "newClientOrderId": order.order_id,
            "newOrderRespType": "FULL",
        }
        if order.price is not None:
            fields |= {"price": f"{order.price:f}", "timeInForce": order.time_in_force.upper()}
        try:
            answer = self._request("POST", "order", **fields)
        except VenueRequestError as error:
            if _is_refusal(error):
                self._open.pop(order.order_id, None)
                self._publish(
                    OrderRejected(
                        **self._said(order),
                        gate="broker",
                        observed=str(error.status),
                        threshold="200",
                        reason=str(error),
                    )
                )
            else:
                self._publish(Status(source=self.name, subject=order.order_id, state="unknown", reason=str(error)))
            return
        self._publish(OrderAccepted(**self._said(order), broker_order_id=str(answer["orderId"])))
        self._publish_fills(order, answer)

    def _publish_fills(self, order: OrderRequested, answer: dict[str, Any]) -> None:
        found = _outcome_of(answer)
        left = order.quantity - found.filled
        if found.filled:
            kind = OrderPartiallyFilled if left else OrderFilled
            quote = Instrument(order.instrument).settles
            fills = answer.get("fills", ())
            fee = sum((Decimal(own["commission"]) for own in fills if own.get("commissionAsset") == quote), ZERO)
            self._publish(
                kind(
                    **self._said(order),
                    execution_id=str(answer["orderId"]),
                    side=order.side,
                    quantity=found.filled,
                    price=found.average_price,
                    fee=fee,
                    filled=found.filled,
                    left=left,
                )
            )
        if found.state == "ended" and left:
            self._publish(OrderCanceled(**self._said(order), left=left, reason=found.reason))
        if found.state != "open":
            self._open.pop(order.order_id, None)

    def _cancel(self, order: OrderRequested) -> None:
        symbol = order.instrument.partition(".")[0]
        try:
            answer = self._request("DELETE", "order", symbol=symbol, origClientOrderId=order.order_id)
        except VenueRequestError as error:
            log.warning("order %s is not canceled: %s", order.order_id, error)
            return
        self._open.pop(order.order_id, None)
        left = order.quantity - _outcome_of(answer).filled
        self._publish(OrderCanceled(**self._said(order), left=left))

    def _said(self, order: OrderRequested) -> dict[str, Any]:
        assert self._context is not None
        return {
            "source": self.name,
            "ts": self._context.clock.now_ns(),
            "run_id": order.run_id,
            "cause": order.cause,
            "order_id": order.order_id,
            "strategy": order.strategy,
            "instrument": order.instrument,
        }

    def _publish(self, event: Event) -> None:
        assert self._context is not None
        if self._loop is None:
            self._context.publish(event)
        else:
            self._loop.call_soon_threadsafe(self._context.publish, event)

    def _request(self, method: str, name: str, **fields: object) -> Any:
        """Send one signed request and return its answer. Raises VenueRequestError; ``code`` is the venue's."""
        query = urlencode({**fields, "timestamp": time.time_ns() // 1_000_000})
        signature = hmac.new(self._secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        path, url = f"{self._base}/{name}", f"{self._host}{self._base}/{name}"
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, f"{path}?{query}&signature={signature}", headers={"X-MBX-APIKEY": self._api_key})
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES_MAX)
            if answer.length:
                raise http.client.IncompleteRead(body, answer.length)
            document = msgspec.json.decode(body)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            msg = f"{url} gave no whole answer: {type(error).__name__}: {error}; ask for the outcome by the order's id"
            raise VenueRequestError(msg, url=url, status=None, code=None) from error
        finally:
            connection.close()
        if answer.status >= 300:
            known = document if isinstance(document, dict) else {}
            msg = f"{url} answered {answer.status}: {known.get('code')}: {known.get('msg', '')}"
            raise VenueRequestError(msg, url=url, status=answer.status, code=known.get("code"))
        return document


def _unsendable(order: OrderRequested) -> str:
    """Return what of an order this broker does not send; empty: nothing."""
    if order.is_conditional:
        return f"{order.order_type} order"
    if order.expires_ns is not None:
        return "order with an expiry"
    return "oco order" if order.oco else "post_only order" if order.post_only else ""


def _is_refusal(error: VenueRequestError) -> bool:
    """Return whether the venue said that it did not take the order; else that is not known."""
    return error.status is not None and 400 <= error.status < 500 and getattr(error, "code", None) not in UNKNOWN_CODES


def _outcome_of(answer: dict[str, Any]) -> OrderOutcome:
    """Return what an answer says of an order. Spot and futures name the sum of its value differently."""
    filled = Decimal(answer["executedQty"])
    value = Decimal(answer.get("cummulativeQuoteQty", answer.get("cumQuote", "0")))
    average = MONEY.divide(value, filled) if filled else ZERO
    status = answer["status"]
    if status == "FILLED":
        return OrderOutcome("filled", filled, average)
    if status in ENDED:
        return OrderOutcome("ended", filled, average, status)
    return OrderOutcome("open", filled, average, status)

"""The REST half of a simulated market: books, instruments, trades, orders, and the limits that a client must keep.

::

    request ─▶ fault? ─▶ weight ─▶ 429, then 418 ─▶ key and signature, for orders ─▶ answer

Guarantees: every answer carries the weight used in this minute; a refusal has the venue's own code.
Does not: keep an order's balance, or know users: there is one key.

Source: the venue's public documentation of REST endpoints, read in November 2026.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import re
import time
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from headrace.venues.simulated.market import Best
from headrace.venues.simulated.matching import Orders, RefusalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from headrace.venues.binance.rules import VenueRules
    from headrace.venues.simulated.faults import Fault
    from headrace.venues.simulated.listing import Listed
    from headrace.venues.simulated.market import Level, Market
    from headrace.venues.simulated.matching import FeeAsset, Order

    Handler: TypeAlias = "Callable[[Mapping[str, str]], object]"

__all__ = ["RestApi"]

HISTORY_ANSWERED_MAX = 1_000
TRADES_ANSWERED_MAX = 1_000
# A client that goes on after 429 is banned: after so many requests, for so long.
STUBBORN_REQUESTS = 10
BAN_S = 120.0
RECEIVE_WINDOW_MS = 5_000
# Times in ms, as answers write them.
TIMES = re.compile(rb'"(?:time|serverTime|T|E)":\d{13}(?=[,}])')
# Weights of endpoints, depth excepted.
WEIGHTS = {"exchangeInfo": 20, "trades": 25, "historicalTrades": 25, "aggTrades": 4, "openOrders": 6, "myTrades": 20}


class RestApi:
    """The endpoints of one market. listed : its symbols. credentials : API key and secret.

    fee_asset : as ``Orders`` has it. clock_offset_s : how far the venue's clock is ahead.
    """

    def __init__(
        self,
        rules: VenueRules,
        listed: Mapping[str, Listed],
        *,
        credentials: tuple[str, str],
        fee_asset: FeeAsset | None,
        clock_offset_s: float,
    ) -> None:
        self._rules = rules
        self._listed = listed
        self._key, self._secret = credentials
        self._minute_s = rules.minute_s
        self._offset_ms = round(clock_offset_s * 1_000)
        self.orders = Orders(fee_asset)
        self._minute, self._weight, self._stubborn, self._banned_until = 0, 0, 0, 0.0
        # Faults in force, by kind, with the time of their end.
        self._faults: dict[str, tuple[Fault, float]] = {}
        self.requests = 0

    def begin(self, fault: Fault) -> None:
        """Let a fault begin."""
        self._faults[fault.kind] = (fault, time.monotonic() + fault.for_s)
        if fault.kind == "stale_snapshot":
            for listed in self._listed.values():
                listed.freeze_book()
        if fault.kind == "unseen_orders":
            self.orders.unseen_ms = round(fault.for_s * 1_000)

    def ms(self) -> int:
        """Return the venue's time."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def add_routes(self, app: web.Application) -> None:
        """Register the endpoints."""
        base = f"/{self._rules.venue}{self._rules.rest}"
        trades = "myTrades" if self._rules.venue == "BINANCE" else "userTrades"
        public = {
            "ping": lambda _: {},
            "time": lambda _: {"serverTime": self.ms()},
            "exchangeInfo": self._exchange_info,
            "depth": self._depth,
            "trades": lambda query: self._listed_of(query).trades(None, _limit(query, 500, HISTORY_ANSWERED_MAX)),
            "historicalTrades": self._history("trades"),
            "aggTrades": self._history("agg_trades"),
            "openInterest": self._open_interest,
            "premiumIndex": self._premium_index,
            "fundingRate": self._funding_rate,
        }
        for name, handler in public.items():
            app.router.add_get(f"{base}/{name}", self._answering(name, handler))
        signed: list[tuple[str, str, Handler]] = [
            ("POST", "order", self._on_order(self.orders.new, is_new=True)),
            ("GET", "order", self._on_order(self.orders.find)),
            ("DELETE", "order", self._on_order(self.orders.cancel)),
            ("GET", "openOrders", self._open_orders),
            ("GET", trades, self._own_trades),
        ]
        if self._rules.venue != "BINANCE":
            signed.append(("PUT", "order", self._on_order(self.orders.amend)))
        for method, name, handler in signed:
            app.router.add_route(method, f"{base}/{name}", self._answering(name, handler, is_signed=True))

    def _answering(
        self, name: str, handler: Handler, *, is_signed: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            body = await request.text()
            query = dict(parse_qsl(request.query_string, keep_blank_values=True)) | dict(parse_qsl(body))
            try:
                self._charge(name, query)
                if is_signed:
                    self._authorise(request, query, body)
                status, result = 200, handler(query)
            except RefusalError as error:
                status, result = error.status, {"code": error.code, "msg": error.text}
            if name == "depth" and (late := self._fault("late_snapshot")):
                await asyncio.sleep(late.for_s)
            content = msgspec.json.encode(result)
            if self._rules.venue == "BINANCE" and request.headers.get("X-MBX-TIME-UNIT") == "MICROSECOND":
                content = TIMES.sub(rb"\g<0>000", content)
            cut = self._fault("cut_answer") if is_signed else None
            if cut is not None:
                return await _cut(request, status, content, cut.size or 0)
            return web.Response(status=status, body=content, content_type="application/json", headers=self._headers())

        return answer

    def _headers(self) -> dict[str, str]:
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight)}
        wait_s = self._banned_until - time.monotonic()
        if wait_s <= 0 and self._weight > self._rules.weight_max:
            wait_s = self._minute_s - time.monotonic() % self._minute_s
        return headers | ({"Retry-After": str(math.ceil(wait_s))} if wait_s > 0 else {})

    def _charge(self, name: str, query: Mapping[str, str]) -> None:
        now = time.monotonic()
        if (minute := int(now // self._minute_s)) != self._minute:
            self._minute, self._weight, self._stubborn = minute, 0, 0
        if self._fault("unavailable"):
            raise RefusalError(-1001, "Internal error; unable to process your request.", 503)
        if now < self._banned_until:
            raise RefusalError(-1003, "Way too much request weight used; IP banned.", 418)
        weight = self._rules.depth_weight(self._depth_limit(query)) if name == "depth" else WEIGHTS.get(name, 1)
        self._weight += weight
        if self._weight > self._rules.weight_max:
            self._stubborn += 1
            if self._stubborn > STUBBORN_REQUESTS:
                self._banned_until = now + BAN_S
                raise RefusalError(-1003, "Way too much request weight used; IP banned.", 418)
            raise RefusalError(-1003, "Too much request weight used.", 429)

    def _authorise(self, request: web.Request, query: Mapping[str, str], body: str) -> None:
        if request.headers.get("X-MBX-APIKEY") != self._key:
            raise RefusalError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        text, _, signature = (request.query_string + body).rpartition("&signature=")
        right = hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, right):
            raise RefusalError(-1022, "Signature for this request is not valid.")
        stamp, window = query.get("timestamp", ""), query.get("recvWindow", str(RECEIVE_WINDOW_MS))
        if not (stamp.isdigit() and window.isdigit()):
            raise RefusalError(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
        if not -1_000 < self.ms() - int(stamp) <= int(window):
            raise RefusalError(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _fault(self, kind: str) -> Fault | None:
        fault, until = self._faults.get(kind, (None, 0.0))
        return fault if time.monotonic() < until else None

    def _listed_of(self, query: Mapping[str, str]) -> Listed:
        listed = self._listed.get(query.get("symbol", ""))
        if listed is None:
            raise RefusalError(-1121, "Invalid symbol.")
        return listed

    def _depth_limit(self, query: Mapping[str, str]) -> int:
        most = self._rules.depth_weights[-1][0]
        return _limit(query, 100 if self._rules.venue == "BINANCE" else 500, most)

    def _depth(self, query: Mapping[str, str]) -> object:
        listed = self._listed_of(query)
        is_stale = self._fault("stale_snapshot") is not None
        book = listed.book(is_stale=is_stale)
        if book is None:
            raise RefusalError(-1001, "There is no book yet.", 503)
        return book.answer(self._depth_limit(query), None if self._rules.venue == "BINANCE" else self.ms())

    def _exchange_info(self, query: Mapping[str, str]) -> object:
        chosen = [self._listed_of(query)] if "symbol" in query else self._listed.values()
        limits = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return {
            "timezone": "UTC",
            "serverTime": self.ms(),
            "rateLimits": [limits | {"limit": self._rules.weight_max}],
            "symbols": [listed.info() for listed in chosen],
        }

    def _history(self, kind: str) -> Handler:
        def history(query: Mapping[str, str]) -> object:
            listed, limit = self._listed_of(query), _limit(query, 500, HISTORY_ANSWERED_MAX)
            first = int(query["fromId"]) if query.get("fromId", "").isdigit() else None
            return listed.trades(first, limit) if kind == "trades" else listed.agg_trades(first, limit)

        return history

    def _open_interest(self, query: Mapping[str, str]) -> object:
        listed = self._listed_of(query)
        return {"symbol": listed.market.symbol, "openInterest": listed.open_interest(), "time": self.ms()}

    def _premium_index(self, query: Mapping[str, str]) -> object:
        mark = self._listed_of(query).derived.mark(self.ms())
        if mark is None:
            raise RefusalError(-1001, "There is no price yet.", 503)
        return mark

    def _funding_rate(self, query: Mapping[str, str]) -> object:
        funding = self._listed_of(query).derived.funding(self.ms())
        return [] if funding is None else [funding]

    def set_book(self, market: Market, last: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Begin a book anew; resting orders fill against its best prices, which come first."""
        market.set_book(last, bids, asks)
        if bids and asks:
            self.orders.after(market, Best(*bids[0], *asks[0]), self.ms())

    def set_status(self, listed: Listed, status: str) -> None:
        """List a symbol with another status; "BREAK" ends its orders."""
        listed.status = status
        if status == "BREAK":
            self.orders.expire(listed.market)

    def _on_order(self, act: Callable[[Market, Mapping[str, str], int], Order], *, is_new: bool = False) -> Handler:
        """Return the handler of a request that is about one order."""
        return lambda query: act(self._listed_of(query).market, query, self.ms()).answer(is_new=is_new)

    def _open_orders(self, query: Mapping[str, str]) -> object:
        market = self._listed_of(query).market if "symbol" in query else None
        return [order.answer() for order in self.orders.open(market, self.ms())]

    def _own_trades(self, query: Mapping[str, str]) -> object:
        market = self._listed_of(query).market
        number, first = query.get("orderId"), query.get("fromId", "0")
        if not first.isdigit():
            raise RefusalError(-1100, "Illegal characters found in parameter 'fromId'.")
        chosen = [
            {
                "symbol": market.symbol,
                "orderId": order.order_id,
                "time": fill.ms,
                "isBuyer": order.side == "BUY",
                **fill.answer("id"),
                # Futures call it otherwise.
                "isMaker": fill.is_maker,
                "maker": fill.is_maker,
            }
            for order, fill in self.orders.fills(market, self.ms())
            if number in (None, str(order.order_id)) and fill.trade_id >= int(first)
        ]
        limit = _limit(query, 500, TRADES_ANSWERED_MAX)
        return chosen[:limit] if number is not None or "fromId" in query else chosen[-limit:]


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    text = query.get("limit", str(default))
    if not text.isdigit() or int(text) < 1:
        raise RefusalError(-1100, "Illegal characters found in parameter 'limit'.")
    return min(int(text), most)


async def _cut(request: web.Request, status: int, content: bytes, size: int) -> web.StreamResponse:
    """Send the first bytes of an answer, then cut the connection."""
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    transport = request.transport
    if isinstance(transport, asyncio.Transport):
        transport.write((head.encode() + content)[:size])
        # What was written leaves before the cut.
        await asyncio.sleep(0.01)
        transport.abort()
    return web.Response()

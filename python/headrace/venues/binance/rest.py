"""RestClient: one market's REST endpoints, within their weight, with retries, and a circuit breaker.

::

    request ─▶ breaker ─▶ budget ─▶ HTTP ─▶ 2xx: the answer     429, 418: wait as told, again     5xx: back-off, again
                                                                other: VenueRequestError

Guarantees: every wait has an end; an answer names the weight it used; the session is closed.
Does not: send orders, whose outcome may be unknown.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from headrace.errors import VenueRequestError
from headrace.venues.binance.breaker import breaker_of
from headrace.venues.binance.budget import budget_of
from headrace.venues.binance.cancellation import heeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.venues.binance.breaker import BreakerState
    from headrace.venues.binance.rules import VenueRules

__all__ = ["RestClient"]

TIMEOUT_S = 10.0
ATTEMPTS = 5
BACKOFF_S, BACKOFF_MAX_S = 0.25, 30.0
INFO_WEIGHT = 20


class RestClient:
    """The endpoints of one market. address : where its paths begin.

    time_unit : of times in answers, "ms" or "us".
    """

    def __init__(
        self,
        rules: VenueRules,
        address: str,
        *,
        proxy: str | None = None,
        source_address: str | None = None,
        time_unit: str = "ms",
    ) -> None:
        self._headers = {"X-MBX-TIME-UNIT": "MICROSECOND"} if time_unit == "us" else {}
        self._rules = rules
        self._address = address
        self._proxy = proxy
        self._local = None if source_address is None else (source_address, 0)
        self.breaker = breaker_of(address)
        self._followers: list[Callable[[BreakerState], object]] = []
        self.budget = budget_of(address, rules.weight_max, rules.minute_s)
        self._session: aiohttp.ClientSession | None = None
        self.requests = self.failures = 0

    def follow_breaker(self, call: Callable[[BreakerState], object]) -> None:
        """Call a function with each new state of the address's breaker, until this client is closed."""
        self._followers.append(call)
        self.breaker.follow(call)

    async def close(self) -> None:
        """Close the session; may be called twice."""
        while self._followers:
            self.breaker.unfollow(self._followers.pop())
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def exchange_info(self) -> dict[str, Any]:
        """Return what the market lists, and its limits. Raises VenueRequestError."""
        info = msgspec.json.decode(await self.get("exchangeInfo", weight=INFO_WEIGHT))
        for limit in info.get("rateLimits", ()):
            if limit.get("rateLimitType") == "REQUEST_WEIGHT" and limit.get("interval") == "MINUTE":
                self.budget.weight_max = int(limit["limit"]) // int(limit.get("intervalNum", 1))
        return dict(info)

    async def depth(self, symbol: str, limit: int, *, urgency: int = 0) -> bytes:
        """Return a snapshot as the venue sent it. Raises VenueRequestError."""
        weight = self._rules.depth_weight(limit)
        return await self.get("depth", weight=weight, urgency=urgency, symbol=symbol, limit=limit)

    async def get(self, name: str, *, weight: int = 1, urgency: int = 0, **query: object) -> bytes:
        """Return an answer's body. Raises VenueRequestError after several attempts, or for a refusal."""
        url = f"{self._address}{self._rules.rest}/{name}"
        problem = ""
        for attempt in range(ATTEMPTS):
            if not self.breaker.allows():
                await asyncio.sleep(self.breaker.wait_s)
                if not self.breaker.allows():
                    continue
            try:
                await self.budget.spend(weight, urgency=urgency)
                self.requests += 1
                status, body = await heeded(self._ask(url, query))
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                status, body = 0, b""
            except BaseException:
                # Its caller is gone, or the error is our own: another request may try.
                self.breaker.forgotten()
                raise
            if 200 <= status < 300:
                self.breaker.succeeded()
                return body
            if 400 <= status < 500:
                # It answers; what is too much is the budget's to hold back.
                self.breaker.succeeded()
                if status not in (418, 429):
                    raise VenueRequestError(_refusal(url, status, body), url=url, status=status)
            self.failures += 1
            if status:
                problem = _refusal(url, status, body)
            if status not in (418, 429):
                self.breaker.failed()
                await asyncio.sleep(min(BACKOFF_S * 2**attempt, BACKOFF_MAX_S) * random.uniform(0.5, 1.0))
        why = problem or "the circuit breaker is open"
        msg = f"{url} gave no answer in {ATTEMPTS} attempts: {why}; check the address and the way there"
        raise VenueRequestError(msg, url=url, status=None)

    async def _ask(self, url: str, query: dict[str, object]) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(local_addr=self._local), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            )
        params = {name: str(value) for name, value in query.items()}
        async with self._session.get(url, params=params, headers=self._headers, proxy=self._proxy) as answer:
            body = await answer.read()
            self.budget.learn(answer.status, answer.headers)
            return answer.status, body


def _refusal(url: str, status: int, body: bytes) -> str:
    text = body[:200].decode(errors="replace").strip()
    return f"{url} answered {status}" + (f": {text}" if text else "")

"""SignedRest: signed requests to one market of the venue, and what they weigh.

What happens when our clock is not the venue's
    The venue refuses the first request for its time. Its clock is read then, and the request is sent again by it.

Guarantees: an answer is whole, or the request raises; after 429 or 418 nothing leaves until the venue's wait is over.
Does not: try again for any other reason.

Source: the venue's public documentation of REST endpoints, read in November 2026.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import socket
import time
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlencode, urlsplit

import msgspec

from headrace.errors import VenueRequestError
from headrace.market.checks import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.venues.binance.rules import VenueRules

__all__ = ["NO_SUCH_ORDER", "SignedRest", "is_refusal"]

log = logging.getLogger(__name__)

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]

ANSWER_BYTES_MAX = 1 << 20
# The venue does not know whether it took the order.
UNKNOWN_CODES = (-1006, -1007)
NO_SUCH_ORDER = -2013
# A request's time is too far from the venue's clock.
WRONG_TIME = -1021
# Of a minute's weight: what only looks leaves the rest to feeds and to orders at this address.
LOOKING_SHARE = 0.5


class SignedRest:
    """One market's endpoints, for one account; any thread may ask. Options as of BinanceBroker. Raises OptionError."""

    def __init__(self, rest_url: str, api_key: str, secret: str, rules: VenueRules, timeout_s: float) -> None:
        parts = urlsplit(rest_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            refuse("rest_url", rest_url, "an address like https://api.binance.com")
        self._is_secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/") + rules.rest
        self._weight_max = rules.weight_max
        self._api_key, self._secret = api_key, secret
        self.timeout_s = timeout_s
        self.is_spot = rules.venue == "BINANCE"
        # Weight that the venue counted, and in which of its minutes.
        self._used, self._minute = 0, 0
        self._paused_until = 0.0
        # How far the venue's clock is ahead of ours, once it has refused ours.
        self._offset_ms = 0
        # By thread: the connection over which it asks.
        self._asking: dict[int, http.client.HTTPConnection] = {}

    def abort(self, thread: int) -> None:
        """End what a thread asks for now, without an answer."""
        connection = self._asking.get(thread)
        if connection is not None and (own := connection.sock) is not None:
            # It may be over already.
            with suppress(OSError):
                own.shutdown(socket.SHUT_RDWR)

    def wait_s(self) -> float:
        """Return how long whatever only looks has to wait: the venue's own wait, or the rest of a used-up minute."""
        now = time.time()
        is_used_up = self._minute == int(now // 60) and self._used > self._weight_max * LOOKING_SHARE
        return max(self._paused_until - time.monotonic(), 60 - now % 60 if is_used_up else 0.0, 0.0)

    def request(self, method: Method, name: str, **fields: object) -> Any:
        """Send one signed request and return its answer. Raises VenueRequestError; ``code`` is the venue's."""
        try:
            return self._ask(method, name, self._signed(fields))
        except VenueRequestError as error:
            if getattr(error, "code", None) != WRONG_TIME:
                raise
        # Nothing was done: the venue looks at the time first.
        self._offset_ms = self._measured_offset_ms()
        return self._ask(method, name, self._signed(fields))

    def _signed(self, fields: Mapping[str, object]) -> str:
        """Return fields as a query, with the venue's time and a signature."""
        query = urlencode({**fields, "timestamp": time.time_ns() // 1_000_000 + self._offset_ms})
        return f"{query}&signature={hmac.new(self._secret.encode(), query.encode(), hashlib.sha256).hexdigest()}"

    def _measured_offset_ms(self) -> int:
        """Return how far the venue's clock is ahead of ours. Raises VenueRequestError."""
        sent_ns = time.time_ns()
        at_venue = self._ask("GET", "time", "")["serverTime"]
        offset_ms = int(at_venue) - (sent_ns + time.time_ns()) // 2_000_000
        log.warning("the clock of %s is %+d ms from ours: requests have its time from now on", self._host, offset_ms)
        return offset_ms

    def _ask(self, method: Method, name: str, query: str) -> Any:
        """Send one request and return its answer. Raises VenueRequestError."""
        path, url = f"{self._base}/{name}", f"{self._host}{self._base}/{name}"
        if (paused_s := self._paused_until - time.monotonic()) > 0:
            msg = f"{url} is not asked for {paused_s:.0f} s: the venue refused an earlier request, and said so"
            raise VenueRequestError(msg, url=url, status=429, code=None)
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = self._asking[get_ident()] = kind(self._host, self._port, timeout=self.timeout_s)
        try:
            connection.request(method, f"{path}?{query}", headers={"X-MBX-APIKEY": self._api_key})
            answer = connection.getresponse()
            self._learn(answer)
            body = answer.read(ANSWER_BYTES_MAX)
            if answer.length:
                raise http.client.IncompleteRead(body, answer.length)
            document = msgspec.json.decode(body)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            msg = f"{url} gave no whole answer: {type(error).__name__}: {error}; ask for the outcome by the order's id"
            raise VenueRequestError(msg, url=url, status=None, code=None) from error
        finally:
            del self._asking[get_ident()]
            connection.close()
        if answer.status >= 300:
            known = document if isinstance(document, dict) else {}
            msg = f"{url} answered {answer.status}: {known.get('code')}: {known.get('msg', '')}"
            raise VenueRequestError(msg, url=url, status=answer.status, code=known.get("code"))
        return document

    def _learn(self, answer: http.client.HTTPResponse) -> None:
        """Take the venue's count of this address's weight out of an answer, and its wait."""
        used = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit():
            self._used, self._minute = int(used), int(time.time() // 60)
        if answer.status in (418, 429):
            wait = answer.headers.get("Retry-After", "")
            self._paused_until = time.monotonic() + (float(wait) if wait.isdigit() else 60.0)


def is_refusal(error: VenueRequestError) -> bool:
    """Return whether the venue said that it did not take the request; else that is not known."""
    return error.status is not None and 400 <= error.status < 500 and getattr(error, "code", None) not in UNKNOWN_CODES

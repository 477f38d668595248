"""Exchange: one request and its answer, as the guard and the handlers behind it see them.

What happens with the body of a refused request
    The answer is sent, then up to 1 MiB or 1 s of the body is read and thrown away, then the connection is closed: a
    client that still sends gets the answer instead of a reset.

Guarantees: every answer has the security headers; a body is read up to its bound and no further.
Does not: judge a request.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from headrace.control.http.encoding import encoded
from headrace.control.http.problems import ProblemError
from headrace.limits import HTTP_BODY_BYTES_MAX, HTTP_DISCARD_BYTES_MAX, HTTP_DISCARD_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from headrace.control.tokens import Actor

__all__ = ["JSON", "PROBLEM_JSON", "SCOPE_KEY", "Exchange", "Message", "Receive", "Send", "shown"]

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
Headers: TypeAlias = "list[tuple[bytes, bytes]]"

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
# Where the scope of a request has its Exchange.
SCOPE_KEY = "headrace"
# Of an answer that says nothing else.
SECURITY: dict[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


class Exchange:
    """One request.

    address : the client's. headers : by name in lower case, the values in their order. actor : who has the token; None
    before that is known. body : of the request, once it was read. key : its Idempotency-Key.
    """

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.address: str = (scope["client"] or ("unknown", 0))[0]
        self.headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name, []).append(value)
        self.actor: Actor | None = None
        self.body = b""
        self.key: str | None = None
        # Further headers of whatever answer there will be.
        self.more: Headers = []
        self._receive = receive
        self._send = send
        self._is_started = False
        self._is_read = not self.has_body

    @property
    def has_body(self) -> bool:
        """Whether the request announces a body."""
        return b"transfer-encoding" in self.headers or self.header(b"content-length") not in (None, b"0")

    @property
    def is_started(self) -> bool:
        """Whether the answer has begun."""
        return self._is_started

    def header(self, name: bytes) -> bytes | None:
        """Return a header that is there once; None: it is not there, or several times."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None

    # The request

    async def read_body(self) -> None:
        """Read the body. Raises ProblemError (too large)."""
        announced = self.header(b"content-length") or b"0"
        # The server has checked that it is a number.
        if int(announced) > HTTP_BODY_BYTES_MAX:
            raise _too_large()
        body = bytearray()
        while not self._is_read:
            body += await self._next_piece()
            if len(body) > HTTP_BODY_BYTES_MAX:
                raise _too_large()
        self.body = bytes(body)

    async def _next_piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        self._is_read = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    async def receive(self) -> Message:
        """Give the framework the body that was read, then what comes of the connection."""
        if not self._is_started and self.scope.pop("headrace.body", True):
            return {"type": "http.request", "body": self.body, "more_body": False}
        return await self._receive()

    # The answer

    async def send(self, message: Message) -> None:
        """Send a message of the framework, with our headers on the first one."""
        if message["type"] == "http.response.start":
            self._is_started = True
            own = list(message.get("headers", ()))
            message = {**message, "headers": self._completed(own)}
        await self._send(message)

    async def answer(
        self, status: int, body: bytes, media_type: bytes = JSON, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send a whole answer; where a body was not read, close the connection after it."""
        must_close = not self._is_read
        own = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers]
        if must_close:
            own.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": own})
        if must_close:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._discard()
            body = b""
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, error: ProblemError) -> None:
        """Send a Problem."""
        await self.answer(error.problem.status, encoded(error.problem), PROBLEM_JSON, error.headers)

    async def _discard(self) -> None:
        if self.header(b"expect") is not None:
            return  # The client sends its body only when it is told to.
        left = HTTP_DISCARD_BYTES_MAX
        try:
            async with asyncio.timeout(HTTP_DISCARD_S):
                while left > 0 and not self._is_read:
                    left -= len(await self._next_piece())
        except (TimeoutError, ConnectionError):
            pass

    def _completed(self, own: Headers) -> Headers:
        given = {name.lower() for name, _ in own}
        missing = [(name, value) for name, value in SECURITY.items() if name not in given]
        return [(b"date", _date(int(time.time()))), *own, *missing, *self.more]


def shown(value: bytes | str) -> str:
    """Return a part of a request as an answer shows it: short, and printable."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return quote(text[:200], safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}~")


def _too_large() -> ProblemError:
    detail = f"the body has more than {HTTP_BODY_BYTES_MAX:,} bytes: a command has some hundred"
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail)


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()

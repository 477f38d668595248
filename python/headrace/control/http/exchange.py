"""Exchange: one request and its answer, as the guard, the framework and the handlers behind it see them.

What happens with the body of a refused request
    The answer is sent, then up to 1 MiB or 1 s of the body is read and thrown away, then the connection is closed: a
    client that still sends gets the answer instead of a reset.

Guarantees: every answer has the security headers; a body is read up to its bound and no further; an answer that is
whole is one write.
Does not: judge a request, or know sockets: that is its connection's.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import quote, unquote

from headrace.control.http.problems import ProblemError
from headrace.control.plain import encoded
from headrace.limits import HTTP_BODY_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from headrace.control.tokens import Actor

__all__ = [
    "JSON",
    "PROBLEM_JSON",
    "SCOPE_KEY",
    "Connection",
    "Exchange",
    "Message",
    "Receive",
    "Send",
    "answer_head",
    "shown",
]

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
Headers: TypeAlias = "list[tuple[bytes, bytes]]"

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
# Where the scope of a request has its Exchange.
SCOPE_KEY = "headrace"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Of an answer that says nothing else.
SECURITY: dict[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
# Statuses whose answer has no body.
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Connection(Protocol):
    """What an exchange needs of the connection that it came over. client, server : host and port of either end."""

    client: tuple[str, int]
    server: tuple[str, int]
    scheme: str

    def write(self, data: bytes) -> None:
        """Send bytes."""

    async def writable(self) -> None:
        """Wait while the client does not read what was sent."""

    def want_body(self) -> None:
        """Read on: the exchange has used what came of the body."""

    def answered(self, exchange: Exchange) -> None:
        """Go on behind the answer."""

    def abort(self) -> None:
        """End at once."""


class Exchange:
    """One request.

    method, path, query : of its first line. address : the client's. headers : by name in lower case, the values in
    their order. actor : who has the token; None before that is known. body : of the request, once it was read. key :
    its Idempotency-Key. status : of the answer, 0 before it has begun. must_close : the connection ends with it.
    """

    def __init__(
        self, connection: Connection, method: str, target: bytes, headers: Headers, *, version: str, must_close: bool
    ) -> None:
        self.method = method
        self.raw_path, _, self.query = target.partition(b"?")
        self.path = unquote(self.raw_path.decode("ascii"))
        self.address = connection.client[0]
        self.headers: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            self.headers.setdefault(name, []).append(value)
        self.actor: Actor | None = None
        self.body = b""
        self.key: str | None = None
        # Further headers of whatever answer there will be.
        self.more: Headers = []
        self.status = 0
        self.must_close = must_close
        self.is_done = False
        self.is_whole = False
        self._connection = connection
        self._version = version
        self._given = headers
        self._received = bytearray()
        self._is_gone = False
        self._awaited: asyncio.Future[None] | None = None
        # Of the answer: its head until its first body, and whether the body is sent in chunks.
        self._head: bytes | None = None
        self._is_chunked = False
        self._is_body_taken = False

    def header(self, name: bytes) -> bytes | None:
        """Return a header that is there once; None: it is not there, or several times."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None

    def scope(self) -> Message:
        """Return what ASGI says of the request."""
        connection = self._connection
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._version,
            "server": connection.server,
            "client": connection.client,
            "scheme": connection.scheme,
            "method": self.method,
            "root_path": "",
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query,
            "headers": self._given,
            "state": {},
            SCOPE_KEY: self,
        }

    # The request's body

    @property
    def unused_bytes(self) -> int:
        """How much of the body was received and is not used yet."""
        return len(self._received)

    def take(self, piece: bytes) -> None:
        """Take a piece of the body that was received; thrown away once the answer is sent."""
        if not self.is_done:
            self._received += piece
            self._wake()

    def end_body(self) -> None:
        """Note that the body is whole."""
        self.is_whole = True
        self._wake()

    def disconnect(self) -> None:
        """Note that the client is gone."""
        self._is_gone = True
        self._wake()

    def check_announced(self) -> None:
        """Refuse a body by the length that it says it has. Raises ProblemError."""
        # The parser has checked that it is a number.
        if int(self.header(b"content-length") or b"0") > HTTP_BODY_BYTES_MAX:
            raise _too_large()

    async def read_body(self) -> None:
        """Read the body. Raises ProblemError (too large), ConnectionError (the client is gone)."""
        if not self.is_whole and b"expect" in self.headers:
            self._connection.write(CONTINUE)
        body = bytearray()
        while True:
            if self._is_gone:
                raise ConnectionError
            body += self._received
            self._received.clear()
            if len(body) > HTTP_BODY_BYTES_MAX:
                raise _too_large()
            if self.is_whole:
                break
            self._connection.want_body()
            await self._more()
        self.body = bytes(body)

    async def receive(self) -> Message:
        """Return the body that was read, then wait for the end."""
        if not self._is_body_taken:
            self._is_body_taken = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        while not (self._is_gone or self.is_done):
            await self._more()
        return {"type": "http.disconnect"}

    async def _more(self) -> None:
        if self._awaited is None or self._awaited.done():
            self._awaited = asyncio.get_running_loop().create_future()
        # One future serves all that wait; a waiter that is cancelled does not cancel it.
        await asyncio.wait((self._awaited,))

    def _wake(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    # The answer

    @property
    def is_started(self) -> bool:
        """Whether the answer has begun."""
        return self.status != 0

    async def send(self, message: Message) -> None:
        """Send a message of the framework, with our headers on the first one."""
        await self._connection.writable()
        if self._is_gone:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], list(message.get("headers", ())))
            return
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        head, self._head = self._head or b"", None
        if self._is_chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if is_last:
                body += b"0\r\n\r\n"
        elif self.method == "HEAD":
            body = b""
        self._connection.write(head + body)
        if is_last:
            self._finish()

    def answer(
        self, status: int, body: bytes, media_type: bytes = JSON, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send a whole answer; where a body was not read, the connection closes after it."""
        if self._is_gone:
            return
        self._start(status, [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers])
        assert self._head is not None
        self._connection.write(self._head if self.method == "HEAD" else self._head + body)
        self._finish()

    def refuse(self, error: ProblemError) -> None:
        """Send a Problem."""
        self.answer(error.problem.status, encoded(error.problem), PROBLEM_JSON, error.headers)

    def abort(self) -> None:
        """End the connection: an answer that has begun cannot be ended."""
        self._connection.abort()

    def _start(self, status: int, own: Headers) -> None:
        has_length = any(name.lower() == b"content-length" for name, _ in own)
        if not has_length and status not in BODILESS and self.method != "HEAD":
            # Before HTTP/1.1 the end of the connection is the end of the answer.
            self._is_chunked = self._version != "1.0"
            if self._is_chunked:
                own.append((b"transfer-encoding", b"chunked"))
        if self.must_close or not self.is_whole:
            self.must_close = True
            own.append((b"connection", b"close"))
        self._head = answer_head(int(status), [*own, *self.more])
        self.status = int(status)

    def _finish(self) -> None:
        self.is_done = True
        self._wake()
        self._connection.answered(self)


def answer_head(status: int, own: Headers) -> bytes:
    """Return the head of an answer: its status, the date, its own headers, and the security headers among them."""
    given = {name.lower() for name, _ in own}
    missing = [(name, value) for name, value in SECURITY.items() if name not in given]
    lines = [(b"date", _date(int(time.time()))), *own, *missing]
    head = b"".join([b"%b: %b\r\n" % line for line in lines])
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
        msg = "a header of the answer has a line's end in it"
        raise ValueError(msg)
    return _first_line(status) + head + b"\r\n"


def shown(value: bytes | str) -> str:
    """Return a part of a request as an answer shows it: short, and printable."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return quote(text[:200], safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}~")


def _too_large() -> ProblemError:
    detail = f"the body has more than {HTTP_BODY_BYTES_MAX:,} bytes: a command has some hundred"
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail)


@lru_cache
def _first_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()

"""BoundedProtocol: one connection of HTTP/1.1, with deadlines for what a client sends and reads, and a bound of them.

::

    bytes ─▶ RequestParser: head ─▶ Guard: answered at once, or a task ─▶ body ─▶ answer ─▶ the next head

What happens when
    a request is not whole within 10 s, head and body: the connection is aborted, whatever came of it.
    a request comes in many small pieces: from the 17th on it is read less and less often, down to once a second, so
    that a client that sends byte by byte wakes the engine's thread a few times and not a thousand times.
    a client reads nothing for 30 s while an answer waits: the connection is aborted.
    there are too many connections: 503 for the next one, at once.
    what comes is no HTTP: 400, as a Problem.
    requests are sent before the last one is answered: they wait as bytes, 64 KiB of them at most.
    its last answer was no success for a valid token: the client is a stranger, and its next request waits its turn.

Guarantees: a slow or hostile client holds one connection for a bounded time, and bounded memory; one request at a time
is parsed, judged and answered.
Does not: judge requests; the guard does.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from headrace.control.http.exchange import PROBLEM_JSON, Exchange, answer_head
from headrace.control.http.problems import ProblemError
from headrace.control.http.request_parser import MalformedError, RequestParser
from headrace.control.plain import encoded
from headrace.limits import (
    HTTP_CONNECTIONS_MAX,
    HTTP_DISCARD_BYTES_MAX,
    HTTP_DISCARD_S,
    HTTP_IDLE_S,
    HTTP_RECEIVE_S,
    HTTP_SEND_S,
)

if TYPE_CHECKING:
    from headrace.control.http.guard import Guard
    from headrace.control.http.pace import Pace

__all__ = ["BoundedProtocol", "Open"]

# So many pieces of a request are read as they come; a command has one or two.
PIECES_AT_ONCE = 16
# Then reading pauses, at first for so long, and each time twice as long, up to a second.
PAUSE_FIRST_S, PAUSE_MAX_S = 0.05, 1.0
# So much is read ahead of its use.
AHEAD_BYTES_MAX = 1 << 16


class Open:
    """What is open on one server: its connections, and the tasks of requests."""

    def __init__(self) -> None:
        self.connections: set[BoundedProtocol] = set()
        self.tasks: set[asyncio.Task[None]] = set()


class BoundedProtocol(asyncio.Protocol):
    """One connection. now_open : where it and its tasks are noted. guard : judges. pace : of strangers.

    client, server : host and port of either end. scheme : "http" or "https".
    """

    def __init__(self, now_open: Open, guard: Guard, pace: Pace) -> None:
        self._open = now_open
        self._guard = guard
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser()
        self.client: tuple[str, int] = ("unknown", 0)
        self.server: tuple[str, int] = ("unknown", 0)
        self.scheme = "http"
        # Its last answer was a success for a valid token.
        self._is_known = False
        # What was received and not parsed, and whether a turn for it is planned.
        self._unread = b""
        self._is_planned = False
        # The request that is answered or received; what may still be thrown away of its body.
        self._exchange: Exchange | None = None
        self._discard_bytes: int | None = None
        self._is_ending = False
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        # Of the request that is being received; and when reading goes on.
        self._pieces = 0
        self._paused: asyncio.TimerHandle | None = None
        self._is_held = False
        self._writable: asyncio.Future[None] | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it."""
        self._transport = transport
        self._open.connections.add(self)
        if peer := transport.get_extra_info("peername"):
            self.client = peer[:2]
        if own := transport.get_extra_info("sockname"):
            self.server = own[:2]
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        if len(self._open.connections) > HTTP_CONNECTIONS_MAX:
            detail = f"{HTTP_CONNECTIONS_MAX} connections are open already: close one, or wait"
            self._say(ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail))
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's
        """Forget the deadlines, and end what goes on."""
        self._open.connections.discard(self)
        for timer in (self._receiving, self._sending, self._idle, self._paused):
            _cancel(timer)
        self._receiving = self._sending = self._idle = self._paused = None
        self._is_ending, self._unread = True, b""
        self.resume_writing()
        if self._exchange is not None:
            self._exchange.disconnect()

    def shutdown(self) -> None:
        """Close when the answer that goes on is sent; at once without one."""
        self._is_ending = True
        if self._exchange is None:
            self._transport.close()
        elif not self._exchange.is_started:
            self._exchange.must_close = True

    def end(self) -> None:
        """Close the connection, whatever it is at."""
        if not self._transport.is_closing():
            self._transport.close()
            self._loop.call_soon(self.abort)

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # What comes

    def data_received(self, data: bytes) -> None:
        """Take what came; read a request of many pieces less often."""
        if self._is_ending and self._exchange is None:
            return
        _cancel(self._idle)
        self._idle = None
        self._unread = self._unread + data if self._unread else data
        if self._exchange is None and self._receiving is None:
            self._await_request()
        is_coming = self._receiving is not None and self._discard_bytes is None
        self._pieces = self._pieces + 1 if is_coming else 0
        if self._pieces > PIECES_AT_ONCE:
            pause_s = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** (self._pieces - PIECES_AT_ONCE - 1))
            _cancel(self._paused)
            self._paused = self._loop.call_later(pause_s, self._pause_over)
        self._plan(now=True)
        self._read_or_not()

    def _pause_over(self) -> None:
        self._paused = None
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read on, or not: what waits is bounded, and a request of many pieces is read less often."""
        ahead = len(self._unread) + (self._exchange.unused_bytes if self._exchange is not None else 0)
        is_held = self._paused is not None or ahead > AHEAD_BYTES_MAX
        if is_held is not self._is_held and not self._transport.is_closing():
            self._is_held = is_held
            if is_held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _plan(self, *, now: bool) -> None:
        """Have what was received parsed: of a known client now or soon, of a stranger when its turn comes."""
        if self._is_planned or not self._unread or (self._exchange is not None and self._parser.is_over):
            return
        if self._is_known and now:
            self._parse()
            return
        self._is_planned = True
        if self._is_known:
            self._loop.call_soon(self._parse)
        else:
            self._pace.run(self._parse)

    def _parse(self) -> None:
        """Parse what was received, up to the end of one request."""
        self._is_planned = False
        if self._transport.is_closing() or self._writable is not None:
            return
        try:
            if self._exchange is None:
                self._unread = self._parser.take_head(self._unread)
                if self._parser.has_head:
                    self._begin()
            if self._exchange is not None and not self._parser.is_over:
                self._take_body(self._exchange)
        except MalformedError as error:
            self._malformed(str(error))
        self._read_or_not()

    def _begin(self) -> None:
        """Begin with a request whose head has come."""
        parser = self._parser
        exchange = self._exchange = Exchange(
            self,
            parser.method,
            parser.target,
            parser.headers,
            version=parser.version,
            must_close=parser.is_last or self._is_ending,
        )
        if parser.is_over:
            self._whole(exchange)
        if (work := self._guard.take(exchange)) is not None:
            going_on = work() if self._is_known else self._pace.timed(work, self._is_stranger)
            task = self._loop.create_task(going_on)
            self._open.tasks.add(task)
            task.add_done_callback(self._open.tasks.discard)

    def _take_body(self, exchange: Exchange) -> None:
        before = len(self._unread)
        body, self._unread = self._parser.take_body(self._unread)
        exchange.take(body)
        if self._parser.is_over:
            self._whole(exchange)
        if self._discard_bytes is not None:
            self._discard_bytes -= before - len(self._unread)
            if self._parser.is_over or self._discard_bytes <= 0:
                self._transport.close()

    def want_body(self) -> None:
        """Read on: the exchange has used what came of the body."""
        self._read_or_not()

    def _whole(self, exchange: Exchange) -> None:
        """Note that the request has come as a whole."""
        _cancel(self._receiving)
        self._receiving, self._pieces = None, 0
        exchange.end_body()

    def _is_stranger(self) -> bool:
        """Return whether what is done now is for a client that has shown no token, or asks for much at once."""
        now = self._exchange
        return not self._is_known and (now is None or now.actor is None or not now.is_started or bool(self._unread))

    def _await_request(self) -> None:
        self._receiving = self._loop.call_later(HTTP_RECEIVE_S, self._late)

    def _late(self) -> None:
        if self._is_planned:
            self._await_request()  # It is we who are late.
        else:
            self.abort()

    def _malformed(self, why: str) -> None:
        """Answer what is no HTTP, unless an answer has begun."""
        if self._exchange is not None:
            self._exchange.disconnect()
            if self._exchange.is_started:
                self._transport.close()
                return
        detail = "this is no request of HTTP/1.1, or its head is too large"
        self._say(ProblemError(HTTPStatus.BAD_REQUEST, "malformed", f"{detail}: {why}"))

    # What goes

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    async def writable(self) -> None:
        """Wait while the client does not read what was sent."""
        while self._writable is not None:
            await asyncio.wait((self._writable,))

    def pause_writing(self) -> None:
        """Limit the time in which the client reads nothing."""
        self._writable = self._loop.create_future()
        self._sending = self._loop.call_later(HTTP_SEND_S, self.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        _cancel(self._sending)
        self._sending = None
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)
            self._plan(now=False)

    def answered(self, exchange: Exchange) -> None:
        """Go on behind an answer: throw away the rest of its request, close, or take the next one."""
        if not self._parser.is_over and b"expect" not in exchange.headers:
            self._discard_bytes = HTTP_DISCARD_BYTES_MAX
            _cancel(self._receiving)
            self._receiving = self._loop.call_later(HTTP_DISCARD_S, self._transport.close)
            self._plan(now=False)
            self._read_or_not()
            return
        if exchange.must_close or self._is_ending:
            self._is_ending = True
            self._transport.close()
            return
        self._is_known = exchange.actor is not None and exchange.status < HTTPStatus.BAD_REQUEST and not self._unread
        self._exchange = None
        self._parser.restart()
        if self._unread:
            self._await_request()
            self._plan(now=False)
        else:
            self._idle = self._loop.call_later(HTTP_IDLE_S, self._transport.close)

    def _say(self, error: ProblemError) -> None:
        """Answer where there is no request to answer, and close."""
        body = encoded(error.problem)
        lines = [(b"content-type", PROBLEM_JSON), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        self._transport.write(answer_head(error.problem.status, lines) + body)
        self._transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

"""BoundedProtocol: uvicorn's connection, with deadlines for what a client sends and reads, and a bound of connections.

What happens when
    a request is not whole within 10 s, head and body: the connection is aborted, whatever came of it.
    a client reads nothing for 30 s while an answer waits: the connection is aborted.
    there are too many connections: 503 for the next one, at once.
    what comes is no HTTP: 400, as a Problem.

Guarantees: a slow or hostile client holds one connection for a bounded time, and bounded memory.
Does not: judge requests; the guard does.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from headrace.control.http.encoding import encoded
from headrace.control.http.problems import ProblemError
from headrace.limits import HTTP_CONNECTIONS_MAX, HTTP_RECEIVE_S, HTTP_SEND_S

if TYPE_CHECKING:
    import asyncio

__all__ = ["BoundedProtocol"]

# What uvicorn says of each malformed request would fill a log.
_quiet = logging.getLogger(f"{__name__}.uvicorn")
_quiet.setLevel(logging.ERROR)


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger, self.access_log = _quiet, False
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > HTTP_CONNECTIONS_MAX:
            detail = f"{HTTP_CONNECTIONS_MAX} connections are open already: close one, or wait"
            self._say(ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail))
            return
        self._receiving = self.loop.call_later(HTTP_RECEIVE_S, self._abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        _cancel(self._receiving)
        self._receiving = None
        _cancel(self._sending)
        self._sending = None

    def handle_events(self) -> None:
        """Take what came, and limit the time of what is still to come."""
        super().handle_events()
        state, is_begun = self.conn.their_state, bool(self.conn.trailing_data[0])
        if state is h11.SEND_BODY or (state is h11.IDLE and is_begun):
            if self._receiving is None:
                self._receiving = self.loop.call_later(HTTP_RECEIVE_S, self._abort)
        else:
            _cancel(self._receiving)
            self._receiving = None

    def pause_writing(self) -> None:
        """Limit the time in which the client reads nothing."""
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(HTTP_SEND_S, self._abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        _cancel(self._sending)
        self._sending = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless an answer has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            detail = "this is no request of HTTP/1.1, or its head is too large"
            self._say(ProblemError(HTTPStatus.BAD_REQUEST, "malformed", f"{detail}: {msg}"))
        else:
            self._abort()

    def end(self) -> None:
        """Close the connection, whatever it is at."""
        if not self.transport.is_closing():
            self.transport.close()
            self.loop.call_soon(self._abort)

    def _say(self, error: ProblemError) -> None:
        body = encoded(error.problem)
        head = (
            f"HTTP/1.1 {error.problem.status} {error.problem.title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

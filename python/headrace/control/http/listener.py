"""Listener: accepts connections one by one, each when the pace of strangers lets it in.

::

    socket readable ─▶ Pace ─▶ accept ─▶ (TLS) ─▶ BoundedProtocol        until nothing waits in the kernel's queue

What happens when the process has no descriptor left
    It accepts again a second later, and says so in the log.

Guarantees: a flood of connections costs no more than the pace allows; what waits stands in the kernel's queue.
Does not: know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING

from headrace.limits import HTTP_CONNECTIONS_MAX, HTTP_RECEIVE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.control.http.pace import Pace

__all__ = ["Listener", "listening"]

log = logging.getLogger(__name__)

BACKLOG = 256
# Of the thread, for the handshake of TLS, which the event loop does.
TLS_S = 1e-3
AGAIN_S = 1.0


async def listening(host: str, port: int) -> list[socket.socket]:
    """Return a socket that listens for each address of a host. Raises OSError."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    found: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(infos):
            made = socket.create_server(address[:2], family=family, backlog=BACKLOG)
            made.settimeout(0)
            found.append(made)
    except BaseException:
        for made in found:
            made.close()
        raise
    return found


class Listener:
    """Some sockets that listen. protocol : makes one for each connection. tls : None: plain HTTP."""

    def __init__(
        self,
        sockets: list[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        pace: Pace,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._protocol = protocol
        self._pace = pace
        self._tls = tls
        # Connections that were accepted and have no protocol yet.
        self._coming: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        # Those of which a connection waits for its turn, and of them those that are not watched meanwhile.
        self._waiting: set[socket.socket] = set()
        self._unwatched: set[socket.socket] = set()
        for own in sockets:
            self._watch(own)

    @property
    def address(self) -> tuple[str, int]:
        """Where the first socket listens."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Accept nothing more."""
        for own in self._sockets:
            self._loop.remove_reader(own.fileno())
            own.close()
        for task in self._coming:
            task.cancel()
        if self._again is not None:
            self._again.cancel()

    def _watch(self, own: socket.socket) -> None:
        self._unwatched.discard(own)
        self._loop.add_reader(own.fileno(), self._readable, own)

    def _unwatch(self, own: socket.socket) -> None:
        self._unwatched.add(own)
        self._loop.remove_reader(own.fileno())

    def _readable(self, own: socket.socket) -> None:
        if own in self._waiting:
            self._unwatch(own)
        else:
            self._waiting.add(own)
            self._pace.run(partial(self._accept, own))

    def _accept(self, own: socket.socket) -> None:
        self._waiting.discard(own)
        if own.fileno() < 0:
            return  # It was closed meanwhile.
        if own in self._unwatched:
            self._watch(own)
        try:
            connection, _ = own.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("the control API cannot accept a connection (%s): it goes on in a second", error.strerror)
            self._unwatch(own)
            self._again = self._loop.call_later(AGAIN_S, self._watch, own)
            return
        connection.settimeout(0)
        if len(self._coming) > HTTP_CONNECTIONS_MAX:
            connection.close()
        else:
            task = self._loop.create_task(self._pace.timed(partial(self._begin, connection), lambda: True))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _begin(self, connection: socket.socket) -> None:
        limit_s = None
        if self._tls is not None:
            self._pace.charge(TLS_S)
            limit_s = HTTP_RECEIVE_S
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=limit_s
            )
        except OSError as error:
            # Among them what is no TLS.
            log.debug("a connection to the control API did not begin: %s", error)
            connection.close()

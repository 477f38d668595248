"""A way to a port of this machine that a test can cut, as a network does: both ends lose their connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Way:
    """Connections to its own port go on to another one. port : its own."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._to = 0
        self._ends: list[socket.socket] = []

    def lead_to(self, port: int) -> Self:
        """Begin to take connections."""
        self._to = port
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def cut(self) -> None:
        """Break all connections; new ones are taken as before."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    one.close()

"""ControlClient: asks a running engine over its local socket, and waits for the reply.

Guarantees: whatever is in the way (no engine, a hung one, a stranger's socket) is a ControlError within the timeout.
Does not: repeat a request; a command that was not answered may have been handled.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from headrace.control.wire import Reply, socket_path
from headrace.errors import ControlError
from headrace.trading.state_folder import checked_folder, state_path

if TYPE_CHECKING:
    from headrace.control.wire import Request

__all__ = ["ControlClient", "existing_folder", "listening_engines"]

CONNECT_TIMEOUT_S = 1.0
# Replies come in lines of any length; a status of many strategies has some hundred KiB.
CHUNK_BYTES = 65_536


class ControlClient:
    """A connection to one engine; a context manager.

    name : the engine's. folder : its state folder; the user's own unless given. Raises ControlError, StateFolderError.
    """

    def __init__(self, name: str, *, folder: str | os.PathLike[str] | None = None) -> None:
        self.name = name
        path = socket_path(name, existing_folder(folder))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(CONNECT_TIMEOUT_S)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            why = "nobody listens there" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
            msg = f"engine {name!r} cannot be reached at {path} ({why})"
            raise ControlError(msg) from error

    def ask(self, request: Request, *, timeout: float) -> Reply:
        """Send a request and return its reply, within ``timeout`` seconds. Raises ControlError."""
        deadline = time.monotonic() + timeout
        try:
            self._socket.settimeout(timeout)
            # A server that refuses us has said so, and closed, before it read anything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(msgspec.json.encode(request) + b"\n")
            line = self._line(deadline)
        except TimeoutError as error:
            msg = f"engine {self.name!r} took the request and does not answer within {timeout:g} s: it may hang"
            raise ControlError(f"{msg}; headrace ctl halt works all the same") from error
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from error
        try:
            reply = msgspec.json.decode(line, type=Reply)
        except msgspec.MsgspecError as error:
            raise self._broken(f"what it says cannot be read: {error}") from error
        if reply.error:
            msg = f"engine {self.name!r} refused the request: {reply.error}"
            raise ControlError(msg)
        return reply

    def _line(self, deadline: float) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = self._socket.recv(CHUNK_BYTES)
            if not chunk:
                raise self._broken("it closed the connection")
            received += chunk
        return bytes(received)

    def _broken(self, why: str) -> ControlError:
        return ControlError(f"engine {self.name!r} gave no answer ({why}): the command may have been handled or not")

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listening_engines(folder: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the engines that listen, sorted. Raises StateFolderError."""
    own = existing_folder(folder)
    found = []
    for path in sorted((own / "run").glob("*.sock")):
        try:
            ControlClient(path.stem, folder=own).close()
        except ControlError:
            continue
        found.append(path.stem)
    return found


def existing_folder(folder: str | os.PathLike[str] | None) -> Path:
    """Return the state folder, the user's own unless given, and make none. Raises StateFolderError."""
    return checked_folder(state_path() if folder is None else Path(folder), make=False)

"""ControlServer: the service that lets operators in other processes command an engine, over a local socket.

::

    headrace ctl ─▶ HEADRACE_STATE/run/NAME.sock (0600, the same user) ─▶ CommandBus ─▶ Ack ─▶ headrace ctl

What happens when
    a process died and left its socket: the next engine of that name takes the place; a living one is never pushed away.
    a peer sends rubbish, too much, or nothing: it gets an error, or is closed; nobody else notices.
    a peer leaves before its answer: the command is handled and audited all the same.
    a peer reads nothing: its connection is aborted after ``idle_s``, or 0.5 s after its last answer.

Guarantees: one request at a time for each connection, so its commands keep their order; memory is bounded.
Does not: listen in a replay, or beyond this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.control.letters import letter_document, letter_summary
from headrace.control.wire import AskLetter, AskLetters, AskTable, Reply, Request, Submit, peer_of, socket_path
from headrace.engine.service import Service
from headrace.errors import ControlError
from headrace.limits import CONTROL_CONNECTIONS_MAX, CONTROL_IDLE_S, CONTROL_LINE_BYTES_MAX, DRAIN_RUNNING_S
from headrace.market.clock import Mode
from headrace.trading.state_folder import checked_folder, open_own, state_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.commands import CommandBus
    from headrace.control.wire import Peer
    from headrace.engine.service import ServiceContext
    from headrace.market.dead_letters import DeadLetters

__all__ = ["ControlServer"]

log = logging.getLogger(__name__)

# So many turns of the loop after it was accepted, a connection has a task of ours, which closes it.
TURNS_TO_CONVERSE = 4
# A lock file holds a process id.
LOCK_BYTES = 32

_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
# What a handler put into its answer may be anything; what JSON does not hold is shown as Python shows it.
_replies = msgspec.json.Encoder(enc_hook=lambda value: f"{value!r:.1000}")


class ControlServer(Service):
    """Listens for ``headrace ctl``.

    commands : where commands go. engine : the engine's name, and the socket's. dead_letters : what may be looked at.
    folder : the state folder; the user's own unless given. connections_max : at a time. idle_s : a connection that says
    nothing is closed then.
    """

    def __init__(
        self,
        commands: CommandBus,
        *,
        engine: str = "headrace",
        dead_letters: DeadLetters | None = None,
        folder: str | os.PathLike[str] | None = None,
        connections_max: int = CONTROL_CONNECTIONS_MAX,
        idle_s: float = CONTROL_IDLE_S,
    ) -> None:
        self._commands = commands
        self._dead_letters = dead_letters
        self._engine = engine
        self._folder = None if folder is None else Path(folder)
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._path: Path | None = None
        self._lock = -1
        self._server: asyncio.Server | None = None
        self._stopping = asyncio.Event()
        # The task of each connection, until its transport is closed, and whether it is at a request.
        self._connections: dict[asyncio.Task[object], bool] = {}
        self._counts = dict.fromkeys(("connections", "requests", "errors", "refused"), 0)

    @property
    def name(self) -> str:
        """What reports call it."""
        return "control"

    @property
    def path(self) -> Path | None:
        """Where it listens; None when it does not."""
        return self._path

    async def setup(self, context: ServiceContext) -> None:
        """Listen. Raises ControlError when an engine of that name does already, or the socket cannot be made."""
        if context.mode is not Mode.LIVE:
            return
        path = socket_path(self._engine, state_folder() if self._folder is None else checked_folder(self._folder))
        checked_folder(path.parent)
        try:
            self._lock = _locked(path.with_suffix(".lock"), self._engine)
            listener = _listener(path)
        except OSError as error:
            self._unlock()
            msg = f"the control socket {path} cannot be made ({error.strerror}): see to the folder, or name another"
            raise ControlError(f"{msg} with HEADRACE_STATE") from error
        self._path = path
        self._stopping.clear()
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=CONTROL_LINE_BYTES_MAX)
        log.info("listening for headrace ctl at %s", path)

    async def run(self) -> None:
        """Serve until stopped."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """Listen no more; requests that are being handled are answered first, for up to DRAIN_RUNNING_S."""
        self._stopping.set()
        if self._server is not None:
            # Accept no more, let what was accepted get its task, and only then close: a connection that is accepted in
            # the turn in which asyncio's server closes would be left open, with nobody to close it.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            for _ in range(TURNS_TO_CONVERSE):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for task, is_busy in list(self._connections.items()):
            if not is_busy:
                task.cancel()
        await self._wait_for_connections()
        for task in self._connections:
            task.cancel()
        await self._wait_for_connections()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        self._unlock()

    def metrics(self) -> Mapping[str, float]:
        """Return how many connections, requests, errors and refused peers there were, and connections there are."""
        return {**self._counts, "open": len(self._connections)}

    async def _wait_for_connections(self) -> None:
        if self._connections:
            await asyncio.wait(self._connections, timeout=DRAIN_RUNNING_S)

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = False
        self._counts["connections"] += 1
        try:
            # A peer that has left, or that reads nothing, is nobody's trouble but its own.
            with contextlib.suppress(OSError, TimeoutError):
                peer = _peer(writer)
                if refusal := self._refusal(peer):
                    self._counts["refused"] += 1
                    await self._say(writer, Reply(error=refusal))
                    return
                while not self._stopping.is_set() and (line := await self._line(reader, writer)):
                    self._connections[task] = True
                    await self._say(writer, await self._answer(line, peer))
                    self._connections[task] = False
        except asyncio.CancelledError:
            # The server stops; a task that ends as cancelled would be reported by asyncio as a failure of ours.
            pass
        finally:
            await _close(writer)
            del self._connections[task]

    def _refusal(self, peer: Peer) -> str | None:
        if peer.uid != os.geteuid():
            log.warning("refused %s (process %d) at the control socket", peer.user, peer.pid)
            return f"this engine belongs to user {os.geteuid()}, you are user {peer.uid}: run it as that user"
        if len(self._connections) > self._connections_max:
            return f"{self._connections_max} connections are open already: close one, or wait {self._idle_s:g} s"
        return None

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Return the next request; empty when there is none, or too long a one."""
        try:
            async with asyncio.timeout(self._idle_s):
                return await reader.readline()
        except ValueError:
            error = f"a line is longer than {CONTROL_LINE_BYTES_MAX:,} bytes: a command has some hundred"
            await self._say(writer, Reply(error=error))
            return b""

    async def _answer(self, line: bytes, peer: Peer) -> Reply:
        self._counts["requests"] += 1
        try:
            request = _requests.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return Reply(error=f"the request cannot be read: {error}")
        match request:
            case Submit():
                ack = await self._commands.submit(
                    bytes(request.command),
                    key=request.key,
                    timeout=request.timeout,
                    actor=peer.actor(request.terminal),
                )
                return Reply(engine=self._engine, ack=ack)
            case AskTable():
                return Reply(engine=self._engine, table=tuple(self._commands.table()))
            case AskLetters():
                letters = [] if self._dead_letters is None else self._dead_letters.list(kind=request.kind)
                return Reply(engine=self._engine, letters=tuple(map(letter_summary, letters[-request.last :])))
            case AskLetter():
                letter = None if self._dead_letters is None else self._dead_letters.get(request.letter_id)
                return Reply(engine=self._engine, letters=() if letter is None else (letter_document(letter),))

    async def _say(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        self._counts["errors"] += bool(reply.error)
        try:
            line = _replies.encode(reply)
        except Exception as error:
            # What a handler told, or the event of a dead letter, can be so; the answer itself must arrive.
            log.exception("a reply cannot be written as JSON")
            lost = {"lost": f"this cannot be written as JSON ({type(error).__name__})"}
            if reply.ack is not None:
                reply = msgspec.structs.replace(reply, ack=msgspec.structs.replace(reply.ack, detail=lost))
            else:
                reply = Reply(error=lost["lost"])
            line = _replies.encode(reply)
        writer.write(line + b"\n")
        async with asyncio.timeout(self._idle_s):
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; one whose peer does not read what is left for it, at once."""
    writer.close()
    try:
        async with asyncio.timeout(DRAIN_RUNNING_S):
            await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.CancelledError):
        writer.transport.abort()


def _locked(path: Path, engine: str) -> int:
    """Take the lock that a living engine holds, and the kernel frees when its process ends, however it does."""
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, LOCK_BYTES, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        msg = f"an engine called {engine!r} runs already (process {pid}): stop that one, or give this one another name"
        raise ControlError(msg) from error
    if os.fstat(descriptor).st_size > LOCK_BYTES:
        os.close(descriptor)
        msg = f"{path} holds more than a lock of ours, and is not changed: move it away"
        raise ControlError(msg)
    # Of one length, so that it replaces an older one whole.
    with contextlib.suppress(OSError):  # It is for people: a full disk prevents no engine's commands.
        os.pwrite(descriptor, f"{os.getpid()}\n".encode().rjust(LOCK_BYTES), 0)
    return descriptor


def _listener(path: Path) -> socket.socket:
    """Bind a socket that only this user may connect to. Whoever holds the lock may replace what lies at its path."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Before it can be seen: the folder is ours alone, and this does not depend on the process's umask.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        path.chmod(0o600)
    except BaseException:
        listener.close()
        raise
    return listener


def _peer(writer: asyncio.StreamWriter) -> Peer:
    """Return the process at the other end. Where the system does not say it, the socket's mode let in only our user."""
    if not hasattr(socket, "SO_PEERCRED"):
        return peer_of(0, os.geteuid())
    size = struct.calcsize("3i")
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _gid = struct.unpack("3i", credentials)
    return peer_of(pid, uid)

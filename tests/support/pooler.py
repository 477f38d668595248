"""A transaction pooler for tests: clients share server connections, one transaction at a time, as PgBouncer does.

::

    client ─▶ its message, and a server connection until "ready, outside of a transaction" ─▶ back into the pool

Guarantees: after each transaction a client may meet another server connection, so nothing of a session lasts: no
prepared statement, no setting, no LISTEN; notifications reach no client.
Does not: speak TLS, or authenticate: the server trusts local clients.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

SSL_REQUEST, GSS_REQUEST = 80_877_103, 80_877_104
Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pooler:
    """``size`` server connections behind one port. transactions : that passed. dropped : notifications."""

    def __init__(self, url: str, size: int) -> None:
        self._url = urlsplit(url)
        self._size = size
        self._pool: asyncio.Queue[Pipe] = asyncio.Queue()
        self._startup = b""
        self._opened = 0
        self._greeting = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.transactions = 0
        self.dropped = 0
        self.port = 0

    async def serve(self, started: threading.Event, over: asyncio.Event) -> None:
        """Serve until it is over."""
        async with await asyncio.start_server(self._client, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await over.wait()
            for task in self._tasks:
                task.cancel()
            while not self._pool.empty():
                self._pool.get_nowait()[1].close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._greet(reader, writer)
            while True:
                await self._transaction(reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a client's begin, and answer with the greeting of a server connection."""
        while True:
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size) - 4)
            if int.from_bytes(body[:4]) not in (SSL_REQUEST, GSS_REQUEST):
                break
            writer.write(b"N")
        self._startup = size + body
        if not self._greeting:
            await self._pool.put(await self._server())
        writer.write(self._greeting)

    async def _server(self) -> Pipe:
        """Open a server connection, with what the first client asked for."""
        self._opened += 1
        assert self._url.hostname is not None
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port or 5432)
        writer.write(self._startup)
        greeting = b""
        while not greeting.endswith(b"Z\0\0\0\x05I"):
            greeting += await reader.readexactly(1)
        self._greeting = greeting
        return reader, writer

    async def _transaction(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry messages between a client and one server connection, until it is outside of a transaction."""
        kind, message = await _message(reader)
        if kind == b"X":
            raise asyncio.IncompleteReadError(b"", None)
        if self._pool.empty() and self._opened < self._size:
            await self._pool.put(await self._server())
        server = await self._pool.get()
        self.transactions += 1
        try:
            server[1].write(message)
            to_server = asyncio.create_task(_carry(reader, server[1]))
            try:
                while True:
                    kind, message = await _message(server[0])
                    if kind == b"A":
                        self.dropped += 1
                        continue
                    writer.write(message)
                    if kind == b"Z" and message[-1:] == b"I":
                        return
            finally:
                to_server.cancel()
                await asyncio.wait([to_server])
        finally:
            self._pool.put_nowait(server)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write((await _message(reader))[1])


@contextmanager
def pooled(url: str, size: int = 2) -> Iterator[tuple[str, Pooler]]:
    """Yield the URL of a pooler before a server, and the pooler."""
    pooler, started = Pooler(url, size), threading.Event()
    over: asyncio.Event

    async def main() -> None:
        nonlocal over
        over = asyncio.Event()
        await pooler.serve(started, over)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=runner.run, args=(main(),), name="pooler")
        thread.start()
        assert started.wait(10)
        parts = urlsplit(url)
        name = f"{parts.username}@" if parts.username else ""
        try:
            yield urlunsplit(parts._replace(netloc=f"{name}127.0.0.1:{pooler.port}")), pooler
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()

"""A proxy on loopback: it tunnels CONNECT, and passes requests with a whole address on. It remembers where from."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Proxy:
    def __init__(self) -> None:
        self.url = ""
        # The targets of requests, and the addresses that they came from.
        self.targets: list[str] = []
        self.clients: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.add(writer.get_extra_info("peername")[0])
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version = head.partition(b"\r\n")[0].decode().split(" ")
        parts = urlsplit(target if "://" in target else f"//{target}")
        assert parts.hostname is not None
        self.targets.append(target)
        onward, out = await asyncio.open_connection(parts.hostname, parts.port or 80)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            out.write(f"{method} {path} {version}".encode() + head[head.index(b"\r\n") :])
        await asyncio.gather(_pipe(reader, out), _pipe(onward, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()

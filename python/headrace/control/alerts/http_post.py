"""post: one HTTP POST over asyncio's own streams, so that a webhook needs no package.

Guarantees: done, or raised, within its time; it can be cancelled at any moment; certificates are checked; a redirect is
not followed, and of the answer no more than HEAD_BYTES_MAX is read.
Does not: keep connections, or repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PostAnswer", "post"]

HEAD_BYTES_MAX = 16_384
HEAD_END = b"\r\n\r\n"


class PostAnswer(NamedTuple):
    """The answer's status, and its Retry-After in s, None where it has none."""

    status: int
    retry_after_s: float | None


async def post(url: str, body: bytes, headers: Mapping[str, str], *, within_s: float) -> PostAnswer:
    """Send a body, and return the answer's status.

    Raises OSError and its subclasses (no connection, a wrong certificate, no HTTP), TimeoutError.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = f"[{host}]" if ":" in host else host
    lines = {
        "Host": shown if parts.port is None else f"{shown}:{port}",
        "User-Agent": "headrace",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    async with asyncio.timeout(within_s):
        context = ssl.create_default_context() if is_tls else None
        reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=HEAD_BYTES_MAX)
        try:
            writer.write(f"POST {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            await writer.drain()
            return _answer(await reader.readuntil(HEAD_END))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            msg = "the server closed the connection without an answer, or its head is too long"
            raise ConnectionError(msg) from error
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                writer.transport.abort()


def _answer(head: bytes) -> PostAnswer:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not status.isdigit():
        msg = f"what came is no answer of HTTP/1.1: {first[:80]!r}"
        raise ConnectionError(msg)
    named = (line.partition(":") for line in lines)
    after = next((value.strip() for name, _, value in named if name.strip().lower() == "retry-after"), "")
    return PostAnswer(int(status), float(after) if after.isascii() and after.isdigit() else None)

"""Transport: one web socket, behind five methods, so that the adapter does not depend on a client library.

::

    open(url, listener) ─▶ listener.on_message(whole message) … listener.on_end(reason)

What happens with a message that is too long
    Fragments are joined; what exceeds the bound of a frame is cut just behind it, so that the decoder rejects and
    counts it, and the connection stays.

Guarantees: a message is passed on whole and once; a ping is answered at once with its payload; nothing that the
listener raises reaches the library; ``on_end`` is called once; an ``open`` that fails or is cancelled leaves no socket.
Does not: reconnect, or limit what is sent.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from headrace.errors import MissingExtraError
from headrace.limits import FRAME_BYTES_MAX
from headrace.venues.binance.cancellation import heeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from picows import WSFrame, WSTransport
    from picows.picows import WSCloseHandshake

__all__ = ["Listener", "Transport", "new_transport"]

log = logging.getLogger(__name__)

# Above our own bound, so that a library cuts no connection for a frame that we would only count.
LIBRARY_BYTES_MAX = 16 * FRAME_BYTES_MAX
OPEN_TIMEOUT_S = 10.0
# For the server's last frame; the end of a feed waits for it.
CLOSE_TIMEOUT_S = 0.1


class Listener(Protocol):
    """Receives from a web socket; called on the loop's thread."""

    def on_message(self, message: bytes) -> None:
        """Receive a whole message."""

    def on_ping(self) -> None:
        """Note that the server sent a ping, which was answered."""

    def on_end(self, reason: str) -> None:
        """Note that the connection has ended."""


class Transport(Protocol):
    """One web socket."""

    async def open(self, url: str, listener: Listener) -> None:
        """Connect. Raises OSError."""

    def send(self, message: bytes) -> None:
        """Send a text message."""

    def pause(self) -> None:
        """Read no more."""

    def resume(self) -> None:
        """Read again."""

    async def close(self) -> None:
        """Close; may be called twice."""


def new_transport(*, proxy: str | None = None, source_address: str | None = None) -> Transport:
    """Return a transport by picows, or by aiohttp where picows is missing. Raises MissingExtraError.

    proxy : address of a proxy. source_address : the local IP address to connect from.
    """
    try:
        import picows  # noqa: F401 - looked for
    except ImportError:
        try:
            import aiohttp  # noqa: F401 - looked for
        except ImportError:
            msg = 'this needs a web socket client: pip install "headrace[binance]"'
            raise MissingExtraError(msg) from None
        return AiohttpTransport(proxy, source_address)
    return PicowsTransport(proxy, source_address)


@asynccontextmanager
async def _opening(transport: Transport, url: str, refusal: type[Exception]) -> AsyncIterator[None]:
    """Close a transport whose opening fails or is cancelled. Raises OSError for what the library calls a refusal."""
    try:
        yield
    except BaseException as error:
        await transport.close()
        if not isinstance(error, refusal | OSError):
            raise
        msg = f"no web socket at {url}: {str(error) or type(error).__name__}"
        raise OSError(msg) from error


def _end_of(handshake: WSCloseHandshake | None) -> str:
    """Return why a connection ended. handshake : None when it was cut."""
    closed = None if handshake is None else handshake.recv
    return "connection lost" if closed is None else f"closed by the server: {closed.code} {closed.reason}"


class _Ending:
    """Calls the listener's end once."""

    def __init__(self) -> None:
        self.listener: Listener | None = None

    def end(self, reason: str) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.on_end(reason)


class _Joined:
    """Joins the fragments of a message, up to a bound."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes, *, is_last: bool) -> bytes | None:
        """Return the message when its last part has come."""
        if is_last and not self._parts and len(part) <= FRAME_BYTES_MAX:
            return part  # Almost every message is whole.
        if self._size <= FRAME_BYTES_MAX:
            self._parts.append(part[: FRAME_BYTES_MAX + 1 - self._size])
            self._size += len(part)
        if not is_last:
            return None
        message = b"".join(self._parts)
        self._parts, self._size = [], 0
        return message


class PicowsTransport:
    """A transport by picows."""

    def __init__(self, proxy: str | None = None, source_address: str | None = None) -> None:
        self._proxy = proxy
        self._local = None if source_address is None else (source_address, 0)
        self._socket: WSTransport | None = None
        self._ending = _Ending()

    async def open(self, url: str, listener: Listener) -> None:
        """Connect. Raises OSError."""
        import picows

        ending, joined = self._ending, _Joined()
        ending.listener = listener

        def keep(socket: WSTransport) -> None:
            self._socket = socket

        kinds = picows.WSMsgType
        text, continuation, ping, close = kinds.TEXT, kinds.CONTINUATION, kinds.PING, kinds.CLOSE

        class _Receiver(picows.WSListener):
            def on_ws_connected(self, transport: WSTransport) -> None:
                if ending.listener is not None:
                    keep(transport)
                else:
                    # It was closed while it was being opened.
                    transport.disconnect(graceful=False)

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                try:
                    if frame.msg_type in (text, continuation):
                        message = joined.add(frame.get_payload_as_bytes(), is_last=frame.fin)
                        if message is not None and ending.listener is not None:
                            ending.listener.on_message(message)
                    elif frame.msg_type == close:
                        transport.send_close(frame.get_close_code())
                        transport.disconnect()
                    elif frame.msg_type == ping:
                        transport.send_pong(frame.get_payload_as_bytes())
                        if ending.listener is not None:
                            ending.listener.on_ping()
                except Exception:
                    # Out of this callback it would end the connection.
                    log.exception("a message could not be passed on")

            def on_ws_disconnected(self, transport: WSTransport) -> None:
                ending.end(_end_of(transport.close_handshake))

        options: dict[str, Any] = {} if self._local is None else {"local_addr": self._local}
        async with _opening(self, url, picows.WSError):
            await heeded(
                picows.ws_connect(
                    _Receiver,
                    url,
                    websocket_handshake_timeout=OPEN_TIMEOUT_S,
                    max_frame_size=LIBRARY_BYTES_MAX,
                    enable_auto_pong=False,
                    disconnect_on_exception=False,
                    proxy=self._proxy,
                    **options,
                )
            )

    def send(self, message: bytes) -> None:
        """Send a text message."""
        import picows

        if self._socket is not None:
            self._socket.send(picows.WSMsgType.TEXT, message)

    def pause(self) -> None:
        """Read no more."""
        if self._socket is not None:
            self._socket.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._socket is not None:
            self._socket.underlying_transport.resume_reading()

    async def close(self) -> None:
        """Close; may be called twice."""
        socket, self._socket = self._socket, None
        self._ending.listener = None
        if socket is not None:
            socket.disconnect(graceful=False)
            # It raises what was wrong with the server's frames, if that ended it: ``on_end`` was called for it.
            with suppress(Exception):
                await socket.wait_disconnected()


class AiohttpTransport:
    """A transport by aiohttp."""

    def __init__(self, proxy: str | None = None, source_address: str | None = None) -> None:
        self._proxy = proxy
        self._local = None if source_address is None else (source_address, 0)
        self._ending = _Ending()
        self._session: Any = None
        self._socket: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def open(self, url: str, listener: Listener) -> None:
        """Connect. Raises OSError."""
        import aiohttp

        self._ending.listener = listener
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=self._local))
        async with _opening(self, url, aiohttp.ClientError):
            await heeded(self._connect(url))
        self._reading = asyncio.create_task(self._read(), name="headrace-socket")

    async def _connect(self, url: str) -> None:
        import aiohttp

        # Kept here and not where it is awaited: a socket that comes in spite of a cancellation has to be closed, too.
        self._socket = await self._session.ws_connect(
            url,
            proxy=self._proxy,
            autoping=False,
            max_msg_size=LIBRARY_BYTES_MAX,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
        )

    async def _read(self) -> None:
        import aiohttp

        reason = "connection lost"
        async for message in self._socket:
            await self._may_read.wait()
            listener = self._ending.listener
            try:
                if message.type is aiohttp.WSMsgType.TEXT and listener is not None:
                    listener.on_message(message.data.encode()[: FRAME_BYTES_MAX + 1])
                elif message.type is aiohttp.WSMsgType.PING:
                    await self._socket.pong(message.data)
                    if listener is not None:
                        listener.on_ping()
            except Exception:
                log.exception("a message could not be passed on")
        if self._socket.close_code is not None:
            reason = f"closed by the server: {self._socket.close_code}"
        self._ending.end(reason)

    def send(self, message: bytes) -> None:
        """Send a text message."""
        if self._socket is not None:
            sending = asyncio.ensure_future(self._send(message.decode()))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, message: str) -> None:
        # A socket that is closing ends what waits for an answer, too: by ``on_end``.
        with suppress(OSError):
            await self._socket.send_str(message)

    def pause(self) -> None:
        """Read no more."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read again."""
        self._may_read.set()

    async def close(self) -> None:
        """Close; may be called twice."""
        self._ending.listener = None
        under_way = [*self._sending, *([] if self._reading is None else [self._reading])]
        for task in under_way:
            task.cancel()
        try:
            await asyncio.gather(*under_way, return_exceptions=True)
            if self._socket is not None:
                await self._socket.close()
        finally:
            # Also when the wait for the server is cancelled.
            if self._session is not None:
                await self._session.close()

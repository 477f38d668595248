"""One WebSocket connection of a simulated venue: its subscriptions, what waits to be sent, pings and limits.

::

    SUBSCRIBE ─▶ names by (symbol, kind) ─▶ ``offer`` queues a frame ─▶ a task sends it

What happens when a client is slow, silent or too busy
    Frames queue up to a bound, then the connection is cut. A ping without a pong in time, or too many messages in a
    second, cut it, too.

Guarantees: frames leave in order; a client that subscribed on the wrong route is answered, and gets nothing.
Does not: decide what a frame holds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from headrace.venues.binance.rules import StreamName

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headrace.venues.binance.rules import VenueRules
    from headrace.venues.simulated.faults import Fault

__all__ = ["Connection"]

# More than a client may leave unread: the venue cuts it.
QUEUE_BYTES_MAX = 64 << 20
# Above it a venue without a clock of its own waits for the client.
QUEUE_BYTES_FULL = 256 << 10
REQUEST_BYTES_MAX = 1 << 20
# Times in ms, as markets write them.
TIMES = re.compile(rb'"(?:E|T|t)":\d{13}(?=[,}])')
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Connection:
    """One client. route : the part of the address that decides which streams come.

    combined : whether frames come in envelopes. in_us : whether times have microseconds.
    on_change : called when subscriptions changed.
    """

    def __init__(
        self,
        rules: VenueRules,
        route: str,
        *,
        combined: bool,
        in_us: bool = False,
        on_change: Callable[[], None],
    ) -> None:
        self.rules = rules
        self._route = route
        self._combined = combined
        self._in_us = in_us
        self._on_change = on_change
        self._names: dict[str, None] = {}
        # By symbol and kind: the names under which its frames are sent.
        self._streams: dict[tuple[str, str], list[str]] = {}
        self._queue: deque[tuple[bytes, Fault | None]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._held_until = 0.0
        self._socket = web.WebSocketResponse(
            autoping=False, autoclose=True, compress=False, max_msg_size=REQUEST_BYTES_MAX
        )
        self._transport: asyncio.Transport | None = None
        self._pinged_at: float | None = None
        self._messages: deque[float] = deque(maxlen=rules.messages_per_s)

    async def serve(self, request: web.Request, names: list[str]) -> web.WebSocketResponse:
        """Talk to the client until one of the two ends it."""
        await self._socket.prepare(request)
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if names:
            self._subscribe(names)
        tasks = [asyncio.create_task(own) for own in (self._send(), self._receive(), self._ping(), self._expire())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._room.set()
            with suppress(ConnectionError):
                await self._socket.close()
        return self._socket

    def offer(self, symbol: str, kind: str, data: bytes, how: Fault | None = None) -> None:
        """Queue a frame if the client subscribed to its stream."""
        for name in self._streams.get((symbol, kind), ()):
            self.send(self._framed(name, data), how)

    def send(self, payload: bytes, how: Fault | None = None) -> None:
        """Queue a message, or cut a client that reads nothing."""
        self._queue.append((payload, how))
        self._queued_bytes += len(payload)
        self._wake.set()
        if self._queued_bytes > QUEUE_BYTES_FULL:
            self._room.clear()
        if self._queued_bytes > QUEUE_BYTES_MAX:
            self.abort()

    def announce_shutdown(self, ms: int) -> None:
        """Send the event that announces the end of this connection."""
        self.send(self._framed("!serverShutdown", b'{"e":"serverShutdown","E":%d}' % ms))

    def hold(self, for_s: float) -> None:
        """Send nothing for so long."""
        self._held_until = max(self._held_until, time.monotonic() + for_s)

    @property
    def streams(self) -> Collection[tuple[str, str]]:
        """The symbols and kinds that the client subscribed to, on their right route."""
        return self._streams

    @property
    def names(self) -> list[str]:
        """The streams that the client subscribed to, by name."""
        return list(self._names)

    async def room(self) -> None:
        """Wait until little enough is queued."""
        await self._room.wait()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._room.set()
        if self._transport is not None:
            self._transport.abort()

    def _framed(self, name: str, data: bytes) -> bytes:
        if self._in_us:
            data = TIMES.sub(rb"\g<0>000", data)
        return b'{"stream":"%b","data":%b}' % (name.encode(), data) if self._combined else data

    async def _send(self) -> None:
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            if (held_s := self._held_until - time.monotonic()) > 0:
                await asyncio.sleep(held_s)
            payload, how = self._queue.popleft()
            self._queued_bytes -= len(payload)
            if self._queued_bytes <= QUEUE_BYTES_FULL:
                self._room.set()
            if how is not None:
                await self._send_badly(payload, how)
            else:
                await self._socket.send_frame(payload, WSMsgType.TEXT)

    async def _send_badly(self, payload: bytes, how: Fault) -> None:
        assert self._transport is not None
        frame = _text_frame(payload)
        if how.kind == "cut":
            self._transport.write(frame[: len(frame) // 2])
            await asyncio.sleep(0)
            self.abort()
            return
        size = how.size or 1
        pieces = [frame[at : at + size] for at in range(0, len(frame), size)]
        for piece in pieces:
            self._transport.write(piece)
            await asyncio.sleep(how.for_s / len(pieces))

    async def _receive(self) -> None:
        async for message in self._socket:
            if self._is_too_busy():
                await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
                return
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._pinged_at = None
            elif message.type is WSMsgType.TEXT:
                self.send(msgspec.json.encode(self._answer(message.data)))

    def _is_too_busy(self) -> bool:
        now = time.monotonic()
        full = len(self._messages) == self.rules.messages_per_s
        too_busy = full and now - self._messages[0] < 1.0
        self._messages.append(now)
        return too_busy

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self.rules.ping_every_s)
            self._pinged_at = self._pinged_at or time.monotonic()
            if time.monotonic() >= self._held_until:
                await self._socket.ping(str(time.time_ns() // 1_000_000).encode())
            asyncio.get_running_loop().call_later(self.rules.pong_within_s, self._judge_pong, self._pinged_at)

    def _judge_pong(self, pinged_at: float) -> None:
        if self._pinged_at is not None and self._pinged_at <= pinged_at:
            self.abort()

    async def _expire(self) -> None:
        await asyncio.sleep(self.rules.life_s)
        await self._socket.close(code=WSCloseCode.GOING_AWAY)

    def _answer(self, text: str) -> dict[str, object]:
        """Return the venue's answer to a request."""
        try:
            request = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return _refused(None, 3, "Invalid JSON: expected value at line 1 column 1")
        if not isinstance(request, dict):
            return _refused(None, 3, "Invalid JSON: expected an object")
        number, method, names = request.get("id"), request.get("method"), request.get("params", [])
        if method not in METHODS:
            return _refused(number, 2, f"Invalid request: unknown variant {method}, expected one of {METHODS}")
        are_texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not are_texts and method not in ("SET_PROPERTY", "GET_PROPERTY"):
            return _refused(number, 2, "Invalid request: params must be strings")
        result: object = None
        match method:
            case "SUBSCRIBE":
                if len({*self._names, *names}) > self.rules.streams_max:
                    return _refused(number, 2, f"Invalid request: more than {self.rules.streams_max} streams")
                self._subscribe(names)
            case "UNSUBSCRIBE":
                self._unsubscribe(names)
            case "LIST_SUBSCRIPTIONS":
                result = list(self._names)
            case "GET_PROPERTY":
                result = self._combined
            case _:
                self._combined = bool(names[-1])
        return {"result": result, "id": number}

    def _subscribe(self, names: list[str]) -> None:
        for name in names:
            self._names[name] = None
        self._rebuild()
        self._on_change()

    def _unsubscribe(self, names: list[str]) -> None:
        for name in names:
            self._names.pop(name, None)
        self._rebuild()
        self._on_change()

    def _rebuild(self) -> None:
        self._streams = {}
        for name in self._names:
            parts = StreamName.parse(name)
            # On the wrong route a stream is acknowledged and never comes: the real venue does so, too.
            if parts.kind and self.rules.route_of(parts.kind) == self._route:
                kind = parts.kind if parts.kind != "kline" else f"kline_{parts.interval}"
                self._streams.setdefault((parts.symbol, kind), []).append(name)


def _refused(number: object, code: int, text: str) -> dict[str, object]:
    # A request that could not be read has no id in its answer.
    return {"error": {"code": code, "msg": text}} | ({} if number is None else {"id": number})


def _text_frame(payload: bytes) -> bytes:
    """Return a whole, unmasked text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes([0x81, size]) + payload
    if size < 1 << 16:
        return bytes([0x81, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x81, 127]) + size.to_bytes(8, "big") + payload

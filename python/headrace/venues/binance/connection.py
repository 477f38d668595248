"""Connection: one web socket to a route of a market, with its requests, their answers, and the limits of sending.

::

    request(SUBSCRIBE, names) ─▶ limiter ─▶ socket ─▶ answer: confirmed, or VenueRequestError within 5 s
    socket ─▶ a frame of a stream ─▶ on_frame(connection, name, message)

Guarantees: one request is under way at a time, so that an error without an id belongs to it; every request ends; pongs
count as messages.
Does not: reconnect; ``Line`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from headrace.errors import VenueRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headrace.venues.binance.rules import VenueRules
    from headrace.venues.binance.transport import Transport

__all__ = ["NAMES_PER_REQUEST", "Connection", "Request", "shown_names"]

Request: TypeAlias = tuple[Literal["SUBSCRIBE", "UNSUBSCRIBE"], "list[str]"]

REQUEST_TIMEOUT_S = 5.0
# Pongs must never wait: a part of the messages in a second is kept for them.
PONGS_RESERVED = 1
# How a frame of a combined stream begins.
HEAD = b'{"stream":"'
NAMES_PER_REQUEST = 100


class Connection:
    """One web socket.

    on_frame : receives this connection, the name of a stream and its frame. on_end : called when it has ended.
    """

    def __init__(
        self,
        rules: VenueRules,
        transport: Transport,
        on_frame: Callable[[Connection, str, bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._transport = transport
        self._on_frame = on_frame
        self._on_end = on_end
        self._number = count(1)
        self._asking = asyncio.Lock()
        self._answer: tuple[int, asyncio.Future[object]] | None = None
        self._sent: deque[float] = deque(maxlen=rules.messages_per_s)
        self.opened_at = self.pinged_at = self.heard_at = time.monotonic()
        self.confirmed: set[str] = set()
        # Why the server, or the network, ended it.
        self.ended_because: str | None = None
        self._is_over = False

    async def open(self, url: str) -> None:
        """Connect. Raises OSError."""
        base, question, query = url.partition("?")
        await self._transport.open(f"{base}/stream{question}{query}", self)
        self.opened_at = self.pinged_at = self.heard_at = time.monotonic()

    async def close(self) -> None:
        """Close; what is under way fails. May be called twice."""
        self._is_over = True
        self._fail("the connection was closed")
        await self._transport.close()

    def pause(self) -> None:
        """Read no more from the socket."""
        self._transport.pause()

    def resume(self) -> None:
        """Read again."""
        self._transport.resume()

    async def request(self, choose: Callable[[], Request | None]) -> None:
        """Subscribe to streams, or unsubscribe, and wait for the venue's confirmation.

        choose : called when a message may be sent; it returns "SUBSCRIBE" or "UNSUBSCRIBE" and the names, at most
        ``NAMES_PER_REQUEST``, or None for no message.
        Raises VenueRequestError; its status is the venue's code for a refusal, None without an answer.
        """
        await self._while_open(partial(self._change, choose))

    async def list_streams(self) -> list[str]:
        """Return what is subscribed here, as the venue says. Raises VenueRequestError."""
        return msgspec.convert(await self._while_open(partial(self._ask, "LIST_SUBSCRIPTIONS", ())), list[str])

    async def _while_open(self, ask: Callable[[], Awaitable[object]]) -> object:
        """Ask when a message may be sent, one request after the other. Raises VenueRequestError."""
        async with self._asking:
            await self._until_allowed()
            if self._is_over:
                # What waited here was meant for this connection, not for the next one.
                msg = f"a request was not sent: {self.ended_because or 'the connection was closed'}"
                raise VenueRequestError(msg, url="", status=None)
            return await ask()

    async def _change(self, choose: Callable[[], Request | None]) -> None:
        if (request := choose()) is None:
            return
        await self._ask(*request)
        method, names = request
        if method == "SUBSCRIBE":
            self.confirmed.update(names)
        else:
            self.confirmed.difference_update(names)

    async def _ask(self, method: str, names: Sequence[str]) -> object:
        self._sent.append(time.monotonic())
        number = next(self._number)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._answer = number, answer
        self._transport.send(msgspec.json.encode({"method": method, "params": list(names), "id": number}))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await answer
        except TimeoutError:
            msg = f"{method} of {shown_names(names)} was not answered within {REQUEST_TIMEOUT_S:g} s"
            raise VenueRequestError(msg, url="", status=None) from None
        finally:
            self._answer = None

    async def _until_allowed(self) -> None:
        """Wait until one more message in this second leaves room for a pong; several are spread over the second."""
        most = max(1, self._rules.messages_per_s - PONGS_RESERVED)
        while True:
            now = time.monotonic()
            recent = [at for at in self._sent if now - at < 1.0]
            allowed_at = recent[0] + 1.0 if len(recent) >= most else recent[-1] + 1.0 / most if len(recent) > 1 else now
            if allowed_at <= now:
                return
            await asyncio.sleep(allowed_at - now)

    def on_message(self, message: bytes) -> None:
        """Pass a frame on, or take an answer."""
        self.heard_at = time.monotonic()
        if message.startswith(HEAD):
            end = message.find(b'"', len(HEAD))
            self._on_frame(self, message[len(HEAD) : end].decode(errors="replace"), message)
        elif not self._take_answer(message):
            # Nothing that we know: the decoder counts what it is.
            self._on_frame(self, "", message)

    def on_ping(self) -> None:
        """Note a ping, which the transport answered."""
        self.pinged_at = time.monotonic()
        self._sent.append(self.pinged_at)

    def on_end(self, reason: str) -> None:
        """Fail what is under way, and pass the end on."""
        self.ended_because, self._is_over = reason, True
        self._fail(reason)
        self._on_end()

    def _take_answer(self, message: bytes) -> bool:
        try:
            answer = msgspec.json.decode(message)
        except msgspec.DecodeError:
            return False
        if not isinstance(answer, dict) or not {"result", "error", "code"} & answer.keys():
            return False
        number = answer.get("id")
        if self._answer is not None and not self._answer[1].done() and number in (self._answer[0], None):
            if "result" in answer:
                self._answer[1].set_result(answer["result"])
            else:
                refusal = answer.get("error", answer)
                code = refusal.get("code", 0) if isinstance(refusal, dict) else 0
                msg = f"the venue refused a request: {refusal}"
                self._answer[1].set_exception(VenueRequestError(msg, url="", status=code))
        return True

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer[1].done():
            self._answer[1].set_exception(VenueRequestError(f"a request had no answer: {reason}", url="", status=None))


def shown_names(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""PolledStreams: what a market says only by REST, asked for on a schedule and passed on as frames.

::

    openInterest@30s ─▶ GET openInterest ─▶ {"stream": "btcusdt@openInterest@30s", "data": {…}}
    fundingRate@5m ───▶ GET fundingRate ──▶ the newest settled one

Guarantees: one request of a stream at a time; a failure is passed on and the next turn tries again.
Does not: limit requests; the weight budget does.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from headrace.errors import OptionError, VenueRequestError
from headrace.market.checks import duration_ns, nearest
from headrace.venues.binance.rules import StreamName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.venues.binance.rest import RestClient

__all__ = ["PolledStreams", "StreamOwner", "is_polled"]


class _Endpoint(NamedTuple):
    """Where a kind of stream comes from. every : by default. query : beside the symbol."""

    every: str
    query: dict[str, int]


ENDPOINTS = {"openInterest": _Endpoint("30s", {}), "fundingRate": _Endpoint("5m", {"limit": 1})}
# Of a turn, at random, so that many symbols are not asked for at once.
SPREAD = 0.2


class StreamOwner(Protocol):
    """Receives what polled streams bring."""

    def on_polled(self, name: str, message: bytes) -> None:
        """Receive a frame."""

    def on_poll_failed(self, name: str, problem: str) -> None:
        """Note that a request failed."""


def is_polled(stream: str) -> bool:
    """Return whether a stream, such as ``"openInterest@30s"``, comes by REST."""
    return stream.partition("@")[0] in ENDPOINTS


class PolledStreams:
    """The polled streams of one feed. streams : names, such as ``"btcusdt@openInterest@30s"``.

    Raises OptionError: the interval is none, or too short.
    """

    def __init__(self, rest: RestClient, owner: StreamOwner, streams: Iterable[str]) -> None:
        self._rest = rest
        self._owner = owner
        self._turns: dict[str, tuple[StreamName, float]] = {}
        for name in streams:
            stream = StreamName.parse(name)
            every_ns = duration_ns("streams", stream.interval or ENDPOINTS[stream.kind].every)
            if every_ns < 1_000_000_000:
                msg = f"{name} is polled too often: an interval is 1s or longer{nearest(stream.kind, ENDPOINTS)}"
                raise OptionError(msg, option="streams")
            self._turns[name] = stream, every_ns / 1e9

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, (stream, every_s) in self._turns.items():
                tasks.create_task(self._poll(name, stream, every_s), name=f"headrace-poll-{name}")

    async def _poll(self, name: str, stream: StreamName, every_s: float) -> None:
        endpoint = ENDPOINTS[stream.kind]
        while True:
            try:
                body = await self._rest.get(stream.kind, symbol=stream.symbol.upper(), **endpoint.query)
                for row in _objects(body):
                    data = b'{"stream":%b,"data":%b}' % (msgspec.json.encode(name), row)
                    self._owner.on_polled(name, data)
            except (VenueRequestError, msgspec.DecodeError) as error:
                self._owner.on_poll_failed(name, str(error))
            await asyncio.sleep(every_s * random.uniform(1 - SPREAD, 1))


def _objects(body: bytes) -> list[msgspec.Raw]:
    """Return the object of an answer, or those of a list. Raises DecodeError."""
    if body.lstrip().startswith(b"["):
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    return [msgspec.json.decode(body, type=msgspec.Raw)]

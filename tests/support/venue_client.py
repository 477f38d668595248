"""A bare client of a simulated venue: what it receives is compared with what the venue was given."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp

from headrace.feeds import SyntheticFeed
from headrace.venues.binance.rules import rules_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.venues import SimulatedVenue

ALL = ("bookTicker", "trade", "aggTrade", "depth@100ms")


def market(frames: int = 2_000, **options: Any) -> SyntheticFeed:
    return SyntheticFeed("BTCUSDT", frames=frames, **options)


def frames_of(feed: SyntheticFeed, kind: str) -> list[dict[str, Any]]:
    """What the venue was given of one kind of stream, in order."""
    rows = [json.loads(line.partition(b" ")[2]) for line in feed.lines()]
    return [row["data"] for row in rows if row.get("stream", "").split("@")[1:2] == [kind]]


class Client:
    """One connection to one market."""

    def __init__(self, session: aiohttp.ClientSession, venue: SimulatedVenue, name: str) -> None:
        self._session = session
        self._venue = venue
        self._addresses = venue.addresses[name]
        self._rules = rules_of(name)
        self.frames: dict[str, list[Any]] = {}

    @asynccontextmanager
    async def socket(self, path: str = "/stream", **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self._session.ws_connect(self._addresses["ws"] + path, max_msg_size=0, **options) as socket:
            yield socket

    async def collect(self, *kinds: str, path: str = "/stream", symbol: str = "btcusdt") -> dict[str, list[Any]]:
        """Subscribe, and receive until the venue has sent all or the connection ends."""
        async with self.socket(path) as socket:
            names = [f"{symbol}@{kind}" for kind in kinds or ALL]
            await socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
            while True:
                try:
                    message = await asyncio.wait_for(socket.receive(), 0.05)
                except TimeoutError:
                    if self._venue.stats().has_ended:
                        break
                    continue
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.frames.setdefault("ended", []).append(message.type)
                    break
                self._keep(message.data)
        return self.frames

    def _keep(self, text: str) -> None:
        try:
            row = json.loads(text)
        except ValueError:
            self.frames.setdefault("unreadable", []).append(text)
            return
        if "stream" in row:
            self.frames.setdefault(row["stream"].split("@")[1], []).append(row["data"])
        else:
            self.frames.setdefault("answers", []).append(row)

    async def get(self, name: str, **query: object) -> tuple[int, Any, dict[str, str]]:
        address = f"{self._addresses['rest']}{self._rules.rest}/{name}"
        async with self._session.get(address, params={key: str(value) for key, value in query.items()}) as answer:
            return answer.status, await answer.json(), dict(answer.headers)

    async def signed(self, method: str, name: str, *, secret: str = "test-secret", **query: object) -> tuple[int, Any]:
        text = urlencode({**query, "timestamp": time.time_ns() // 1_000_000})
        signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        address = f"{self._addresses['rest']}{self._rules.rest}/{name}?{text}&signature={signature}"
        async with self._session.request(method, address, headers={"X-MBX-APIKEY": "test-key"}) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def client_of(venue: SimulatedVenue, name: str = "BINANCE") -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, venue, name)

"""Requests over a web socket: each ends, whatever the venue answers, and what waits for a dead one is discarded."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from headrace.errors import VenueRequestError
from headrace.venues.binance import connection
from headrace.venues.binance.connection import Connection
from headrace.venues.binance.rules import rules_of
from headrace.venues.binance.transport import new_transport
from tests.support.web_socket import Server

pytestmark = pytest.mark.asyncio


async def answered_by(script, request):
    """Open a connection to a server that follows a script, and make a request."""
    async with Server(script, path="/stream") as url:
        own = Connection(rules_of("BINANCE"), new_transport(), lambda *_: None, lambda: None)
        await own.open(url.removesuffix("/stream"))
        try:
            await request(own)
        finally:
            await own.close()


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}},
        {"code": 2, "msg": "Invalid request: missing field `method`"},
        {"error": {"code": 2, "msg": "unknown"}, "id": None},
    ],
)
async def test_a_refusal_without_an_id_ends_the_request_at_once(answer):
    async def refuse(socket, _request):
        async for _ in socket:
            await socket.send_json(answer)

    began = time.monotonic()
    with pytest.raises(VenueRequestError, match="refused"):
        await answered_by(refuse, lambda own: own.request(lambda: ("SUBSCRIBE", ["btcusdt@trade"])))
    assert time.monotonic() - began < connection.REQUEST_TIMEOUT_S / 2


async def test_a_request_without_an_answer_ends_in_time(monkeypatch):
    async def ignore(socket, _request):
        async for _ in socket:
            pass

    assert connection.REQUEST_TIMEOUT_S <= 5.0
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT_S", 0.2)
    with pytest.raises(VenueRequestError, match="not answered within"):
        await answered_by(ignore, lambda own: own.request(lambda: ("SUBSCRIBE", ["btcusdt@trade"])))


async def test_an_answer_of_another_request_ends_none():
    async def answer(socket, _request):
        async for message in socket:
            number = json.loads(message.data)["id"]
            await socket.send_json({"result": ["stale@trade"], "id": number + 7})
            await asyncio.sleep(0.05)
            await socket.send_json({"result": ["btcusdt@trade"], "id": number})

    async def ask(own):
        assert await own.list_streams() == ["btcusdt@trade"]

    await answered_by(answer, ask)

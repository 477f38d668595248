"""What a client of the simulated venue receives, and how the venue treats it, over real sockets."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from headrace.errors import OptionError
from headrace.venues import SimulatedVenue
from tests.support.venue_client import client_of, frames_of, market

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("kind", ["bookTicker", "trade", "aggTrade", "depth"])
async def test_every_frame_arrives_once_and_in_order(kind):
    feed = market()
    async with SimulatedVenue(feed) as venue, client_of(venue) as client:
        received = await client.collect(kind)
    assert received[kind] == frames_of(feed, kind)


async def test_the_clock_starts_with_the_first_subscription():
    async with SimulatedVenue(market()) as venue, client_of(venue) as client:
        async with client.socket():
            await asyncio.sleep(0.05)
            assert venue.stats().frames == 0
        await client.collect("trade")
        await venue.ended()
        assert venue.stats().frames == 2_000


async def test_streams_in_the_address_need_no_request():
    feed = market()
    async with SimulatedVenue(feed) as venue, client_of(venue) as client:
        async with client.socket("/ws/btcusdt@trade") as socket:
            first = await socket.receive_json()
    assert first == frames_of(feed, "trade")[0]


async def test_requests_are_answered_as_documented():
    async with SimulatedVenue(market(), speed=1) as venue, client_of(venue) as client, client.socket("/ws") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1w", "x@trade"], "id": 7})
        assert await socket.receive_json() == {"result": None, "id": 7}
        await socket.send_json({"method": "UNSUBSCRIBE", "params": ["x@trade"], "id": 8})
        assert await socket.receive_json() == {"result": None, "id": 8}
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 9})
        assert await socket.receive_json() == {"result": ["btcusdt@kline_1w"], "id": 9}
        await socket.send_str("{")
        assert "id" not in (answer := await socket.receive_json())
        assert answer["error"]["code"] == 3
        await asyncio.sleep(1)
        await socket.send_json({"method": "subscribe", "params": [], "id": 10})
        assert (await socket.receive_json())["error"]["code"] == 2


@pytest.mark.parametrize(("path", "kinds"), [("/public", {"bookTicker", "depth", "trade"}), ("/market", {"aggTrade"})])
async def test_a_stream_on_the_wrong_route_never_comes(path, kinds):
    feed = market(venue="BINANCE_USDM")
    async with SimulatedVenue(feed) as venue, client_of(venue, "BINANCE_USDM") as client:
        received = await client.collect(path=f"{path}/stream")
    assert received.pop("answers") == [{"result": None, "id": 1}]
    assert set(received) == kinds


async def test_a_client_without_pongs_is_cut():
    limits = {"ping_every_s": 0.05, "pong_within_s": 0.05}
    async with SimulatedVenue(market(), limits=limits) as venue, client_of(venue) as client:
        async with client.socket("/ws", autoping=False) as socket:
            assert (await socket.receive()).type is aiohttp.WSMsgType.PING
            while (message := await socket.receive()).type is aiohttp.WSMsgType.PING:
                pass
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_a_client_with_pongs_stays():
    limits = {"ping_every_s": 0.05, "pong_within_s": 0.05, "messages_per_s": 50}
    async with SimulatedVenue(market(), limits=limits) as venue, client_of(venue) as client:
        async with client.socket("/ws") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.receive(), 0.4)
            assert venue.stats().connections == 1


async def test_too_many_messages_in_a_second_end_a_connection():
    async with SimulatedVenue(market()) as venue, client_of(venue) as client, client.socket("/ws") as socket:
        for number in range(6):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            assert message.json()["id"] < 5
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_a_connection_ends_after_its_life():
    async with SimulatedVenue(market(), limits={"life_s": 0.1}) as venue, client_of(venue) as client:
        async with client.socket("/ws") as socket:
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_connections_and_streams_are_limited():
    limits = {"connects_max": 2, "streams_max": 2}
    async with SimulatedVenue(market(), limits=limits) as venue, client_of(venue) as client:
        async with client.socket("/ws") as socket:
            await socket.send_json({"method": "SUBSCRIBE", "params": ["a@trade", "b@trade", "c@trade"], "id": 1})
            assert (await socket.receive_json())["error"]["code"] == 2
        async with client.socket("/ws"):
            pass
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            async with client.socket("/ws"):
                pass


async def test_candles_marks_and_partial_books_are_made():
    feed = market(20_000, venue="BINANCE_COINM")
    async with SimulatedVenue(feed) as venue, client_of(venue, "BINANCE_COINM") as client:
        received = await client.collect("kline_1s", "markPrice@1s", "forceOrder", "depth5", "trade")
    trades = received["trade"]
    candles = [row["k"] for row in received["kline_1s"] if row["k"]["x"]]
    for candle in candles:
        own = [trade for trade in trades if candle["f"] <= trade["t"] <= candle["l" if "l" not in candle else "L"]]
        assert candle["n"] == len(own)
        assert float(candle["h"]) == max(float(trade["p"]) for trade in own)
    assert candles
    assert received["markPrice"][0]["e"] == "markPriceUpdate"
    assert received["forceOrder"][0]["o"]["s"] == "BTCUSDT"
    assert len(received["depth5"][0]["bids"]) == 5


async def test_several_markets_are_merged_by_time():
    feeds = [market(500), market(500, venue="BINANCE_USDM")]
    async with SimulatedVenue(*feeds) as venue:
        assert sorted(venue.addresses) == ["BINANCE", "BINANCE_USDM"]
        async with client_of(venue) as spot, client_of(venue, "BINANCE_USDM") as usdm:
            first, second = await asyncio.gather(spot.collect("trade"), usdm.collect("trade", path="/public/stream"))
    assert first["trade"] == frames_of(feeds[0], "trade")
    assert second["trade"][-1] == frames_of(feeds[1], "trade")[-1]


async def test_a_finite_speed_takes_its_time():
    feed = market(400)
    lines = list(feed.lines())
    span_s = (int(lines[-1].split()[0]) - int(lines[0].split()[0])) / 1e9
    async with SimulatedVenue(feed, speed=4) as venue, client_of(venue) as client:
        began = asyncio.get_running_loop().time()
        collecting = asyncio.ensure_future(client.collect("trade"))
        await venue.ended()
        took_s = asyncio.get_running_loop().time() - began
        await collecting
    assert took_s >= span_s / 4


@pytest.mark.parametrize(
    "options", [{"speed": 0}, {"speed": "fast"}, {"limits": {"ping": 1}}, {"limits": {"life_s": "x"}}]
)
async def test_wrong_options_are_refused(options):
    with pytest.raises(OptionError):
        async with SimulatedVenue(market(10), **options):
            pass


async def test_a_venue_whose_port_is_taken_leaves_nothing_open():
    async with SimulatedVenue(market(10)) as venue:
        with pytest.raises(OptionError, match="take another one, or 0"):
            async with SimulatedVenue(market(10), port=venue.port):
                pass
    async with SimulatedVenue(market(10), port=venue.port) as next_one:
        assert next_one.port == venue.port


async def test_addresses_are_one_json_document():
    async with SimulatedVenue(market(10)) as venue:
        assert json.loads(json.dumps(venue.addresses))["BINANCE"]["ws"].startswith("ws://127.0.0.1:")

"""The simulated venue's REST answers: books, instruments, weights, and orders that are matched against its book."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from headrace.feeds import SyntheticFeed
from headrace.venues import Fault, SimulatedVenue
from tests.support.venue_client import client_of, market

pytestmark = pytest.mark.asyncio

BOOK = (100, [("99.99", "2.000"), ("99.98", "5.000")], [("100.01", "1.000"), ("100.02", "3.000")])


async def test_there_is_no_book_before_a_snapshot():
    async with SimulatedVenue(market(snapshot=False)) as venue, client_of(venue) as client:
        assert (await client.get("depth", symbol="BTCUSDT"))[0] == 503
        await client.collect("depth")
        assert (await client.get("depth", symbol="BTCUSDT"))[0] == 503
        venue.set_book("BTCUSDT.BINANCE", *BOOK)
        assert (await client.get("depth", symbol="BTCUSDT"))[0] == 200


async def test_a_snapshot_equals_the_book_of_its_depth_events():
    feed = market(20_000)
    async with SimulatedVenue(feed) as venue, client_of(venue) as client:
        received = await client.collect("bookTicker", "depth")
        _, book, _ = await client.get("depth", symbol="BTCUSDT", limit=5_000)
    assert book["lastUpdateId"] == received["depth"][-1]["u"]
    best = [row for row in received["bookTicker"] if row["u"] <= book["lastUpdateId"]][-1]
    assert book["bids"][0] == [best["b"], best["B"]]
    assert book["asks"][0] == [best["a"], best["A"]]


async def test_a_snapshot_holds_fewer_levels_than_the_book():
    feed = SyntheticFeed("XYZUSDT", frames=2_000, levels=6_000)
    async with SimulatedVenue(feed) as venue, client_of(venue) as client:
        await client.collect("depth", symbol="xyzusdt")
        _, book, _ = await client.get("depth", symbol="XYZUSDT", limit=5_000)
        assert len(book["bids"]) == len(book["asks"]) == 5_000


async def test_the_weight_of_a_minute_is_limited():
    async with SimulatedVenue(market(), limits={"weight_max": 20}) as venue, client_of(venue) as client:
        statuses = []
        for _ in range(20):
            status, _, headers = await client.get("depth", symbol="BTCUSDT")
            statuses.append(status)
    assert statuses[:4] == [503] * 4
    assert statuses[4:14] == [429] * 10
    assert statuses[14:] == [418] * 6
    assert int(headers["Retry-After"]) > 60


async def test_a_new_minute_begins_with_no_weight():
    async with SimulatedVenue(market(), limits={"weight_max": 5, "minute_s": 0.3}) as venue, client_of(venue) as client:
        while (await client.get("ping"))[0] != 429:
            pass
        await asyncio.sleep(0.3)
        assert (await client.get("ping"))[0] == 200


async def test_instruments_list_their_steps_and_contracts():
    feed = market(venue="BINANCE_COINM")
    async with SimulatedVenue(feed) as venue, client_of(venue, "BINANCE_COINM") as client:
        _, info, _ = await client.get("exchangeInfo")
    (row,) = info["symbols"]
    assert row["filters"][0]["tickSize"] == "0.01"
    assert info["rateLimits"][0]["limit"] == 2_400


async def test_stale_and_late_snapshots_come_on_demand():
    faults = [
        Fault(kind="stale_snapshot", at_frame=500, for_s=60),
        Fault(kind="late_snapshot", at_frame=500, for_s=0.2),
    ]
    async with SimulatedVenue(market(4_000), faults=faults) as venue, client_of(venue) as client:
        received = await client.collect("depth")
        began = asyncio.get_running_loop().time()
        _, book, _ = await client.get("depth", symbol="BTCUSDT")
        assert asyncio.get_running_loop().time() - began < 60
    assert book["lastUpdateId"] < received["depth"][-1]["u"]


async def test_the_history_of_trades_begins_at_an_id():
    async with SimulatedVenue(market()) as venue, client_of(venue) as client:
        received = await client.collect("trade", "aggTrade")
        first = received["trade"][5]["t"]
        _, rows, _ = await client.get("historicalTrades", symbol="BTCUSDT", fromId=first, limit=3)
        assert [row["id"] for row in rows] == [first, first + 1, first + 2]
        _, rows, _ = await client.get("aggTrades", symbol="BTCUSDT", fromId=received["aggTrade"][2]["a"], limit=1)
        assert rows[0] == {key: received["aggTrade"][2][key] for key in "apqflTm"}


async def order(client, **fields):
    return await client.signed("POST", "order", **{"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", **fields})


async def test_a_market_order_walks_the_book():
    async with (
        SimulatedVenue(market(snapshot=False), limits={"weight_max": 6_000}) as venue,
        client_of(venue) as client,
    ):
        venue.set_book("BTCUSDT.BINANCE", *BOOK)
        status, answer = await order(client, type="MARKET", quantity="2")
        assert (status, answer["status"], answer["executedQty"]) == (200, "FILLED", "2.000")
        assert answer["cummulativeQuoteQty"] == "200.03000"


async def test_a_resting_order_is_found_listed_and_canceled():
    async with SimulatedVenue(market(snapshot=False)) as venue, client_of(venue) as client:
        venue.set_book("BTCUSDT.BINANCE", *BOOK)
        _, made = await order(client, price="99", quantity="1", timeInForce="GTC", newClientOrderId="own-1")
        assert made["status"] == "NEW"
        assert (await order(client, price="98", quantity="1", timeInForce="GTC", newClientOrderId="own-1"))[1][
            "code"
        ] == -2010
        _, found = await client.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="own-1")
        assert found["orderId"] == made["orderId"]
        _, listed = await client.signed("GET", "openOrders", symbol="BTCUSDT")
        assert [row["clientOrderId"] for row in listed] == ["own-1"]
        _, ended = await client.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="own-1")
        assert ended["status"] == "CANCELED"
        assert (await client.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="own-1"))[1]["code"] == -2011


async def test_a_resting_order_fills_at_its_own_price():
    async with SimulatedVenue(market()) as venue, client_of(venue) as client:
        await client.get("ping")
        venue.set_book("BTCUSDT.BINANCE", 0, [("1.00", "1.0")], [("99999999.00", "1.0")])
        _, made = await order(client, price="90000", quantity="1", timeInForce="GTC")
        assert made["status"] == "NEW"
        await client.collect("bookTicker")
        _, found = await client.signed("GET", "order", symbol="BTCUSDT", orderId=made["orderId"])
        assert (found["status"], found["avgPrice"]) == ("FILLED", "90000")
        _, trades = await client.signed("GET", "myTrades", symbol="BTCUSDT")
        assert {row["isMaker"] for row in trades} == {True}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"price": "99.999", "quantity": "1", "timeInForce": "GTC"}, -1013),
        ({"price": "99", "quantity": "0", "timeInForce": "GTC"}, -1013),
        ({"price": "x", "quantity": "1", "timeInForce": "GTC"}, -1100),
        ({"price": "99", "quantity": "1"}, -1102),
        ({"type": "LIMIT_MAKER", "price": "101", "quantity": "1"}, -2010),
        ({"side": "buy", "price": "99", "quantity": "1", "timeInForce": "GTC"}, -1117),
        ({"symbol": "NONE", "price": "99", "quantity": "1", "timeInForce": "GTC"}, -1121),
    ],
)
async def test_a_wrong_order_has_the_venues_code(fields, code):
    async with SimulatedVenue(market(snapshot=False)) as venue, client_of(venue) as client:
        venue.set_book("BTCUSDT.BINANCE", *BOOK)
        status, answer = await order(client, **fields)
        assert (status, answer["code"]) == (400, code)


async def test_a_wrong_signature_is_refused():
    async with SimulatedVenue(market()) as venue, client_of(venue) as client:
        status, answer = await client.signed("GET", "openOrders", secret="wrong", symbol="BTCUSDT")
        assert (status, answer["code"]) == (400, -1022)


@pytest.mark.parametrize("size", [0, 20, 200])
async def test_an_answer_is_cut_and_the_order_stands(size):
    async with SimulatedVenue(market()) as venue, client_of(venue) as client:
        venue.inject(Fault(kind="cut_answer", at_s=0, for_s=0.3, size=size))
        venue.set_book("BTCUSDT.BINANCE", *BOOK)
        with pytest.raises((aiohttp.ClientError, ValueError)):
            await order(client, price="99", quantity="1", timeInForce="GTC", newClientOrderId="own-1")
        await asyncio.sleep(0.35)
        status, found = await client.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="own-1")
        assert (status, found["status"]) == (200, "NEW")


async def test_a_new_order_is_unseen_for_a_while():
    async with SimulatedVenue(market()) as venue, client_of(venue) as client:
        venue.inject(Fault(kind="unseen_orders", at_s=0, for_s=0.3))
        venue.set_book("BTCUSDT.BINANCE", *BOOK)
        await order(client, price="99", quantity="1", timeInForce="GTC", newClientOrderId="own-1")
        assert (await client.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="own-1"))[1]["code"] == -2013
        await asyncio.sleep(0.35)
        assert (await client.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="own-1"))[0] == 200

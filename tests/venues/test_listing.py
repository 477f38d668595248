"""What a venue lists reaches gates and events, at the start and at each change; a repetition has it at its place."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from aiohttp import web

from headrace import Engine, Instrument, SimulatedBroker, Strategy
from headrace.feeds import SyntheticFeed
from headrace.market.events import Control, Event, OrderEvent, OrderRejected
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.engines import LIMITS, all_events, until
from tests.support.venue_client import market

pytestmark = pytest.mark.asyncio

BTC = "BTCUSDT.BINANCE"
LOT = Decimal("0.001")


class Buyer(Strategy):
    """Buys at each tenth quote."""

    def __init__(self) -> None:
        self.quotes = 0
        self.events: list[OrderEvent] = []

    def on_quote(self, instrument: str) -> None:
        self.quotes += 1
        if self.quotes % 10 == 0:
            self.buy(instrument, LOT)

    def on_order(self, event: OrderEvent) -> None:
        self.events.append(event)

    @property
    def refused(self) -> list[str]:
        return [f"{own.gate}: {own.observed}" for own in self.events if isinstance(own, OrderRejected)]


def feed_of(venue: SimulatedVenue) -> BinanceFeed:
    addresses = venue.addresses["BINANCE"]
    return BinanceFeed("BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"], listing_every_s=0.1)


def listed_in(events: list[Event]) -> list[str]:
    return [event.detail["status"] for event in events if isinstance(event, Control) and event.name == "LISTED"]


async def test_a_halt_at_the_venue_refuses_orders_until_it_ends(tmp_path):
    buyer = Buyer()
    async with SimulatedVenue(market(100_000), speed=4) as venue:
        engine = Engine(
            feeds=[feed_of(venue)],
            strategies=[buyer],
            broker=SimulatedBroker(),
            limits=LIMITS,
            record=tmp_path / "recordings",
            dispatch_log=tmp_path / "run.log",
        )
        events = all_events(engine)
        async with engine:
            # Nothing was configured: steps and contract are the venue's.
            await until(lambda: len(buyer.events) > 3)
            assert engine.instruments[BTC].price_tick == Decimal("0.01")
            assert buyer.refused == []
            venue.set_status(BTC, "HALT")
            await until(lambda: bool(buyer.refused))
            assert set(buyer.refused) == {"instrument: HALT"}
            venue.set_status(BTC, "TRADING")
            await until(lambda: listed_in(events) == ["TRADING", "HALT", "TRADING"])
            count = len(buyer.refused)
            await until(lambda: buyer.quotes > 0 and len(buyer.events) > count * 2 + 20)
    live = list(buyer.events)
    (recording,) = (tmp_path / "recordings").iterdir()
    again = Buyer()
    repeated = Engine(
        feeds=[f"{recording}@BINANCE"],
        strategies=[again],
        broker=SimulatedBroker(),
        limits=LIMITS,
        mode="repeat",
        dispatch_log=tmp_path / "run.log",
    )
    report = await repeated.run_async()
    assert report.repeated is not None
    assert report.repeated.same, report.repeated.difference
    assert [type(event) for event in again.events] == [type(event) for event in live]


async def test_a_contracts_size_is_the_venues_own():
    """The venue lists 50 USD a contract; by its name it would be taken for 10."""
    steps = [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}, {"filterType": "LOT_SIZE", "stepSize": "1"}]
    row = {"symbol": "ETHUSD_PERP", "contractStatus": "TRADING", "marginAsset": "ETH", "contractSize": 50}

    async def info(_request: web.Request) -> web.Response:
        return web.json_response({"symbols": [{**row, "filters": steps}]})

    app = web.Application()
    app.router.add_get("/dapi/v1/exchangeInfo", info)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    feed = BinanceFeed(
        "BINANCE_COINM",
        ["ETHUSD_PERP"],
        url="ws://127.0.0.1:1",
        rest_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
    )
    await feed.open()
    (listed,) = feed.listings
    await feed.close()
    await runner.cleanup()
    assert Instrument("ETHUSD_PERP.BINANCE_COINM").size == 10
    assert (listed.instrument.size, listed.instrument.settles, listed.status) == (50, "ETH", "TRADING")
    assert listed.instrument.notional(Decimal(3), Decimal(2_000)) == 150


@pytest.mark.parametrize(("name", "symbol", "size"), [("BINANCE_COINM", "BTCUSD_PERP", 100), ("BINANCE", "BTCUSDT", 1)])
async def test_an_engine_has_the_contracts_that_its_venue_lists(name, symbol, size):
    async with SimulatedVenue(SyntheticFeed(symbol, venue=name, frames=4_000), speed=4) as venue:
        addresses = venue.addresses[name]
        feed = BinanceFeed(name, [symbol], url=addresses["ws"], rest_url=addresses["rest"])
        async with Engine(feeds=[feed], strategies=[Buyer()]) as engine:
            await until(lambda: feed.states.get(f"{symbol.lower()}@trade") == "UP")
            assert engine.instruments[f"{symbol}.{name}"].size == size


async def test_what_a_user_configured_comes_before_the_list():
    own = Instrument(BTC, price_tick=Decimal("0.5"), lot_size=Decimal("0.25"))
    async with SimulatedVenue(market(4_000), speed=4) as venue:
        engine = Engine(feeds=[feed_of(venue)], strategies=[Buyer()], instruments=[own], limits=LIMITS)
        async with engine:
            await asyncio.sleep(0.2)
            assert engine.instruments[BTC].price_tick == Decimal("0.5")
            assert engine.instruments[BTC].lot_size == Decimal("0.25")

"""BAR routes: the venue's candles are subscribed, and each bar that closed on the bus is an event of its route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

from headrace import BarSpec, Engine, Strategy
from headrace.commands import Subscribe, Unsubscribe
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalEvent, CanonicalType, Gateway
from headrace.market.events import Bar
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.engines import until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

BTC = "BTCUSDT.BINANCE"


class Candles(Strategy):
    """Takes the venue's candles of a minute."""

    bars: ClassVar[Sequence[object]] = (BarSpec(BTC, "1m", price="kline"),)

    def __init__(self) -> None:
        self.seen: list[Bar] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append(bar)


async def test_a_bar_route_carries_the_venues_candles_when_they_close() -> None:
    candles = Candles()
    # A minute of the market takes a second.
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=10**6), speed=60) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", [], url=addresses["ws"], rest_url=addresses["rest"])
        engine = Engine(feeds=[feed], strategies=[candles])
        gateway = Gateway(engine, [feed])
        events: list[CanonicalEvent] = []
        engine.bus.subscribe(CanonicalEvent, events.append, name="test events")
        async with engine:
            ack = await engine.commands.submit(Subscribe(CanonicalType.BAR, (BTC,)))
            assert ack.status == "accepted"
            assert venue.subscriptions == [["btcusdt@kline_1m"]]
            await until(lambda: len(events) >= 2, within_s=40.0)
            (flow,) = gateway.flows
            assert flow.counts.received == flow.counts.forwarded == len(events)
            ack = await engine.commands.submit(Unsubscribe(CanonicalType.BAR, (BTC,)))
            assert (ack.status, venue.subscriptions) == ("accepted", [[]])
    for event, bar in zip(events, candles.seen, strict=False):
        assert (event.canonical_type, event.instrument) == (CanonicalType.BAR, BTC)
        assert event.ts_init == event.payload["ts_close"] == bar.ts_close
        assert (event.payload["price"], event.payload["timeframe"]) == ("kline", "1m")
        names = ("open", "high", "low", "close", "volume", "count")
        assert [event.payload[name] for name in names] == [getattr(bar, name) for name in names]
    assert [event.key for event in events] == [f"{BTC}:bar:{number + 1}" for number in range(len(events))]

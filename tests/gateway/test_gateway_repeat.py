"""A live run with a gateway is repeated from its dispatch log, without the gateway, to the same decisions."""

from __future__ import annotations

import pytest

from headrace import Engine, Strategy
from headrace.commands import Subscribe
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalEvent, CanonicalType, Gateway
from headrace.market.events import Signal
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support.engines import until

pytestmark = pytest.mark.asyncio

BTC = "BTCUSDT.BINANCE"


class Signals(Strategy):
    """Signals on each hundredth quote."""

    def __init__(self) -> None:
        self.quotes = 0

    def on_quote(self, instrument: str, bid_price: float) -> None:
        self.quotes += 1
        if self.quotes % 100 == 0:
            self.signal(instrument, 1, price=bid_price)


async def test_a_run_with_routes_and_a_cut_is_repeated_to_the_same_decisions(tmp_path):
    market = SyntheticFeed("BTCUSDT", frames=40_000)
    cut = Fault(kind="cut", stream="*@trade", at_frame=50)
    async with SimulatedVenue(market, speed=4, faults=[cut]) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
        options = {"record": tmp_path / "record", "dispatch_log": tmp_path / "run.log"}
        engine = Engine(feeds=[feed], strategies=[Signals()], state_folder=tmp_path / "state", **options)
        Gateway(engine, [feed])
        events: list[CanonicalEvent] = []
        signals: list[Signal] = []
        engine.bus.subscribe(CanonicalEvent, events.append, name="test")
        engine.bus.subscribe(Signal, signals.append, name="test signals")
        async with engine:
            for kind in (CanonicalType.TRADE, CanonicalType.FUSED):
                assert (await engine.commands.submit(Subscribe(kind, (BTC,)))).status == "accepted"
            await until(lambda: venue.stats().connected == 2 and len(signals) > 5, within_s=20)
            await until(lambda: len({event.canonical_type for event in events}) == 2)
    recording = f"{next((tmp_path / 'record').iterdir())}@BINANCE"
    again = Engine(feeds=[recording], strategies=[Signals()], mode="repeat", dispatch_log=tmp_path / "run.log")
    report = await again.run_async()
    assert report.repeated is not None
    assert (report.repeated.same, report.repeated.difference) == (True, "")
    assert report.repeated.decisions == len(signals)

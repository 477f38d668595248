"""Fees of a real venue: each counts in the asset that it was paid in, and no money is lost in silence."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import pytest

from headrace import Engine, Instrument, Strategy
from headrace.errors import OptionError
from headrace.feeds import SyntheticFeed
from headrace.market.events import OrderFill, OtherFee, Status
from headrace.trading.brokers.binance import BinanceBroker
from headrace.trading.positions import Positions
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.engines import LIMITS, until
from tests.support.venue_client import client_of

pytestmark = pytest.mark.asyncio

BNB_PRICE = Decimal(600)
# Of the simulated venue.
RATE = Decimal("0.001")


class BuysAndSells(Strategy):
    """Buys once, and sells what it bought."""

    def __init__(self) -> None:
        self.fills: list[OrderFill] = []
        self._sent = 0

    def on_quote(self, instrument: str, bid_size: float, ask_size: float) -> None:
        if self._sent == 0 and ask_size > 0.01:
            self.buy(instrument, "0.001")
            self._sent = 1
        elif self._sent == 1 and self.position(instrument).quantity > 0 and bid_size > 0.01:
            # The rest of what a thin market did not fill is over.
            self.sell(instrument, self.position(instrument).quantity)
            self._sent = 2

    def on_fill(self, fill: OrderFill) -> None:
        self.fills.append(fill)

    @property
    def has_traded(self) -> bool:
        """Whether it has bought and sold."""
        return {fill.side for fill in self.fills} == {1, -1}


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_USDM"])
async def test_fees_in_a_third_asset_stand_in_its_balance(name: str, caplog: pytest.LogCaptureFixture) -> None:
    strategy, statuses = BuysAndSells(), list[Status]()
    source = SyntheticFeed("BTCUSDT", venue=name, frames=40_000)
    async with SimulatedVenue(source, speed=2, fee_asset=("BNB", BNB_PRICE)) as venue, client_of(venue, name) as client:
        addresses = venue.addresses[name]
        feed = BinanceFeed(name, ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
        broker = BinanceBroker(rest_url=addresses["rest"], api_key="test-key", secret="test-secret", venue=name)
        engine = Engine(feeds=[feed], strategies=[strategy], broker=broker, limits=LIMITS)
        engine.bus.subscribe(Status, statuses.append, name="test")
        with caplog.at_level(logging.WARNING):
            async with engine:
                await until(lambda: strategy.has_traded and not engine.orders.orders(open_only=True))
        _, trades = await client.signed("GET", "myTrades" if name == "BINANCE" else "userTrades", symbol="BTCUSDT")
    paid = sum((Decimal(trade["commission"]) for trade in trades), Decimal(0))
    assert paid > 0
    assert {trade["commissionAsset"] for trade in trades} == {"BNB"}
    report = engine.report()
    for balances in (report.totals, report.strategies["BuysAndSells"].totals):
        assert (balances["BNB"].fees, balances["BNB"].equity) == (paid, -paid)
        # No two currencies are added.
        assert balances["USDT"].fees == 0
    assert {fill.other_fee.currency for fill in strategy.fills if fill.other_fee is not None} == {"BNB"}
    assert "BNB" in str(report)
    # The first one is told, once.
    told = [status for status in statuses if status.subject == "fees in BNB"]
    assert [status.state for status in told] == ["not converted"]
    assert len([record for record in caplog.records if "fees in BNB are not converted" in record.getMessage()]) == 1


async def test_fees_in_two_other_assets_are_summed_apart() -> None:
    positions = Positions()
    for number, fee in enumerate([OtherFee("BNB", Decimal("0.1")), OtherFee("EUR", Decimal(2)), None]):
        positions.apply(_fill(number, other_fee=fee))
    positions.apply(_fill(3, other_fee=OtherFee("BNB", Decimal("0.02"))))
    (position,) = positions
    assert {own.currency: own.amount for own in position.other_fees} == {"BNB": Decimal("0.12"), "EUR": Decimal(2)}
    assert position.fees == Decimal(4)
    assert positions.currencies == ("USDT", "BNB", "EUR")


async def test_a_fee_in_the_coin_counts_at_its_price() -> None:
    strategy = BuysAndSells()
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=40_000), speed=2) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
        broker = BinanceBroker(rest_url=addresses["rest"], api_key="test-key", secret="test-secret")
        async with Engine(feeds=[feed], strategies=[strategy], broker=broker, limits=LIMITS):
            await until(lambda: strategy.has_traded)
    assert all(fill.fee == RATE * fill.quantity * fill.price for fill in strategy.fills)
    assert all(fill.other_fee is None for fill in strategy.fills)


async def test_an_instruments_own_settlement_currency_is_used() -> None:
    # Its symbol names no currency that is known.
    instrument = Instrument("BTCXYZ.BINANCE", settles="BNB")
    strategy = BuysAndSells()
    async with SimulatedVenue(SyntheticFeed("BTCXYZ", frames=40_000), speed=2, fee_asset=("BNB", 600)) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["BTCXYZ"], url=addresses["ws"], rest_url=addresses["rest"])
        broker = BinanceBroker(rest_url=addresses["rest"], api_key="test-key", secret="test-secret")
        engine = Engine(feeds=[feed], strategies=[strategy], broker=broker, limits=LIMITS, instruments=[instrument])
        async with engine:
            await until(lambda: strategy.has_traded)
    assert all(fill.fee > 0 and fill.other_fee is None for fill in strategy.fills)


@pytest.mark.parametrize("given", ["BNB", ("BNB",), ("BNB", 0), ("BNB", "x"), (1, 2), ("BNB", -1)])
async def test_a_wrong_fee_asset_is_refused(given: Any) -> None:
    with pytest.raises(OptionError, match="fee_asset"):
        SimulatedVenue(SyntheticFeed("BTCUSDT", frames=10), fee_asset=given)


def _fill(number: int, *, other_fee: OtherFee | None) -> OrderFill:
    return OrderFill(
        order_id="1",
        strategy="a",
        instrument="BTCUSDT.BINANCE",
        execution_id=str(number),
        side=1,
        quantity=Decimal(1),
        price=Decimal(100),
        fee=Decimal(1),
        filled=Decimal(1),
        left=Decimal(0),
        other_fee=other_fee,
    )

"""BinanceBroker as a broker of an engine, at the simulated venue: what is sent, and what is said of what is not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headrace import Engine, Strategy
from headrace.errors import OptionError, VenueRequestError
from headrace.feeds import SyntheticFeed
from headrace.market.events import OrderAccepted, OrderCanceled, OrderEvent, OrderFill, OrderFilled, OrderRejected
from headrace.trading.brokers.binance import BinanceBroker
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.engines import LIMITS, until
from tests.support.venue_client import client_of

pytestmark = pytest.mark.asyncio


class Sending(Strategy):
    """Sends one order, when there is something to take, at the best ask moved by ``away``."""

    def __init__(self, away: str, options: dict[str, Any]) -> None:
        self._away, self._options = Decimal(away), options
        self._has_sent = False
        self.events: list[OrderEvent] = []

    def on_quote(self, instrument: str, ask_price: float, ask_size: float) -> None:
        if not self._has_sent and ask_size > 0.01:
            self._has_sent = True
            price = Decimal(str(ask_price)) + self._away
            self.buy(instrument, self._options.pop("quantity", "0.01"), price=price, **self._options)

    def on_order(self, event: OrderEvent) -> None:
        self.events.append(event)

    def on_fill(self, fill: OrderFill) -> None:
        self.events.append(fill)


SENT: dict[str, tuple[str, dict[str, Any], list[type[OrderEvent]], str]] = {
    "an order that fits is filled": (
        "2000",
        {"time_in_force": "fok", "quantity": "0.001"},
        [OrderAccepted, OrderFilled],
        "",
    ),
    "fok that does not fit is canceled": (
        "5",
        {"time_in_force": "fok", "quantity": "15"},
        [OrderAccepted, OrderCanceled],
        "EXPIRED",
    ),
    "post_only rests": ("-5", {"post_only": True}, [OrderAccepted], ""),
    "post_only that would take is refused": ("5", {"post_only": True}, [OrderRejected], "immediately match and take"),
    "a stop stays with its strategy": ("5", {"stop": 70_000}, [OrderRejected], "keep the stop"),
}


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_USDM"])
@pytest.mark.parametrize("case", SENT)
async def test_what_the_venue_says_of_an_order_reaches_its_strategy(case: str, name: str) -> None:
    away, options, expected, reason = SENT[case]
    strategy = Sending(away, dict(options))
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", venue=name, frames=40_000), speed=2) as venue:
        addresses = venue.addresses[name]
        feed = BinanceFeed(name, ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
        broker = BinanceBroker(rest_url=addresses["rest"], api_key="test-key", secret="test-secret", venue=name)
        async with Engine(feeds=[feed], strategies=[strategy], broker=broker, limits=LIMITS):
            await until(lambda: len(decided(strategy)) == len(expected))
    assert [type(event) for event in decided(strategy)] == expected
    assert reason in str(getattr(decided(strategy)[-1], "reason", ""))


def decided(strategy: Sending) -> list[OrderEvent]:
    """What a venue or a broker said, behind the engine's own request."""
    said = (OrderAccepted, OrderCanceled, OrderFilled, OrderRejected)
    return [event for event in strategy.events if isinstance(event, said)]


@pytest.mark.parametrize("offset_s", [-90.0, -1.27, 1.27, 90.0])
async def test_orders_are_sent_by_the_venues_clock(offset_s: float, caplog: pytest.LogCaptureFixture) -> None:
    strategy = Sending("2000", {"time_in_force": "fok", "quantity": "0.001"})
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=40_000), speed=2, clock_offset_s=offset_s) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
        broker = BinanceBroker(rest_url=addresses["rest"], api_key="test-key", secret="test-secret")
        async with Engine(feeds=[feed], strategies=[strategy], broker=broker, limits=LIMITS):
            await until(lambda: len(decided(strategy)) == 2)
    assert [type(event) for event in decided(strategy)] == [OrderAccepted, OrderFilled]
    # A venue takes a time that is a little late.
    is_refused = offset_s != 1.27
    assert ("requests have its time from now on" in caplog.text) == is_refused


@pytest.mark.parametrize("market", ["BINANCE_USDM", "BINANCE_COINM"])
async def test_an_order_of_another_market_is_rejected_unsent(market: str) -> None:
    symbol = "BTCUSD_PERP" if market == "BINANCE_COINM" else "BTCUSDT"
    strategy = Sending("5", {"quantity": "1"})
    sources = [SyntheticFeed(symbol, venue=market, frames=40_000), SyntheticFeed("BTCUSDT", frames=40_000)]
    async with SimulatedVenue(*sources, speed=2) as venue:
        of_market, spot = venue.addresses[market], venue.addresses["BINANCE"]
        feed = BinanceFeed(market, [symbol], url=of_market["ws"], rest_url=of_market["rest"])
        broker = BinanceBroker(rest_url=spot["rest"], api_key="test-key", secret="test-secret")
        async with Engine(feeds=[feed], strategies=[strategy], broker=broker, limits=LIMITS):
            await until(lambda: bool(decided(strategy)))
        (rejected,) = decided(strategy)
        assert isinstance(rejected, OrderRejected)
        assert (rejected.gate, rejected.threshold) == ("broker", "BINANCE")
        assert f"{symbol}.{market} is not traded there" in rejected.reason
        async with client_of(venue) as client:
            assert await client.signed("GET", "myTrades", symbol="BTCUSDT") == (200, [])
            assert await client.signed("GET", "openOrders") == (200, [])
        with pytest.raises(VenueRequestError, match="orders of its own venue alone"):
            broker.outcome("1", f"{symbol}.{market}")


async def test_a_broker_of_coin_m_is_refused() -> None:
    with pytest.raises(OptionError, match="use one of BINANCE, BINANCE_USDM"):
        BinanceBroker(rest_url="http://x", api_key="", secret="", venue="BINANCE_COINM")

"""Fill models for candles: which price, when, and in which order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from headrace import Strategy
from headrace.errors import OptionError
from headrace.feeds import CandleFeed
from headrace.market.events import Bar, OrderFill
from headrace.trading.brokers import FillModel, SimulatedBroker
from tests.support.candles import MINUTE, Trader, candles, flat, replayed, walk
from tests.support.engines import START, market
from tests.support.feeding import BTC

D = Decimal
BUY: Any = (1, "1", {})
SELL: Any = (-1, "1", {})


def limit(side: int, price: float, quantity: str = "1", **more: Any) -> Any:
    return (side, quantity, {"price": str(price), **more})


# next_open


def test_market_order_fills_at_the_open_of_the_next_candle() -> None:
    trader = Trader({1: [BUY]})
    replayed(candles([(100, 101, 99, 100), (103, 105, 102, 104), (104, 104, 104, 104)]), trader)
    assert trader.trades == [(1, D(103))]
    # At the time of the open, before the candle is over.
    assert [fill.ts for fill in trader.fills] == [START + MINUTE]
    assert trader.log_of == ["bar 1", "fill 103.0", "bar 2", "bar 3"]
    quote = trader.fills[0].quote
    assert quote is not None
    assert (quote.kind, quote.first, quote.ts_init) == ("candle", 2, START + MINUTE)


def test_order_of_the_last_candle_stays_open() -> None:
    trader = Trader({2: [BUY]})
    report = replayed(candles(flat(100, 101)), trader)
    assert trader.fills == []
    # It is open until the run ends its strategy.
    assert report.strategies["Trader"].orders.canceled == 1


def test_order_skips_a_candle_that_opened_before_it() -> None:
    class Late(Trader):
        def on_start(self) -> None:
            self.set_timer("buy", at_ns=START + MINUTE + 1)

        def on_timer(self, timer: object) -> None:
            self.buy(BTC, "1")

    trader = Late()
    replayed(candles(flat(100, 101, 102)), trader)
    assert trader.trades == [(1, D(102))]


def test_resting_limit_fills_at_its_own_price_where_the_range_reaches_it() -> None:
    trader = Trader({1: [limit(1, 95), limit(1, 90), limit(-1, 110)]})
    replayed(candles([(100, 100, 100, 100), (100, 109, 95, 100), (100, 100, 94, 94)]), trader)
    assert trader.trades == [(1, D(95))]
    assert trader.fills[0].liquidity == "maker"
    assert trader.fills[0].ts == START + 2 * MINUTE


@pytest.mark.parametrize("fill", ["next_open", "path"])
@pytest.mark.parametrize("way", [{"price": "95"}, {"take_profit": "95"}, {"stop": "105"}])
def test_order_that_expires_at_a_close_fills_inside_of_that_candle(fill: str, way: dict[str, str]) -> None:
    trader = Trader({1: [(1, "1", {**way, "expires_after": "1m"})]})
    replayed(candles([(100, 100, 100, 100), (100, 105, 95, 100), (100, 105, 95, 100)]), trader, fill=fill)
    assert trader.trades == [(1, D(next(iter(way.values()))))]
    assert trader.fills[0].ts == START + 2 * MINUTE


@pytest.mark.parametrize("wait", ["1m", "119s"])
def test_order_that_expires_before_the_close_fills_at_no_price_of_that_candle(wait: str) -> None:
    trader = Trader({1: [(1, "1", {"price": "95", "expires_after": wait})]})
    report = replayed(candles([(100, 100, 100, 100), (100, 105, 99, 100), (100, 105, 95, 100)]), trader)
    assert trader.trades == []
    assert report.strategies["Trader"].orders.expired == 1


def test_cancel_that_arrives_at_a_close_comes_after_the_fills_of_that_candle() -> None:
    class Canceling(Trader):
        bought = ""

        def on_bar(self, bar: Bar) -> None:
            super().on_bar(bar)
            if len(self.seen) == 2:
                self.cancel(self.bought)
            elif len(self.seen) == 1:
                self.bought = self.buy(BTC, "1", price="95")

    trader = Canceling()
    prices = [*flat(100, 100, 100), (100.0, 100.0, 95.0, 100.0), *flat(100)]
    replayed(candles(prices), trader, broker=SimulatedBroker(latency_ns=2 * MINUTE))
    assert trader.trades == [(1, D(95))]


def test_limit_that_the_open_crosses_fills_at_the_open() -> None:
    trader = Trader({1: [limit(1, 105)]})
    replayed(candles([(100, 100, 100, 100), (102, 110, 90, 100)]), trader)
    assert trader.trades == [(1, D(102))]
    assert trader.fills[0].liquidity == "taker"


def test_order_made_at_a_fill_meets_the_same_candle() -> None:
    class Protected(Trader):
        def on_fill(self, fill: OrderFill) -> None:
            super().on_fill(fill)
            if fill.side > 0:
                self.sell(BTC, "1", price="105")

    trader = Protected({1: [BUY]})
    replayed(candles([(100, 100, 100, 100), (100, 106, 99, 101), (101, 101, 101, 101)]), trader)
    assert trader.trades == [(1, D(100)), (-1, D(105))]


def test_latency_moves_an_order_to_a_later_open() -> None:
    trader = Trader({1: [BUY]})
    replayed(candles(flat(100, 101, 102)), trader, broker=SimulatedBroker(latency_ns=1))
    assert trader.trades == [(1, D(102))]


def test_slippage_makes_the_open_worse() -> None:
    trader = Trader({1: [BUY, SELL]})
    replayed(candles(flat(100, 100, 100)), trader, broker=SimulatedBroker(slippage_ticks=3))
    assert sorted(trader.trades) == [(-1, D("99.97")), (1, D("100.03"))]


# close_slip


def test_close_slip_fills_at_the_close_that_was_seen() -> None:
    trader = Trader({1: [BUY], 2: [SELL]})
    broker = SimulatedBroker(fill="close_slip", slippage_bps=100)
    replayed(candles([(90, 110, 90, 100), (103, 200, 50, 120), (1, 1, 1, 1)]), trader, broker=broker)
    assert trader.trades == [(1, D("101.00")), (-1, D("118.80"))]
    assert [fill.ts for fill in trader.fills] == [START + MINUTE, START + 2 * MINUTE]


def test_close_slip_fills_an_order_between_closes_at_the_next_close() -> None:
    class Late(Trader):
        def on_start(self) -> None:
            self.set_timer("buy", at_ns=START + MINUTE + 1)

        def on_timer(self, timer: object) -> None:
            self.buy(BTC, "1")

    trader = Late()
    replayed(candles([(100, 100, 100, 100), (90, 110, 90, 105), (1, 1, 1, 1)]), trader, fill="close_slip")
    assert trader.trades == [(1, D(105))]


# path


@pytest.mark.parametrize(("side", "sequence"), [(1, [95, 105]), (-1, [105, 95])])
def test_path_meets_the_worse_extreme_first(side: int, sequence: list[int]) -> None:
    """Limits on both sides: while long, the low comes first; while short, the high."""
    trader = Trader({1: [(side, "1", {})], 2: [limit(1, 95, "0.5"), limit(-1, 105, "0.5")]})
    replayed(candles([*flat(100, 100), (100, 106, 94, 100)]), trader, fill="path")
    assert [int(price) for _, price in trader.trades[1:]] == sequence


def test_path_fills_the_limit_nearer_to_the_open_first() -> None:
    trader = Trader({1: [limit(1, 95), limit(1, 97), limit(1, 95, "2")]})
    replayed(candles([*flat(100), (100, 101, 90, 100)]), trader, fill="path")
    assert [(fill.price, fill.quantity) for fill in trader.fills] == [(D(97), D(1)), (D(95), D(1)), (D(95), D(2))]


# Which model


def test_instrument_with_quotes_fills_from_them_in_spite_of_candles() -> None:
    trader = Trader({1: [BUY]})
    feeds = [market([99.0] * 1_300, start_ns=START - MINUTE // 6)]
    from headrace.feeds import CandleFeed

    replayed([*feeds, CandleFeed(candles(flat(50, 50)), instrument=BTC)], trader)
    assert trader.trades == [(1, D(100))]


def test_model_that_sees_only_candles_rejects_an_instrument_without() -> None:
    class Buyer(Strategy):
        def __init__(self) -> None:
            self.reasons: list[str] = []

        def on_quote(self, instrument: str) -> None:
            if not self.reasons:
                self.buy(instrument, "1")

        def on_order(self, event: Any) -> None:
            self.reasons.append(getattr(event, "reason", ""))

    buyer = Buyer()
    replayed([market([99.0, 99.0])], buyer, fill="next_open")
    assert any("fills from candles" in reason for reason in buyer.reasons)


@pytest.mark.parametrize("model", ["quote", "trade_through", "queue", "book_walk"])
def test_model_that_sees_no_candles_rejects_an_instrument_that_has_nothing_else(model: str) -> None:
    trader = Trader({1: [(1, "1", {})]})
    report = replayed(candles(walk(5)), trader, fill=model)
    assert report.strategies["Trader"].orders.rejected == 1
    assert not trader.fills
    # Where there are quotes, too, it fills from these.
    quotes = market([99.0] * 5, every_ns=MINUTE)
    trader = Trader({1: [(1, "1", {})]})
    replayed([CandleFeed(candles(walk(5)), instrument=BTC), quotes], trader, fill=model)
    assert trader.fills


def test_model_rejects_order_types_that_it_cannot_simulate() -> None:
    class OnlyMarket(FillModel):
        name = "only_market"
        sees = frozenset({"candle"})
        order_types = frozenset({"market"})

    trader = Trader({1: [limit(1, 99), BUY]})
    report = replayed(candles(flat(100, 100, 100)), trader, fill=OnlyMarket())
    orders = report.strategies["Trader"].orders
    assert (orders.submitted, orders.rejected, orders.canceled) == (2, 1, 1)


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean next_open"):
        SimulatedBroker(fill="nextopen")
    with pytest.raises(OptionError):
        SimulatedBroker(fill=3)  # type: ignore[arg-type]


# The law, on random candles


class Random(Strategy):
    """Orders at random, and keeps what it knew at each order."""

    bars = ("1m",)

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.last: Bar | None = None
        self.known: dict[str, Bar] = {}
        self.fills: list[OrderFill] = []

    def on_bar(self, bar: Bar) -> None:
        self.last = bar
        roll = self.rng.random()
        if roll < 0.5:
            side = 1 if roll < 0.25 else -1
            price = None if roll % 0.1 < 0.05 else round(bar.close * (1 + self.rng.normal(0, 0.003)), 2)
            order = (self.buy if side > 0 else self.sell)(bar.instrument, "0.1", price=price)
            self.known[order] = bar

    def on_fill(self, fill: OrderFill) -> None:
        self.fills.append(fill)


@pytest.mark.parametrize("fill", ["next_open", "path", "close_slip"])
def test_every_fill_is_at_a_price_that_its_candle_had(fill: str) -> None:
    prices = walk(400)
    each = candles(prices)
    trader = Random(7)
    replayed(each, trader, fill=fill)
    assert len(trader.fills) > 50
    for own in trader.fills:
        assert own.quote is not None
        seen = each[own.quote.first - 1]
        assert seen["low"] <= float(own.price) <= seen["high"]
        decided = trader.known[own.order_id]
        assert decided.cause is not None
        if fill == "close_slip":
            assert own.quote.first >= decided.cause.first
        else:
            assert own.quote.first > decided.cause.first

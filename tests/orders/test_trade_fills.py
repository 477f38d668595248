"""Fill models of trades and books, a share of the volume, latencies and tiers of fees."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import Book, Strategy
from headrace.errors import OptionError
from headrace.feeds import SyntheticFeed
from headrace.market.events import OrderFill
from headrace.market.instrument import Instrument
from headrace.trading.brokers import Fees, FeeTiers, FileLatency, NormalLatency, SimulatedBroker
from headrace.trading.orders import OrderState
from tests.support.candles import MINUTE, Trader, candles, flat, replayed
from tests.support.engines import START
from tests.support.feeding import BTC, ETH, trades
from tests.support.trading import Desk, S, simulated

D = Decimal
BUY: Any = (1, "1", {})
SELLER, BUYER = -1, 1


def desk_of(fill: Any, **options: Any) -> Desk:
    desk = simulated(fill=fill, **options)
    desk.quote(100.0, 101.0, at_ns=S)
    return desk


def trade(desk: Desk, price: float, size: float, side: int, *, instrument: str = BTC, kind: str = "trade") -> None:
    """Publish a trade a millisecond later. side : of its aggressor."""
    desk.clock.at_ns += 1_000_000
    made = trades(desk.dispatcher, [price], instrument=instrument, ts_init=desk.clock.at_ns, size=size)
    made["side"] = side
    if kind == "agg_trade":
        made["kind"] = headrace.ticks(instrument=BTC, ts_init=[S], kind="agg_trade", price=1.0, size=1.0)["kind"][0]
    desk.dispatcher.publish(made)
    desk.turn()


def sizes(desk: Desk) -> list[Decimal]:
    return [fill.quantity for fill in desk.of(OrderFill)]


def resting(desk: Desk, quantity: Any, *, price: Any = 100, bid_size: float = 1.0, side: int = 1) -> str:
    """A limit that has come to rest."""
    order = desk.ask(side, quantity, price=price)
    desk.quote(100.0, 101.0, bid_size=bid_size, ask_size=bid_size)
    assert desk.order(order).state is OrderState.ACCEPTED
    return order


# queue


def test_order_fills_behind_the_queue_that_was_ahead() -> None:
    desk = desk_of("queue")
    order = resting(desk, 3)
    for _ in range(3):
        trade(desk, 100.0, 2.0, SELLER)
    assert sizes(desk) == [1, 2]
    assert [fill.price for fill in desk.of(OrderFill)] == [100, 100]
    assert {fill.liquidity for fill in desk.of(OrderFill)} == {"maker"}
    assert desk.order(order).state is OrderState.FILLED


def test_sell_order_fills_behind_its_queue() -> None:
    desk = desk_of("queue")
    resting(desk, 3, price=101, side=-1)
    for _ in range(3):
        trade(desk, 101.0, 2.0, BUYER)
    assert sizes(desk) == [1, 2]


@pytest.mark.parametrize("side", [BUYER, 0])
def test_trade_of_another_aggressor_takes_nothing_of_the_queue(side: int) -> None:
    desk = desk_of("queue")
    resting(desk, 3)
    trade(desk, 100.0, 50.0, side)
    assert sizes(desk) == []
    trade(desk, 100.0, 1.5, SELLER)
    assert sizes(desk) == [D("0.5")]


def test_trade_through_the_price_fills_in_spite_of_the_queue() -> None:
    desk = desk_of("queue")
    resting(desk, 3, bid_size=500.0)
    trade(desk, 99.5, 2.0, SELLER)
    assert sizes(desk) == [2]


def test_shown_size_bounds_the_queue() -> None:
    desk = desk_of("queue")
    resting(desk, 1, bid_size=9.0)
    desk.quote(100.0, 101.0, bid_size=1.0)
    desk.quote(100.0, 101.0, bid_size=30.0)
    trade(desk, 100.0, 1.5, SELLER)
    assert sizes(desk) == [D("0.5")]


def test_order_at_a_better_price_is_first() -> None:
    desk = desk_of("queue")
    resting(desk, 1, price="100.5", bid_size=9.0)
    trade(desk, 100.5, 0.4, SELLER)
    assert sizes(desk) == [D("0.4")]


def test_order_behind_the_best_price_joins_a_queue_when_that_is_the_best() -> None:
    desk = desk_of("queue")
    resting(desk, 1, price=98)
    desk.quote(98.0, 99.0, bid_size=5.0)
    trade(desk, 98.0, 5.5, SELLER)
    assert sizes(desk) == [D("0.5")]


def test_own_orders_take_of_a_trade_once_in_their_order() -> None:
    desk = desk_of("queue")
    first, second = desk.ask(1, 1, price=100), desk.ask(1, 2, price=100)
    desk.quote(100.0, 101.0, bid_size=1.0)
    trade(desk, 100.0, 2.5, SELLER)
    assert [(fill.order_id, fill.quantity) for fill in desk.of(OrderFill)] == [(first, D(1)), (second, D("0.5"))]


def test_quote_that_crosses_fills_a_shown_size_once() -> None:
    desk = desk_of("queue")
    resting(desk, 3)
    desk.quote(99.0, 100.0, ask_size=1.0)
    desk.quote(99.0, 100.0, ask_size=1.0)
    assert sizes(desk) == [1]
    desk.quote(99.0, 100.0, ask_size=1.5)
    assert sizes(desk) == [D(1), D("0.5")]


def test_shown_size_fills_two_takers_once() -> None:
    desk = desk_of("queue")
    desk.ask(1, 1)
    desk.ask(1, 1)
    desk.quote(100.0, 101.0, ask_size=1.5)
    desk.quote(100.0, 101.0, ask_size=1.5)
    assert sizes(desk) == [D(1), D("0.5")]
    desk.quote(100.0, 101.5, ask_size=1.5)
    assert sizes(desk) == [D(1), D("0.5"), D("0.5")]


def test_kind_of_trade_that_came_first_counts_alone() -> None:
    desk = desk_of("queue")
    resting(desk, 3)
    trade(desk, 100.0, 1.5, SELLER, kind="agg_trade")
    trade(desk, 100.0, 1.5, SELLER)
    assert sizes(desk) == [D("0.5")]


# trade_through


def test_resting_order_fills_only_when_a_trade_goes_through_it() -> None:
    desk = desk_of("trade_through")
    resting(desk, 3)
    trade(desk, 100.0, 50.0, SELLER)
    desk.quote(99.0, 100.0, ask_size=50.0)
    assert sizes(desk) == []
    trade(desk, 99.5, 1.0, BUYER)
    trade(desk, 99.0, 9.0, SELLER)
    assert [(fill.quantity, fill.price) for fill in desk.of(OrderFill)] == [(D(1), D(100)), (D(2), D(100))]


def test_trade_never_fills_an_order_that_came_after_it() -> None:
    desk = simulated(fill="trade_through", latency_ns=S)
    desk.quote(100.0, 101.0, at_ns=S)
    desk.ask(1, 1, price=100)
    trade(desk, 98.0, 9.0, SELLER)
    assert sizes(desk) == []


# book_walk


class Takes(Strategy):
    """Buys at one book event, and notes the asks of each."""

    def __init__(self, quantity: str, **options: Any) -> None:
        self.quantity = quantity
        self.options = options
        self.asks: dict[int, list[tuple[float, float]]] = {}
        self.fills: list[OrderFill] = []

    def on_book(self, instrument: str, book: Book, seq: int) -> None:
        prices, amounts = book.asks()
        self.asks[seq] = list(zip(prices.tolist(), amounts.tolist(), strict=True))
        if len(self.asks) == 5:
            self.buy(instrument, self.quantity, **self.options)

    def on_fill(self, fill: OrderFill) -> None:
        self.fills.append(fill)


def walked(recording: Path, quantity: str, **options: Any) -> Takes:
    takes = Takes(quantity, **options)
    headrace.backtest(takes, str(recording), fill="book_walk", cash="100000000USDT", fees=0)
    return takes


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(SyntheticFeed("BTCUSDT", frames=3_000).write(tmp_path_factory.mktemp("book") / "session.gz"))


def test_taker_walks_the_levels_of_the_book_each_at_its_price(recording: Path) -> None:
    takes = walked(recording, "3")
    first = takes.fills[0].quote
    assert first is not None
    own = [fill for fill in takes.fills if fill.quote == first]
    assert len(own) > 2
    levels = takes.asks[first.last]
    assert [(float(fill.price), float(fill.quantity)) for fill in own[:-1]] == levels[: len(own) - 1]
    assert float(own[-1].price) == levels[len(own) - 1][0]
    assert sum(fill.quantity for fill in takes.fills) == 3


def test_limit_ends_the_walk(recording: Path) -> None:
    whole = walked(recording, "3")
    limit = whole.fills[1].price
    takes = walked(recording, "3", price=limit, time_in_force="ioc")
    assert [fill.price for fill in takes.fills] == [fill.price for fill in whole.fills[:2]]


def test_fill_or_kill_counts_all_levels(recording: Path) -> None:
    every = walked(recording, "1000")
    known = sum(fill.quantity for fill in every.fills if fill.quote == every.fills[0].quote)
    assert sum(fill.quantity for fill in walked(recording, str(known), time_in_force="fok").fills) == known
    assert walked(recording, str(known + D("0.001")), time_in_force="fok").fills == []


# A share of the volume


@pytest.mark.parametrize("fill", ["next_open", "path"])
def test_orders_fill_a_share_of_each_candles_volume(fill: str) -> None:
    trader = Trader({1: [(1, "1.5", {})]})
    broker = SimulatedBroker(fill=fill, volume_share_max="0.1")
    replayed(candles([*flat(100), (101, 105, 100, 104), (102, 103, 101, 102)]), trader, broker=broker)
    # A volume of 10 in each candle, known at its close.
    assert [(own.quantity, own.price, own.ts) for own in trader.fills] == [
        *((D(1), D(101), START + 2 * MINUTE), (D("0.5"), D(102), START + 3 * MINUTE)),
    ]


def test_all_orders_of_a_candle_share_its_volume() -> None:
    trader = Trader({1: [(1, "0.7", {}), (1, "0.7", {"price": "99"}), (-1, "0.7", {"stop": "98"})]})
    broker = SimulatedBroker(fill="next_open", volume_share_max="0.1")
    replayed(candles([*flat(100), (100, 100, 97, 100), (100, 100, 97, 100)]), trader, broker=broker)
    assert [(own.side, own.quantity, own.price) for own in trader.fills[:2]] == [
        *((1, D("0.7"), D(100)), (-1, D("0.3"), D(98))),
    ]
    assert sum(own.quantity for own in trader.fills if own.ts == START + 3 * MINUTE) <= 1


@pytest.mark.parametrize("share", [0, "-0.1", "1.1", "nan", True])
def test_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(OptionError, match="volume_share_max"):
        SimulatedBroker(volume_share_max=share)


# Latency


def test_normal_latencies_follow_from_the_seed_for_each_instrument() -> None:
    def drawn(seed: int, *names: str) -> list[int]:
        latency = NormalLatency("5ms", "2ms", seed=seed)
        return [latency.delay_ns(name, 0) for name in names if name == BTC or latency.delay_ns(name, 0) >= 0]

    own = drawn(1, *[BTC] * 500)
    assert drawn(1, *[BTC, ETH] * 500)[::2] == own
    assert drawn(2, *[BTC] * 500) != own
    assert min(own) >= 0
    assert 4.7e6 < np.mean(own) < 5.3e6
    assert 1.7e6 < np.std(own) < 2.3e6


def test_later_message_never_overtakes_an_earlier_one() -> None:
    class Falls:
        def __init__(self) -> None:
            self.delays = [10 * S, S, S]

        def delay_ns(self, instrument: str, now_ns: int) -> int:
            return self.delays.pop(0)

    desk = simulated(latency_ns=Falls())
    desk.quote(100.0, 101.0, at_ns=S)
    order = desk.ask(1, 1)
    desk.orders.cancel(order)
    desk.drain()
    desk.quote(100.0, 101.0, at_ns=5 * S)
    assert desk.order(order).state is OrderState.PENDING_CANCEL
    desk.quote(100.0, 101.0, at_ns=11 * S)
    assert desk.order(order).state is OrderState.CANCELED


def test_measured_latency_is_the_newest_by_then(tmp_path: Path) -> None:
    file = tmp_path / "latency.csv"
    file.write_text(f"ts,latency_ns\n{2 * S},{3 * S}\n{4 * S},5\n")
    latency = FileLatency(file)
    assert [latency.delay_ns(BTC, at * S) for at in (0, 2, 3, 4, 9)] == [3 * S, 3 * S, 3 * S, 5, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ts,latency_ns\n", "has no latency"),
        ("ts,latency_ns\n5,1\n4,1\n", "line 3: ts 4 is before"),
        ("ts,latency_ns\n5,-1\n", "line 2"),
        ("time,delay\n5,1\n", "line 2"),
        ("ts,latency_ns\n5\n", "line 2"),
    ],
)
def test_wrong_file_of_latencies_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "latency.csv"
    file.write_text(text)
    with pytest.raises(OptionError, match=said):
        FileLatency(file)
    with pytest.raises(OptionError, match="cannot be read"):
        FileLatency(tmp_path / "none.csv")


def test_latency_by_instrument_and_venue() -> None:
    desk = simulated(latency_ns={BTC: 2 * S, "BINANCE": S})
    for name in (BTC, ETH):
        desk.quote(100.0, 101.0, at_ns=S, instrument=name)
        desk.ask(1, 1, instrument=name)
    for name in (BTC, ETH):
        desk.quote(100.0, 101.0, at_ns=2 * S, instrument=name)
    assert [fill.instrument for fill in desk.of(OrderFill)] == [ETH]
    desk.quote(100.0, 101.0, at_ns=3 * S, instrument=BTC)
    assert [fill.instrument for fill in desk.of(OrderFill)] == [ETH, BTC]


@pytest.mark.parametrize("latency", ["normal(5ms, 1ms)", {BTC: "normal(5ms,1ms)", "*": "1ms"}])
def test_backtest_with_drawn_latencies_repeats_by_its_seed(latency: Any, recording: Path) -> None:
    def run(seed: int) -> tuple[str | None, list[int]]:
        result = headrace.backtest(Takes("1"), str(recording), latency=latency, seed=seed, fees=0)
        return result.audit_hash, [fill.ts for fill in result.fills]

    assert run(1) == run(1)
    assert run(1)[1]


@pytest.mark.parametrize("latency", ["normal(5ms)", "normal(5ms, -1ms)", "normal(a, b)", "file(none.csv)", "-1ms"])
def test_wrong_latency_of_a_backtest_is_refused(latency: str, recording: Path) -> None:
    with pytest.raises(OptionError):
        headrace.backtest(Takes("1"), str(recording), latency=latency)


# Fill models by instrument


def test_each_instrument_has_its_own_model() -> None:
    desk = simulated(fill={ETH: "trade_through", "*": "quote"})
    for name in (BTC, ETH):
        desk.quote(100.0, 101.0, at_ns=S, instrument=name)
        desk.ask(1, 1, price=99, instrument=name)
        desk.quote(100.0, 101.0, instrument=name)
        desk.quote(97.0, 98.0, instrument=name)
    assert [fill.instrument for fill in desk.of(OrderFill)] == [BTC]
    trade(desk, 98.5, 9.0, SELLER, instrument=ETH)
    assert [fill.instrument for fill in desk.of(OrderFill)] == [BTC, ETH]


# Tiers of fees

DAY = 86_400 * S
TIERS = {
    0: Fees(D("0.001"), D("0.002")),
    1_000: Fees(D("0.0005"), D("0.001")),
    5_000: Fees(D("-0.0001"), D("0.0005")),
}


def test_tier_of_a_day_follows_from_the_days_before() -> None:
    tiers, traded = FeeTiers(TIERS, currency="USDT", days=2), Instrument(BTC)
    assert tiers.at(0).taker == D("0.002")
    tiers.count(traded, D(10), D(100), 0)
    assert tiers.at(1).taker == D("0.002")
    assert tiers.at(DAY).taker == D("0.001")
    tiers.count(traded, D(40), D(100), DAY + 5)
    assert tiers.at(2 * DAY).maker == D("-0.0001")
    assert tiers.at(3 * DAY).taker == D("0.001")
    assert tiers.at(4 * DAY).taker == D("0.002")


def test_volume_in_another_currency_does_not_count() -> None:
    tiers = FeeTiers(TIERS, currency="USDC")
    tiers.count(Instrument(BTC), D(1_000), D(100), 0)
    assert tiers.at(DAY).taker == D("0.002")


def test_fills_pay_the_fees_of_their_tier() -> None:
    desk = simulated(fees={"BINANCE": FeeTiers(TIERS, currency="USDT", days=1)})
    for day in (1, 2, 3):
        desk.quote(100.0, 100.0, at_ns=day * DAY)
        desk.ask(1, 10)
        desk.quote(100.0, 100.0, ask_size=50.0)
    assert [fill.fee for fill in desk.of(OrderFill)] == [D(2), D(1), D(1)]


@pytest.mark.parametrize("tiers", [{}, {5: Fees()}, {0: 1}, {"a": Fees()}, [(0, Fees())]])
def test_tiers_that_are_none_are_refused(tiers: Any) -> None:
    with pytest.raises(OptionError):
        FeeTiers(tiers, currency="USDT")

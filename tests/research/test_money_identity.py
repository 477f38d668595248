"""The money of whole backtests, recomputed in fractions: fees, rebates, funding, liquidations, candles and ticks.

Guarantees: the recomputation has the fills and the rates alone, with formulas of its own; amounts are compared per
currency within 10^-18 per fill, and every point of the curve within a cent.
Does not: check prices; the tests of the fill models do.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult, Strategy
from headrace.feeds import CandleFeed
from headrace.market.events import Bar
from headrace.trading.brokers import Fees
from headrace.trading.margin import Margin
from tests.support.backtests import HOUR, SECOND
from tests.support.candles import candles
from tests.support.engines import START

SESSIONS = 6
COUNT = 400
EVERY_NS = 180 * SECOND
TOLERANCE = Fraction(1, 10**18)
CENT = 0.01
# name -> contract, size and currency, said once more.
TRADED = {
    "BTCUSDT.BINANCE_USDM": ("direct", 1, "USDT"),
    "ETHUSDT.BINANCE_USDM": ("direct", 1, "USDT"),
    "LTCUSDT.BINANCE": ("spot", 1, "USDT"),
    "BTCUSD_PERP.BINANCE_COINM": ("inverse", 100, "BTC"),
}
DEPOSITS = {"USDT": Decimal(2_000), "BTC": Decimal(10)}
FEES = {
    "BINANCE": Fees(Decimal("0.0005"), Decimal("0.001")),
    "BINANCE_USDM": Fees(Decimal("-0.0001"), Decimal("0.0005")),
    "BINANCE_COINM": Fees(Decimal("-0.0002"), Decimal("0.0004")),
}
MARGIN = {"BINANCE_USDM": Margin(leverage=Decimal(20)), "BTCUSD_PERP.BINANCE_COINM": Margin(leverage=Decimal(20))}


class Gambler(Strategy):
    """Orders at random, by the seed of the run: of either side, market and limit."""

    def __init__(self) -> None:
        # By instrument: the side that it likes, so that positions grow until they cannot be held.
        self.likes: dict[str, int] = {}

    def act(self, instrument: str, price: float) -> None:
        if random.random() > 0.08:
            return
        quantity = Decimal(random.randrange(1, 60)) / (1 if "USD_" in instrument else 4)
        limit = None if random.random() < 0.6 else f"{price * random.choice([0.99, 0.999, 1.001, 1.01]):.2f}"
        likes = self.likes.setdefault(instrument, random.choice([1, -1]))
        buys = random.random() < 0.5 + 0.3 * likes
        (self.buy if buys else self.sell)(instrument, quantity, price=limit, expires_after="1h")


class OnCandles(Gambler):
    """Gambles at each close."""

    bars = ("3m",)

    def on_bar(self, bar: Bar) -> None:
        self.act(bar.instrument, bar.close)


class OnQuotes(Gambler):
    """Gambles at each quote."""

    def on_quote(self, instrument: str, bid_price: float) -> None:
        self.act(instrument, bid_price)


def prices(rng: np.random.Generator) -> np.ndarray:
    """A wild walk: a few per cent between two prices, so that accounts are liquidated."""
    made: np.ndarray = np.round(np.clip(100 * np.exp(np.cumsum(rng.normal(0, 0.025, COUNT))), 20, 500), 2)
    return made


def rates(rng: np.random.Generator, name: str) -> np.ndarray:
    times = START + HOUR * np.arange(1, COUNT * EVERY_NS // HOUR)
    return headrace.ticks(
        instrument=name,
        ts_init=times + SECOND,
        ts_event=times,
        kind="funding",
        mark_price=np.round(rng.uniform(80, 120, len(times)), 2),
        funding_rate=np.round(rng.normal(0, 0.002, len(times)), 6),
    )


def feeds(seed: int, *, on_candles: bool) -> list[Any]:
    rng = np.random.default_rng(seed)
    found: list[Any] = []
    for name, (contract, _, _) in TRADED.items():
        price = prices(rng)
        if on_candles:
            opens = np.append([100.0], price[:-1])
            high, low = np.maximum(opens, price) * 1.002, np.minimum(opens, price) * 0.998
            rows = np.round(np.stack([opens, high, low, price], axis=1), 2).tolist()
            found.append(CandleFeed(candles(rows, length_ns=EVERY_NS), instrument=name))
        else:
            times = START + EVERY_NS * np.arange(COUNT)
            found.append(
                headrace.ticks(
                    instrument=name,
                    ts_init=times,
                    kind="quote",
                    bid_price=price,
                    ask_price=price + 0.02,
                    bid_size=50.0,
                    ask_size=50.0,
                )
            )
        if contract != "spot":
            found.append(rates(rng, name))
    return found


def played(seed: int, number: int) -> BacktestResult:
    on_candles = number % 2 == 0
    return headrace.backtest(
        OnCandles if on_candles else OnQuotes,
        feeds(seed + number, on_candles=on_candles),
        cash=DEPOSITS,
        fees=FEES,
        margin=MARGIN,
        seed=(seed + number) % 2**32,
        check=False,
        fill=("path" if number % 4 else "next_open") if on_candles else None,
        hashing=False,
    )


@pytest.fixture(scope="module")
def results(seed: int) -> list[BacktestResult]:
    return [played(seed, number) for number in range(SESSIONS)]


def worth(name: str, quantity: Fraction, price: Fraction) -> Fraction:
    contract, size, _ = TRADED[name]
    return -quantity * size / price if contract == "inverse" else quantity * size * price


def fee(fill: Any) -> Fraction:
    own = FEES[fill.instrument.rpartition(".")[2]]
    rate = own.maker if fill.liquidity == "maker" else own.taker
    return Fraction(rate) * abs(worth(fill.instrument, Fraction(fill.quantity), Fraction(fill.price)))


def paid_of(result: BacktestResult, data: list[Any]) -> Iterator[tuple[int, str, Fraction]]:
    """Each payment of funding: time, currency, amount; from the rates of the data and the fills."""
    numbers = [own for own in data if isinstance(own, np.ndarray)]
    names = [name for name, (contract, _, _) in TRADED.items() if contract != "spot"]
    of_rates = [own for own in numbers if own["kind"][0] == 10]
    for name, each in zip(names, of_rates, strict=True):
        for tick in each:
            before = [own for own in result.fills if own.instrument == name and own.ts < tick["ts_event"]]
            held = sum((own.side * Fraction(own.quantity) for own in before), Fraction(0))
            mark, rate = (Fraction(repr(float(tick["values"][place]))) for place in (0, 2))
            amount = abs(worth(name, held, mark)) * rate * (1 if held > 0 else -1)
            yield int(tick["ts_init"]), TRADED[name][2], amount


def test_the_sessions_have_all_that_money_can_do(results: list[BacktestResult]) -> None:
    """Else the identity would be shown for less than it says."""
    orders = [own for result in results for own in result.orders]
    assert {own.instrument for result in results for own in result.fills} == set(TRADED)
    assert {own.liquidity for result in results for own in result.fills} == {"maker", "taker"}
    assert [own for own in orders if own.tag == "liquidation"]
    assert {own.amount > 0 for result in results for own in result.funding} == {True, False}
    assert [own for result in results for own in result.positions if own.is_open]
    assert [own for result in results for own in result.fills if own.fee < 0]


def test_equity_is_what_fills_fees_and_funding_have_made(seed: int, results: list[BacktestResult]) -> None:
    for number, result in enumerate(results):
        equity = defaultdict(Fraction, {name: Fraction(own) for name, own in DEPOSITS.items()})
        marks = {own.instrument: Fraction(own.mark) for own in result.positions if own.mark is not None}
        for fill in result.fills:
            name, signed = fill.instrument, fill.side * Fraction(fill.quantity)
            made = worth(name, signed, marks[name]) - worth(name, signed, Fraction(fill.price))
            equity[TRADED[name][2]] += made - fee(fill)
        for _, currency, amount in paid_of(result, feeds(seed + number, on_candles=number % 2 == 0)):
            equity[currency] -= amount
        allowed = TOLERANCE * (len(result.fills) + len(result.funding) + 1)
        for currency, balance in result.balances.items():
            parts = {name: Fraction(own) for name, own in balance.items() if own is not None}
            earned = parts["realized_pnl"] + parts["unrealized_pnl"] - parts["fees"] - parts["funding"]
            assert abs(parts["equity"] - equity[currency]) <= allowed
            assert abs(parts["deposit"] + earned - parts["equity"]) <= allowed


def test_trips_add_up_to_the_account(results: list[BacktestResult]) -> None:
    for result in results:
        for currency, balance in result.balances.items():
            net = sum((Fraction(own.net_pnl) for own in result.trades if own.currency == currency), Fraction(0))
            equity = balance["equity"]
            assert equity is not None
            assert abs(net + Fraction(DEPOSITS[currency]) - Fraction(equity)) <= TOLERANCE * (len(result.fills) + 1)


def test_every_point_of_the_curve_is_the_equity_of_its_time(seed: int, results: list[BacktestResult]) -> None:
    """To the cent, with the marks of the result: what was held and paid until then."""
    for number, result in enumerate(results):
        payments = list(paid_of(result, feeds(seed + number, on_candles=number % 2 == 0)))
        for currency, curve in result.curves.items():
            for point in curve[1 :: len(curve) // 25]:
                now = int(point["ts"])
                total = float(DEPOSITS[currency]) - sum(
                    float(amount) for ts, own, amount in payments if own == currency and ts <= now
                )
                held: defaultdict[str, float] = defaultdict(float)
                for fill in result.fills:
                    if fill.currency == currency and fill.held_ns <= now:
                        held[fill.instrument] += fill.side * float(fill.quantity)
                        total -= float(fill.worth) + float(fill.fee)
                for name, quantity in held.items():
                    mark = result.prices[name]["price"][result.prices[name]["ts"] <= now][-1]
                    total += float(worth(name, Fraction(quantity), Fraction(float(mark))))
                assert point["equity"] == pytest.approx(total, abs=CENT if currency == "USDT" else CENT / 100)

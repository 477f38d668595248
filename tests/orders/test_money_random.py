"""The account under random orders on spot, linear and inverse instruments, against a recomputation in fractions.

Guarantees: the recomputation works from the fills alone, with its own formulas: each fill's profit up to the mark, fees
from rates, averages by the book. Amounts are compared per currency, within 10^-18 per fill.
Does not: look at single cases by name; ``field/test_contracts`` does.
"""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

import pytest

from headrace import Instrument
from headrace.market.events import OrderFill, PositionChanged
from headrace.trading.account import Account
from headrace.trading.brokers import SimulatedBroker
from tests.support.trading import WIDE, Desk

EPISODES = 30
STEPS = 60
TOLERANCE = Fraction(1, 10**18)
MAKER, TAKER = "-0.0001", "0.0007"
# name -> its kind, size and currency, said once more.
TRADED = {
    "BTCUSDT.BINANCE": ("direct", 1, "USDT"),
    "ETHBTC.BINANCE": ("direct", 1, "BTC"),
    "SOLUSDT.BINANCE_USDM": ("direct", 1, "USDT"),
    "BTCUSD_PERP.BINANCE_COINM": ("inverse", 100, "BTC"),
    "ETHUSD_PERP.BINANCE_COINM": ("inverse", 10, "ETH"),
    "ES-USD.ELSEWHERE": ("direct", 50, "USD"),
}
STRATEGIES = ("A", "B")


def instruments() -> tuple[Instrument, ...]:
    tick, lot = Decimal("0.5"), Decimal("0.1")
    known = [Instrument(name, tick, lot) for name in TRADED if not name.startswith("ES")]
    return (*known, Instrument("ES-USD.ELSEWHERE", tick, lot, contract="linear", size=Decimal(50)))


def played(seed: int) -> Desk:
    """A random session: quotes, market and limit orders of two strategies, fills in parts, flips."""
    chance = random.Random(seed)
    desk = Desk(
        broker=SimulatedBroker(maker_fee=MAKER, taker_fee=TAKER, slippage_bps=chance.choice([0, 3])),
        instruments=instruments(),
        limits=WIDE,
    )
    for _ in range(STEPS):
        name = chance.choice(list(TRADED))
        bid = chance.randrange(180, 220) / 2
        desk.quote(bid, bid + chance.choice([0.5, 1.0]), instrument=name, ask_size=chance.randrange(1, 30) / 10)
        if chance.random() < 0.7:
            price = chance.choice([None, Decimal(chance.randrange(180, 220)) / 2])
            quantity = Decimal(chance.randrange(1, 40)) / 10
            desk.submit(
                chance.choice([1, -1]), quantity, instrument=name, price=price, strategy=chance.choice(STRATEGIES)
            )
            desk.drain()
    for name in TRADED:
        desk.quote(chance.randrange(180, 220) / 2, instrument=name)
    return desk


def mark_of(desk: Desk, name: str) -> Fraction:
    quote = desk.dispatcher.newest.quote(name)
    assert quote is not None
    return (Fraction(quote.bid_price) + Fraction(quote.ask_price)) / 2


def profit(name: str, signed: Fraction, entry: Fraction, leave: Fraction) -> Fraction:
    """The profit of a signed quantity between two prices."""
    kind, size, _ = TRADED[name]
    if kind == "inverse":
        return signed * size * (1 / entry - 1 / leave)
    return signed * size * (leave - entry)


def fee_of(fill: OrderFill) -> Fraction:
    kind, size, _ = TRADED[fill.instrument]
    quantity, price = Fraction(fill.quantity), Fraction(fill.price)
    rate = Fraction(MAKER if fill.liquidity == "maker" else TAKER)
    return rate * quantity * size * (1 / price if kind == "inverse" else price)


def realized_of(name: str, fills: list[OrderFill]) -> Fraction:
    """What closed parts have earned, by the average entry: of an inverse contract the harmonic mean."""
    is_inverse = TRADED[name][0] == "inverse"
    held = average = total = Fraction(0)
    for fill in fills:
        quantity, price = Fraction(fill.quantity), Fraction(fill.price)
        closed = min(abs(held), quantity) if held * fill.side < 0 else Fraction(0)
        if closed:
            direction = 1 if held > 0 else -1
            total += profit(name, closed * direction, average, price)
            held -= closed * direction
        opened = quantity - closed
        if opened and held == 0:
            average = price
        elif opened and is_inverse:
            average = (abs(held) + opened) / (abs(held) / average + opened / price)
        elif opened:
            average = (abs(held) * average + opened * price) / (abs(held) + opened)
        held += fill.side * opened
    return total


@pytest.fixture(scope="module")
def desks(seed: int) -> list[Desk]:
    return [played(seed + number) for number in range(EPISODES)]


def test_the_sessions_trade_every_instrument_as_maker_and_taker(desks: list[Desk]) -> None:
    fills = [fill for desk in desks for fill in desk.of(OrderFill)]
    assert {(fill.instrument, fill.liquidity) for fill in fills} == {
        (name, liquidity) for name in TRADED for liquidity in ("maker", "taker")
    }
    flips = [own for desk in desks for own in desk.positions if own.quantity < 0]
    assert flips


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_equity_is_what_the_fills_have_made_in_each_currency(desks: list[Desk], strategy: str | None) -> None:
    for desk in desks:
        fills = [fill for fill in desk.of(OrderFill) if strategy in (None, fill.strategy)]
        equity: defaultdict[str, Fraction] = defaultdict(Fraction)
        fees: defaultdict[str, Fraction] = defaultdict(Fraction)
        for fill in fills:
            currency = TRADED[fill.instrument][2]
            signed, mark = fill.side * Fraction(fill.quantity), mark_of(desk, fill.instrument)
            fees[currency] += fee_of(fill)
            equity[currency] += profit(fill.instrument, signed, Fraction(fill.price), mark) - fee_of(fill)
        account = account_of(desk)
        balances = (account if strategy is None else account.of(strategy)).balances()
        assert set(balances) == set(equity)
        for currency, balance in balances.items():
            allowed = TOLERANCE * len(fills)
            assert balance.equity is not None
            assert balance.unrealized_pnl is not None
            assert abs(Fraction(balance.fees) - fees[currency]) <= allowed
            assert abs(Fraction(balance.equity) - equity[currency]) <= allowed
            parts = balance.realized_pnl + balance.unrealized_pnl - balance.fees
            assert abs(Fraction(parts) - equity[currency]) <= allowed


def test_realized_profit_is_that_of_closed_parts_at_the_average_entry(desks: list[Desk]) -> None:
    for desk in desks:
        for position in desk.positions:
            name = position.instrument
            fills = [
                fill for fill in desk.of(OrderFill) if (fill.strategy, fill.instrument) == (position.strategy, name)
            ]
            allowed = TOLERANCE * len(fills)
            assert abs(Fraction(position.realized_pnl) - realized_of(name, fills)) <= allowed
            told = [
                event
                for event in desk.of(PositionChanged)
                if (event.strategy, event.instrument) == (position.strategy, name)
            ][-1]
            assert (told.realized_pnl, told.fees, told.currency) == (
                *(position.realized_pnl, position.fees),
                TRADED[name][2],
            )


def account_of(desk: Desk) -> Account:
    return Account(desk.positions, desk.dispatcher.newest.mid)

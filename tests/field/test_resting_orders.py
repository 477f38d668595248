"""A resting limit order fills at its own price, whatever the quote jumps to, and in the quote that crosses it."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from headrace import Engine, Flags, Instrument, SimulatedBroker, Strategy, ticks
from headrace.market.events import OrderFill
from headrace.market.instrument import RiskLimits
from tests.support.trading import Desk, simulated

D = Decimal
S = 1_000_000_000
ACME = "ACME.BINANCE"
LIMITS = RiskLimits(
    quantity_max=D(1_000),
    notional_max=D(10**9),
    price_collar=D("0.5"),
    open_orders_max=10_000,
    message_rate_max=1e5,
    stale_after_s=1e6,
)


@dataclass
class Wanted:
    """An order of the model."""

    order_id: str
    side: int
    left: Decimal
    price: Decimal | None
    is_ioc: bool
    rests: bool = False


@dataclass
class Quote:
    """A quote of the model; flags that say nothing new make it no quote."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    flags: int


def expected(orders: list[Wanted], quote: Quote) -> list[tuple[str, Decimal, Decimal, str]]:
    """Fill orders by a quote as the rule says; return (order, quantity, price, liquidity)."""
    found = []
    if quote.flags & (Flags.LATE | Flags.DUPLICATE | Flags.SNAPSHOT):
        return []
    left = {1: quote.ask_size, -1: quote.bid_size}
    opposite = {1: quote.ask, -1: quote.bid}
    for order in orders:
        price = opposite[order.side]
        crosses = order.price is None or (price <= order.price if order.side > 0 else price >= order.price)
        quantity = min(order.left, left[order.side]) if crosses else D(0)
        if quantity > 0:
            at = order.price if order.rests and order.price is not None else price
            found.append((order.order_id, quantity, at, "maker" if order.rests else "taker"))
            order.left -= quantity
            left[order.side] -= quantity
        order.rests = order.price is not None
    orders[:] = [order for order in orders if order.left and not order.is_ioc]
    return found


def a_quote(dice: random.Random) -> Quote:
    bid = D(dice.randrange(190, 211)) / 2
    size = [D(0), D("0.3"), D(1), D(5)]
    flags = dice.choice([0, 0, 0, 0, int(Flags.LATE), int(Flags.DUPLICATE)])
    return Quote(bid, bid + D(dice.randrange(1, 5)) / 2, dice.choice(size), dice.choice(size), flags)


def test_every_fill_is_that_of_a_plain_model(seed: int) -> None:
    for number in range(40):
        dice = random.Random(seed + number)
        desk = ready(dice)
        orders: list[Wanted] = []
        for _ in range(60):
            for _ in range(dice.randrange(3)):
                side, quantity = dice.choice([1, -1]), D(dice.randrange(1, 20)) / 10
                price = dice.choice([None, *(D(half) / 2 for half in range(194, 208))])
                is_ioc = dice.random() < 0.2
                order_id = desk.ask(side, quantity, price=price, time_in_force="ioc" if is_ioc else "gtc")
                orders.append(Wanted(order_id, side, quantity, price, is_ioc))
            quote, before = a_quote(dice), len(desk.of(OrderFill))
            desk.quote(
                float(quote.bid),
                float(quote.ask),
                bid_size=float(quote.bid_size),
                ask_size=float(quote.ask_size),
                flags=quote.flags,
            )
            told = [(own.order_id, own.quantity, own.price, own.liquidity) for own in desk.of(OrderFill)[before:]]
            assert told == expected(orders, quote), f"seed {seed + number}"
            # The gates want a newest quote of two sides.
            desk.quote(80.0, 120.0, flags=int(Flags.SNAPSHOT))


def ready(dice: random.Random) -> Desk:
    desk = simulated(limits=LIMITS, maker_fee="0.0001", taker_fee="0.001", timers=dice.random() < 0.5)
    desk.quote(99.0, 101.0)
    return desk


class Grid(Strategy):
    """Places forty bids at each of three quotes."""

    def __init__(self) -> None:
        self.fills: list[tuple[int, Decimal, str]] = []

    def on_quote(self, seq: int) -> None:
        if seq <= 3:
            for step in range(40):
                self.buy(ACME, "1", price=D(100) - D(step) / 10)

    def on_fill(self, fill: OrderFill) -> None:
        assert fill.quote is not None
        self.fills.append((fill.quote.first, fill.price, fill.liquidity))


def quotes_of(rows: list[tuple[float, float]], size: float) -> np.ndarray:
    """A quote each second."""
    bids, asks = zip(*rows, strict=True)
    return ticks(
        instrument=ACME,
        ts_init=[number * S for number in range(1, len(rows) + 1)],
        bid_price=list(bids),
        ask_price=list(asks),
        bid_size=size,
        ask_size=size,
    )


def replayed(strategy: Strategy, rows: list[tuple[float, float]], size: float = 500.0) -> Engine:
    engine = Engine(
        mode="replay",
        feeds=quotes_of(rows, size),
        strategies=strategy,
        broker=SimulatedBroker(),
        instruments=[Instrument(ACME, price_tick=D("0.01"), lot_size=D("0.1"))],
        limits=LIMITS,
    )
    engine.run()
    return engine


def test_a_grid_crossed_by_one_quote_is_filled_by_that_quote() -> None:
    grid = Grid()
    replayed(grid, [(100.0, 100.1)] * 3 + [(80.0, 80.1), (79.0, 79.1), (70.0, 70.1)])
    own = [D(100) - D(step) / 10 for step in range(40)]
    assert grid.fills == [
        *((4, price, "maker") for price in own + own),
        # The last forty arrive with this quote.
        *((4, D("80.1"), "taker") for _ in own),
    ]


class Sixty(Strategy):
    """Sends sixty orders in one handler."""

    def on_quote(self, seq: int) -> None:
        if seq == 1:
            for step in range(60):
                self.buy(ACME, "1", price=D(90) - D(step) / 10)


def test_a_handler_of_a_replay_may_send_more_orders_than_the_lane_holds() -> None:
    engine = replayed(Sixty(), [(100.0, 100.1)] * 2)
    assert engine.orders.stats().submitted == 60
    assert engine.report().strategies["Sixty"].faults == 0


@pytest.mark.parametrize("orders", [1, 51, 400, 5_000])
def test_fills_of_a_replay_do_not_depend_on_their_number(orders: int) -> None:
    class Many(Strategy):
        def on_quote(self, seq: int) -> None:
            if seq == 1:
                for _ in range(orders):
                    self.buy(ACME, "0.1", price=D(99))

    strategy = Many()
    engine = replayed(strategy, [(100.0, 100.1)] * 2 + [(98.0, 98.1)] * 2, size=1e6)
    assert {order.ts for order in engine.orders.orders()} == {3 * S}
    assert engine.orders.stats().fills == orders


class Ladder(Strategy):
    """Places fifty bids at each of nine quotes, which rest far below."""

    def __init__(self) -> None:
        self.fills: Counter[int] = Counter()

    def on_quote(self, seq: int) -> None:
        if seq <= 9:
            for step in range(50):
                self.buy(ACME, "0.1", price=D(90) - D(step) / 100)

    def on_fill(self, fill: OrderFill) -> None:
        assert fill.quote is not None
        self.fills[fill.quote.first] += 1


def test_live_one_quote_fills_eight_times_the_lane_and_the_rest_is_counted(tmp_path: Path) -> None:
    ladder = Ladder()
    engine = Engine(
        feeds=quotes_of([(100.0, 100.1)] * 10 + [(80.0, 80.1)] * 3, size=500.0),
        strategies=ladder,
        broker=SimulatedBroker(),
        instruments=[Instrument(ACME, price_tick=D("0.01"), lot_size=D("0.1"))],
        limits=LIMITS,
        speed=1e3,
        state_folder=tmp_path / "state",
    )
    report = engine.run()
    assert ladder.fills == {11: 400, 12: 50}
    assert report.held_back == 50
    assert re.search(r"^fills held back +50$", str(report), re.MULTILINE)
    assert report.to_dict()["held_back"] == 50


def test_a_replay_holds_nothing_back() -> None:
    ladder = Ladder()
    report = replayed(ladder, [(100.0, 100.1)] * 10 + [(80.0, 80.1)] * 3).report()
    assert ladder.fills == {11: 450}
    assert report.held_back == 0
    assert "held back" not in str(report)

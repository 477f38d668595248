"""The simulated broker reads quotes of instruments that have orders, and what becomes of the orders is the same."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Engine, Instrument, Strategy
from headrace.errors import HeadraceError
from headrace.feeds import ArrayFeed
from headrace.trading.brokers.fill_models import QuoteFill
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import LIMITS, START, market

NAMES = [f"C{number}USDT.BINANCE" for number in range(8)]
LOTS = [Instrument(name, price_tick=Decimal("0.01"), lot_size=Decimal("0.001")) for name in NAMES]
MS = 1_000_000


def session(seed: int, rounds: int = 150) -> np.ndarray:
    """Return quotes of all instruments in turn, some at one time."""
    dice = random.Random(seed)
    of_each = [
        market(
            np.cumsum([100.0, *(dice.choice((-0.5, 0.0, 0.5)) for _ in range(rounds))]),
            instrument=name,
            every_ns=MS,
            start_ns=START + dice.choice((0, 1, 2)) * 100_000,
            names=NAMES,
            size=dice.choice((0.5, 3.0)),
        )
        for name in NAMES
    ]
    quotes = np.concatenate(of_each)
    return quotes[np.argsort(quotes["ts_init"], kind="stable")]


class EachQuote(QuoteFill):
    """The same model, that sees each quote."""

    sees_each_quote = True


class Trader(Strategy):
    """Sends, amends and cancels orders at random."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.open: list[str] = []

    def on_quote(self, instrument: str, bid_price: float, ask_price: float) -> None:
        dice = self.dice
        if dice.random() < 0.05:
            side = dice.choice((self.buy, self.sell))
            more: dict[str, Any] = {}
            if dice.random() < 0.7:
                more["price"] = round(dice.choice((bid_price, ask_price)) + dice.choice((-2, -1, 0, 1, 2)) / 2, 2)
            if dice.random() < 0.2:
                more |= {"time_in_force": "gtd", "expires_after": dice.choice(("3ms", "20ms"))}
            try:
                self.open.append(side(dice.choice((instrument, *NAMES)), dice.choice((1, 2)), **more))
            except HeadraceError:
                return
        elif self.open and dice.random() < 0.03:
            self.cancel(self.open.pop(dice.randrange(len(self.open))))


def run(quotes: np.ndarray, strategy: Strategy, **options: Any) -> Engine:
    engine = Engine(
        feeds=ArrayFeed(quotes), strategies=[strategy], instruments=LOTS, limits=LIMITS, mode="replay", **options
    )
    engine.run()
    return engine


class Once(Strategy):
    """Buys the third instrument once, with an order that rests, and cancels it later."""

    def __init__(self) -> None:
        self.seen = 0
        self.order_id = ""

    def on_quote(self, bid_price: float) -> None:
        self.seen += 1
        if self.seen == 80:
            self.order_id = self.buy(NAMES[2], 1, price=bid_price / 2)
        elif self.seen == 480:
            self.cancel(self.order_id)


def test_it_reads_the_quotes_of_an_instrument_with_an_order() -> None:
    quotes = session(1)
    engine = run(quotes, Once(), broker=SimulatedBroker())
    of_it = [at for at, quote in enumerate(quotes) if quote["instrument"] == 2]
    stats = engine.dispatcher.stats()
    assert stats.closed.delivered - len(quotes) == sum(80 <= at < 480 for at in of_it)


@pytest.mark.parametrize("latency_ns", [0, 2 * MS])
@pytest.mark.parametrize("number", range(4))
def test_orders_end_as_with_a_broker_that_reads_each_quote(
    tmp_path: Path, seed: int, number: int, latency_ns: int
) -> None:
    audits = []
    for name, model in (("chosen", QuoteFill()), ("each", EachQuote())):
        audit = tmp_path / f"{name}.jsonl"
        broker = SimulatedBroker(latency_ns=latency_ns, taker_fee="0.001", fill=model)
        run(session(seed + number), Trader(seed + number), broker=broker, audit=audit)
        audits.append(audit.read_bytes())
    assert audits[0].count(b'"OrderFilled"') > 5
    assert audits[0] == audits[1], f"HEADRACE_SEED={seed}"


class Windows(Strategy):
    """Keeps the sizes of its windows; with an order that rests all the time, or without."""

    subscription: ClassVar[dict[str, Any]] = {"every": "10ms"}

    def __init__(self, *, orders: bool) -> None:
        self.orders = orders
        self.sums: list[float] = []

    def on_quotes(self, bid_price: np.ndarray) -> None:
        self.sums.append(float(bid_price.sum()))
        if self.orders and len(self.sums) == 2:
            self.buy(NAMES[2], 1, price=1.0)


def test_windows_beside_a_resting_order_hold_the_same() -> None:
    quotes = session(2)
    kept = [Windows(orders=orders) for orders in (False, True)]
    for strategy in kept:
        run(quotes, strategy, broker=SimulatedBroker(), cash=None)
    assert kept[0].sums == kept[1].sums
    assert len(kept[0].sums) > 10

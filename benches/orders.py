"""Row 17: one order from buy() to on_fill, alone and beside strategies that it does not concern.

::

    quote ─▶ buy() ─▶ gates ─▶ OrderRequested ─▶ broker ─▶ OrderAccepted     quote ─▶ OrderFilled ─▶ on_fill
    what an order costs = a replay that buys with every second quote, less the same replay that buys nothing

Guarantees: every order was filled before its time counts; both replays have the same ticks and strategies.
Does not: measure an order through an audit, or a broker that is not simulated.
"""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import headrace  # noqa: E402 - the script finds its own folder first
from benches.engines import LIMITS, START_NS  # noqa: E402
from benches.harness import Case, Patience, Row, Span, Timer, interleave, table  # noqa: E402
from headrace.market.events import Bar, OrderEvent, OrderFill  # noqa: E402
from headrace.trading.brokers.simulated import SimulatedBroker  # noqa: E402

BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"
STEP_NS = 1_000_000
IDLE = 200
ORDERS = 2_000
ORDER_US_MAX = 60


class Buys(headrace.Strategy):
    """Buys with every second quote, or never."""

    def __init__(self, buys: bool) -> None:
        self.buys = buys
        self.count = 0
        self.fills = 0

    def on_quote(self, instrument: str) -> None:
        self.count += 1
        if self.buys and self.count % 2:
            self.buy(instrument, 1)

    def on_order(self, _event: OrderEvent) -> None:
        """Listen."""

    def on_fill(self, _fill: OrderFill) -> None:
        self.fills += 1


class Idle(headrace.Strategy):
    """Listens to orders, fills and bars, and has none."""

    subscription: ClassVar = {"instruments": ETH}
    bars: ClassVar = ("1m",)

    def on_order(self, _event: OrderEvent) -> None:
        """Listen."""

    def on_fill(self, _fill: OrderFill) -> None:
        """Listen."""

    def on_bar(self, _bar: Bar) -> None:
        """Listen."""


def replayed(orders: int, idle: int, *, buys: bool) -> Span:
    """Run one replay; time per order, or per time that there would have been one."""
    quotes = headrace.ticks(
        instrument=BTC,
        ts_init=[START_NS + STEP_NS * number for number in range(2 * orders)],
        bid_price=100.0,
        ask_price=101.0,
        bid_size=10.0,
        ask_size=10.0,
    )
    strategy = Buys(buys)
    engine = headrace.Engine(
        feeds=quotes,
        strategies=[
            strategy,
            *(headrace.StrategySpec(strategy=Idle, name=f"idle-{number}") for number in range(idle)),
        ],
        broker=SimulatedBroker(),
        instruments=[headrace.Instrument(name, Decimal("0.5"), Decimal("0.1")) for name in (BTC, ETH)],
        limits=LIMITS,
        mode="replay",
    )
    with Timer() as timer:
        engine.run()
    assert strategy.fills == (orders if buys else 0), f"{strategy.fills} of {orders} orders were filled"
    return timer.per(orders)


def per_order(orders: int, idle: int) -> Span:
    """Return what one order costs beside so many idle strategies."""
    with_orders, without = (replayed(orders, idle, buys=buys) for buys in (True, False))
    return Span(with_orders.wall - without.wall, with_orders.cpu - without.cpu)


def rows(rounds: int, patience: Patience, orders: int = ORDERS) -> list[Row]:
    """Measure with so many orders a case."""
    cases = [Case("alone", partial(per_order, orders, 0)), Case("idle", partial(per_order, orders, IDLE))]
    result = interleave(cases, rounds, patience)
    alone_us, idle_us = (result.median_ns(name) / 1e3 for name in ("alone", "idle"))
    growth = 1 / result.speed("idle", "alone")
    return [
        Row("17", "one order, buy() to on_fill", f"{alone_us:.1f} µs", alone_us, "µs", ORDER_US_MAX, at_most=True),
        Row("17", f"the same beside {IDLE} idle strategies", f"{idle_us:.1f} µs", growth, "alone", 1.05, at_most=True),
    ]


def main() -> None:
    """Measure this alone."""
    parser = argparse.ArgumentParser(description="One order from buy() to on_fill.")
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    patience = Patience(15)
    print(table(rows(options.rounds, patience, options.orders)))
    print(patience.verdict())


if __name__ == "__main__":
    main()

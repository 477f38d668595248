"""Row 17: one order from buy() to on_fill, alone and beside strategies that it does not concern.

::

    quote ─▶ buy() ─▶ gates ─▶ OrderRequested ─▶ broker ─▶ OrderAccepted     quote ─▶ OrderFilled ─▶ on_fill
    what an order costs = a replay that buys with every second quote, less the same replay that buys nothing

Does not: measure an order through an audit, or a broker that is not simulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import ClassVar

import headrace
from benches.bench import Bench, Row, Work
from benches.handlers import LIMITS, START_NS
from headrace.market.events import Bar, OrderEvent, OrderFill
from headrace.trading.brokers.simulated import SimulatedBroker

BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"
STEP_NS = 1_000_000
IDLE = 200


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


def replayed(orders: int, *, buys: bool, idle: int = 0) -> Iterator[Work]:
    """Run one replay, with so many orders or with none."""
    quotes = headrace.ticks(
        instrument=BTC,
        ts_init=[START_NS + STEP_NS * number for number in range(2 * orders)],
        bid_price=100.0,
        ask_price=101.0,
        bid_size=10.0,
        ask_size=10.0,
    )
    strategy = Buys(buys)
    idlers = [headrace.StrategySpec(strategy=Idle, name=f"idle-{number}") for number in range(idle)]
    engine = headrace.Engine(
        feeds=quotes,
        strategies=[strategy, *idlers],
        broker=SimulatedBroker(),
        instruments=[headrace.Instrument(name, Decimal("0.5"), Decimal("0.1")) for name in (BTC, ETH)],
        limits=LIMITS,
        mode="replay",
    )
    yield engine.run
    assert strategy.fills == (orders if buys else 0), f"{strategy.fills} of {orders} orders were filled"


class TestOneOrder:
    """All replays have the same ticks."""

    rows = (
        Row("17", "one order, buy() to on_fill", "buys - watches", at_most=60, unit="µs"),
        Row(
            *("17", f"the same beside {IDLE} idle strategies"),
            *("buys_beside_idle - watches_beside_idle", "buys - watches"),
            at_most=1.05,
            unit="µs",
        ),
    )

    def test_buys(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(replayed, bench.size.orders, buys=True)

    def test_watches(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(replayed, bench.size.orders, buys=False)

    def test_buys_beside_idle(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(replayed, bench.size.orders, buys=True, idle=IDLE)

    def test_watches_beside_idle(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(replayed, bench.size.orders, buys=False, idle=IDLE)

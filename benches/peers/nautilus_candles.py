"""nautilus_trader: BacktestEngine over minutes of several instruments, a Python strategy with market orders.

Tuned: no logging, no analysis, one account, bars built and added before the clock starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from nautilus_trader.config import StrategyConfig  # type: ignore[import-not-found]
from nautilus_trader.model.data import Bar, BarType  # type: ignore[import-not-found]
from nautilus_trader.model.enums import OrderSide  # type: ignore[import-not-found]
from nautilus_trader.model.objects import Price, Quantity  # type: ignore[import-not-found]
from nautilus_trader.trading.strategy import Strategy  # type: ignore[import-not-found]

from benches.bench import Work
from benches.peers.nautilus_backtest import DECIMALS, START_NS, engine_of, shares
from benches.workload import BARS_PER_ORDER, MINUTE_NS, candle_columns, closes_sum


class PerBar(Strategy):  # type: ignore[misc]
    """The workload's handler."""

    def __init__(self, types: list) -> None:
        super().__init__(StrategyConfig(order_id_tag="001"))
        self.types = types
        self.sum = 0.0
        self.counts = dict.fromkeys((own.instrument_id for own in types), 0)
        self.fills = 0

    def on_start(self) -> None:
        for own in self.types:
            self.subscribe_bars(own)

    def on_bar(self, bar) -> None:
        self.sum += float(bar.close)
        instrument = bar.bar_type.instrument_id
        count = self.counts[instrument] = self.counts[instrument] + 1
        if count % BARS_PER_ORDER == 0:
            side = OrderSide.BUY if count // BARS_PER_ORDER % 2 else OrderSide.SELL
            self.submit_order(self.order_factory.market(instrument, side, Quantity.from_int(1)))

    def on_order_filled(self, _event) -> None:
        self.fills += 1


@cache
def bars(minutes: int, instruments: int) -> list:
    """Return the candles as its objects, in the order of time."""
    types = bar_types(instruments)
    size = Quantity.from_int(1_000)
    columns = [candle_columns(minutes, own) for own in range(instruments)]
    rows = [
        list(zip(*(own[name].tolist() for name in ("open", "high", "low", "close")), strict=True)) for own in columns
    ]
    return [
        Bar(types[own], *(Price(price, DECIMALS) for price in rows[own][minute]), size, close_ns, close_ns)
        for minute in range(minutes)
        for close_ns in (START_NS + (minute + 1) * MINUTE_NS,)
        for own in range(instruments)
    ]


@cache
def bar_types(instruments: int) -> list:
    return [BarType.from_str(f"{share.id}-1-MINUTE-LAST-EXTERNAL") for share in shares()[:instruments]]


def backtest(minutes: int, instruments: int) -> Iterator[Work]:
    """Run one back-test."""
    engine = engine_of(shares()[:instruments])
    engine.add_data(bars(minutes, instruments))
    strategy = PerBar(bar_types(instruments))
    engine.add_strategy(strategy)
    yield engine.run
    assert strategy.sum == closes_sum(minutes, instruments)
    orders = minutes // BARS_PER_ORDER * instruments
    assert orders - instruments <= strategy.fills <= orders, f"{strategy.fills} of {orders} orders were filled"
    engine.dispose()

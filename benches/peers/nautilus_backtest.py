"""nautilus_trader: BacktestEngine, QuoteTicks of 100 instruments a microsecond apart, a Python strategy.

Tuned: no logging, no analysis, one account, quotes built and added before the clock starts. With ``trades`` it submits
a market order each thousand ticks, as our full loop does, and every order must be filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig  # type: ignore[import-not-found]
from nautilus_trader.config import LoggingConfig, StrategyConfig  # type: ignore[import-not-found]
from nautilus_trader.model.currencies import USD  # type: ignore[import-not-found]
from nautilus_trader.model.data import QuoteTick  # type: ignore[import-not-found]
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide  # type: ignore[import-not-found]
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue  # type: ignore[import-not-found]
from nautilus_trader.model.instruments import Equity  # type: ignore[import-not-found]
from nautilus_trader.model.objects import Money, Price, Quantity  # type: ignore[import-not-found]
from nautilus_trader.trading.strategy import Strategy  # type: ignore[import-not-found]

from benches.bench import Work
from benches.workload import INSTRUMENTS, TICKS_PER_ORDER, check, columns, instrument_ids

# Multiples of 1/64 have six decimals.
DECIMALS = 6
# A present-day time: with times near zero this version ends in a double free.
START_NS = 1_767_571_200_000_000_000
STEP_NS = 1_000


class PerQuote(Strategy):  # type: ignore[misc]
    """The workload's handler, and an order each thousand ticks where it trades."""

    def __init__(self, ids: list, *, trades: bool) -> None:
        super().__init__(StrategyConfig(order_id_tag="001"))
        self.ids = ids
        self.trades = trades
        self.sum = 0.0
        self.count = 0
        self.fills = 0

    def on_start(self) -> None:
        for instrument_id in self.ids:
            self.subscribe_quote_ticks(instrument_id)

    def on_quote_tick(self, tick) -> None:
        self.sum += (float(tick.bid_price) + float(tick.ask_price)) / 2
        self.count += 1
        if self.trades and self.count % TICKS_PER_ORDER == 0:
            order = self.count // TICKS_PER_ORDER
            side = OrderSide.BUY if order % 2 else OrderSide.SELL
            self.submit_order(self.order_factory.market(self.ids[order // 2 % INSTRUMENTS], side, Quantity.from_int(1)))

    def on_order_filled(self, _event) -> None:
        self.fills += 1


@cache
def shares() -> list:
    """Return so many shares on a simulated venue."""
    names = [f"S{number:03d}" for number in range(INSTRUMENTS)]
    return [
        Equity(
            instrument_id=InstrumentId.from_str(f"{name}.SIM"),
            raw_symbol=Symbol(name),
            currency=USD,
            price_precision=DECIMALS,
            price_increment=Price(10**-DECIMALS, DECIMALS),
            lot_size=Quantity.from_int(1),
            ts_event=0,
            ts_init=0,
        )
        for name in names
    ]


@cache
def quotes(count: int) -> list:
    """Return the workload's quotes as its objects."""
    ids = [share.id for share in shares()]
    bids, asks = (column.tolist() for column in columns(count))
    size = Quantity.from_int(10)
    times = range(START_NS, START_NS + count * STEP_NS, STEP_NS)
    return [
        QuoteTick(ids[at], Price(bid, DECIMALS), Price(ask, DECIMALS), size, size, ts_ns, ts_ns)
        for at, bid, ask, ts_ns in zip(instrument_ids(count).tolist(), bids, asks, times, strict=True)
    ]


def engine_of(shares: list) -> BacktestEngine:
    """Return an engine that knows these shares, with one account."""
    config = BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    engine = BacktestEngine(config)
    engine.add_venue(
        venue=Venue("SIM"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USD,
        starting_balances=[Money(1_000_000, USD)],
    )
    for share in shares:
        engine.add_instrument(share)
    return engine


def backtest(count: int, *, trades: bool = False) -> Iterator[Work]:
    """Run one back-test."""
    engine = engine_of(shares())
    engine.add_data(quotes(count))
    strategy = PerQuote([share.id for share in shares()], trades=trades)
    engine.add_strategy(strategy)
    yield engine.run
    check([strategy], count)
    orders = count // TICKS_PER_ORDER if trades else 0
    assert orders - 2 <= strategy.fills <= orders, f"{strategy.fills} of {orders} orders were filled"
    engine.dispose()

"""nautilus_trader: BacktestEngine, QuoteTicks of 100 instruments, Python strategies with ``on_quote_tick``.

Tuned: no logging, no analysis, cash account, quotes built and added before the clock starts. Each run is a process of
its own, since the engine's kernel is global to a process.
"""

from __future__ import annotations

import nautilus_trader  # type: ignore[import-not-found]
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig  # type: ignore[import-not-found]
from nautilus_trader.config import LoggingConfig, StrategyConfig  # type: ignore[import-not-found]
from nautilus_trader.model.currencies import USD  # type: ignore[import-not-found]
from nautilus_trader.model.data import QuoteTick  # type: ignore[import-not-found]
from nautilus_trader.model.enums import AccountType, OmsType  # type: ignore[import-not-found]
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue  # type: ignore[import-not-found]
from nautilus_trader.model.instruments import Equity  # type: ignore[import-not-found]
from nautilus_trader.model.objects import Money, Price, Quantity  # type: ignore[import-not-found]
from nautilus_trader.trading.strategy import Strategy  # type: ignore[import-not-found]

from benches.harness import Span, Timer
from benches.peers.child import report
from benches.workload import INSTRUMENTS, check, columns, instrument_ids

# Multiples of 1/64 have six decimals.
DECIMALS = 6
# A present-day time: with times near zero this version ends in a double free.
START_NS = 1_767_571_200_000_000_000
STEP_NS = 1_000


class PerQuote(Strategy):  # type: ignore[misc]
    def __init__(self, number: int, ids: list) -> None:
        super().__init__(StrategyConfig(order_id_tag=f"{number:03d}"))
        self.ids = ids
        self.sum = 0.0
        self.count = 0

    def on_start(self) -> None:
        for instrument_id in self.ids:
            self.subscribe_quote_ticks(instrument_id)

    def on_quote_tick(self, tick) -> None:
        self.sum += (float(tick.bid_price) + float(tick.ask_price)) / 2
        self.count += 1


def instruments() -> list:
    """So many shares on a simulated venue."""
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


def run(ticks: int, strategies: int) -> Span:
    """One back-test."""
    config = BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    engine = BacktestEngine(config)
    engine.add_venue(
        venue=Venue("SIM"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH,
        base_currency=USD,
        starting_balances=[Money(1_000_000, USD)],
    )
    shares = instruments()
    for share in shares:
        engine.add_instrument(share)
    ids = [share.id for share in shares]
    bids, asks = (column.tolist() for column in columns(ticks))
    size = Quantity.from_int(1)
    times = range(START_NS, START_NS + ticks * STEP_NS, STEP_NS)
    rows = zip(instrument_ids(ticks).tolist(), bids, asks, times, strict=True)
    quotes = [
        QuoteTick(ids[at], Price(bid, DECIMALS), Price(ask, DECIMALS), size, size, ts_ns, ts_ns)
        for at, bid, ask, ts_ns in rows
    ]
    engine.add_data(quotes)
    adders = [PerQuote(number, ids) for number in range(strategies)]
    for adder in adders:
        engine.add_strategy(adder)
    with Timer() as timer:
        engine.run()
    check(adders, ticks)
    return timer.per(ticks)


report(nautilus_trader.__version__, run)

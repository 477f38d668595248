"""Headrace: exchange frames in, sequenced ticks to every strategy, the same way live and in replay."""

from typing import TYPE_CHECKING

try:
    from headrace._native import Book, Decoder, Instruments, Ring, RingReader, Sequencer
except ImportError as refused:
    # CPython 3.12 and newer say this of an isolated sub-interpreter, before the module runs; of others the module does.
    if "does not support loading in subinterpreters" not in str(refused):
        raise
    raise ImportError(
        "headrace cannot be imported in a sub-interpreter: "
        "import it in the main interpreter, or in a process of its own",
        name="headrace",
    ) from None
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.dispatcher_stats import DispatcherStats
from headrace.dispatch.options import Overflow
from headrace.dispatch.subscription import Subscription
from headrace.dispatch.subscription_stats import LatencyStats, SubscriptionStats
from headrace.engine.replay import replay
from headrace.errors import HeadraceError
from headrace.feeds import Feed
from headrace.market.clock import Clock, ReplayClock, WallClock
from headrace.market.columns import ticks
from headrace.market.dead_letters import DeadLetter, DeadLetters
from headrace.market.tick import (
    AGG_TRADE_DTYPE,
    GAP_DTYPE,
    LEVEL_DTYPE,
    QUOTE_DTYPE,
    STATUS_DTYPE,
    TICK_DTYPE,
    TRADE_DTYPE,
    AggTradeTick,
    BookTick,
    Flags,
    FundingTick,
    GapCause,
    GapTick,
    KlineTick,
    KlineVolumeTick,
    LevelEmptyTick,
    LevelTick,
    LiquidationTick,
    MarkTick,
    OpenInterestTick,
    QuoteTick,
    StatusTick,
    Tick,
    TradeTick,
    register_kind,
)
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.commands import CommandBus
    from headrace.engine.engine import Engine
    from headrace.engine.report import Report
    from headrace.market.bars import BarSpec
    from headrace.market.instrument import Instrument, RiskLimits
    from headrace.research.result import BacktestResult, compare
    from headrace.research.run import backtest
    from headrace.strategies.spec import StrategySpec
    from headrace.trading.brokers.simulated import SimulatedBroker

__version__ = "0.1.0"

__all__ = [
    "AGG_TRADE_DTYPE",
    "GAP_DTYPE",
    "LEVEL_DTYPE",
    "QUOTE_DTYPE",
    "STATUS_DTYPE",
    "TICK_DTYPE",
    "TRADE_DTYPE",
    "AggTradeTick",
    "BacktestResult",
    "BarSpec",
    "Book",
    "BookTick",
    "Clock",
    "CommandBus",
    "DeadLetter",
    "DeadLetters",
    "Decoder",
    "Dispatcher",
    "DispatcherStats",
    "Engine",
    "EventBus",
    "Feed",
    "Flags",
    "FundingTick",
    "GapCause",
    "GapTick",
    "HeadraceError",
    "Instrument",
    "Instruments",
    "KlineTick",
    "KlineVolumeTick",
    "LatencyStats",
    "LevelEmptyTick",
    "LevelTick",
    "LiquidationTick",
    "MarkTick",
    "OpenInterestTick",
    "Overflow",
    "QuoteTick",
    "ReplayClock",
    "Report",
    "Ring",
    "RingReader",
    "RiskLimits",
    "Sequencer",
    "SimulatedBroker",
    "StatusTick",
    "Strategy",
    "StrategySpec",
    "Subscription",
    "SubscriptionStats",
    "Tick",
    "TradeTick",
    "WallClock",
    "backtest",
    "compare",
    "register_kind",
    "replay",
    "ticks",
]

# Loaded when they are asked for: they need asyncio, which takes half as long to import as all the rest.
_LATER = {
    "BacktestResult": "headrace.research.result",
    "backtest": "headrace.research.run",
    "compare": "headrace.research.result",
    "BarSpec": "headrace.market.bars",
    "CommandBus": "headrace.commands",
    "Engine": "headrace.engine.engine",
    "Report": "headrace.engine.report",
    "EventBus": "headrace.bus.bus",
    "Instrument": "headrace.market.instrument",
    "RiskLimits": "headrace.market.instrument",
    "SimulatedBroker": "headrace.trading.brokers.simulated",
    "StrategySpec": "headrace.strategies.spec",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        msg = f"module 'headrace' has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    value: object = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

"""Headrace: exchange frames in, sequenced ticks to every strategy, the same way live and in replay."""

from headrace._native import Decoder, Instruments, Ring, RingReader, Sequencer
from headrace.clock import Clock, ReplayClock, WallClock
from headrace.deadletters import DeadLetter, DeadLetters
from headrace.dispatch import Dispatcher, DispatcherStats
from headrace.errors import HeadraceError
from headrace.feeds import Feed
from headrace.result import ReplayResult
from headrace.session import replay
from headrace.strategy import Strategy
from headrace.subscription import LatencyStats, Overflow, Subscription, SubscriptionStats
from headrace.tick import (
    AGG_TRADE_DTYPE,
    GAP_DTYPE,
    LEVEL_DTYPE,
    QUOTE_DTYPE,
    STATUS_DTYPE,
    TICK_DTYPE,
    TRADE_DTYPE,
    AggTradeTick,
    Flags,
    GapCause,
    GapTick,
    LevelEmptyTick,
    LevelTick,
    QuoteTick,
    StatusTick,
    Tick,
    TradeTick,
    register_kind,
    ticks,
)

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
    "Clock",
    "DeadLetter",
    "DeadLetters",
    "Decoder",
    "Dispatcher",
    "DispatcherStats",
    "Feed",
    "Flags",
    "GapCause",
    "GapTick",
    "HeadraceError",
    "Instruments",
    "LatencyStats",
    "LevelEmptyTick",
    "LevelTick",
    "Overflow",
    "QuoteTick",
    "ReplayClock",
    "ReplayResult",
    "Ring",
    "RingReader",
    "Sequencer",
    "StatusTick",
    "Strategy",
    "Subscription",
    "SubscriptionStats",
    "Tick",
    "TradeTick",
    "WallClock",
    "register_kind",
    "replay",
    "ticks",
]

"""Fill models: how the simulated broker decides what is filled, and at which price; one Protocol."""

from headrace.trading.brokers.fill_models.base import FillModel
from headrace.trading.brokers.fill_models.book_walk import BookWalkFill
from headrace.trading.brokers.fill_models.candles import CloseSlipFill, NextOpenFill, PathFill
from headrace.trading.brokers.fill_models.quote import QuoteFill
from headrace.trading.brokers.fill_models.trades import QueueFill, TradeThroughFill

__all__ = [
    "FILL_MODELS",
    "BookWalkFill",
    "CloseSlipFill",
    "FillModel",
    "NextOpenFill",
    "PathFill",
    "QueueFill",
    "QuoteFill",
    "TradeThroughFill",
]

FILL_MODELS: dict[str, type[FillModel]] = {
    own.name: own
    for own in (QuoteFill, TradeThroughFill, QueueFill, BookWalkFill, NextOpenFill, CloseSlipFill, PathFill)
}
"""The fill models by their names."""

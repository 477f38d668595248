"""Fill models: how the simulated broker decides what is filled, and at which price; one Protocol."""

from headrace.trading.brokers.fill_models.base import FillModel
from headrace.trading.brokers.fill_models.candles import CloseSlipFill, NextOpenFill, PathFill
from headrace.trading.brokers.fill_models.quote import QuoteFill

__all__ = ["FILL_MODELS", "CloseSlipFill", "FillModel", "NextOpenFill", "PathFill", "QuoteFill"]

FILL_MODELS: dict[str, type[FillModel]] = {own.name: own for own in (QuoteFill, NextOpenFill, CloseSlipFill, PathFill)}
"""The fill models by their names."""

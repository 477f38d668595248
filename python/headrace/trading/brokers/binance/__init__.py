"""Binance: a broker that sends real orders over REST, and follows each to its end."""

from headrace.trading.brokers.binance.broker import BinanceBroker

__all__ = ["BinanceBroker"]

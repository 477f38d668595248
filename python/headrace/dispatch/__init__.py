"""Dispatch, from the ring to handlers: ``dispatcher``, ``subscription``, ``signature`` of handlers, ``faults``."""

from headrace.dispatch.dispatcher import Dispatcher, DispatcherStats
from headrace.dispatch.subscription import LatencyStats, Overflow, Subscription, SubscriptionStats

__all__ = ["Dispatcher", "DispatcherStats", "LatencyStats", "Overflow", "Subscription", "SubscriptionStats"]

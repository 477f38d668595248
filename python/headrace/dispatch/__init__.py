"""Dispatch, from the ring to handlers: ``dispatcher``, ``subscription``, ``signature`` of handlers, ``faults``."""

from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.dispatcher_stats import DispatcherStats
from headrace.dispatch.options import Overflow
from headrace.dispatch.subscription import Subscription
from headrace.dispatch.subscription_stats import LatencyStats, SubscriptionStats

__all__ = ["Dispatcher", "DispatcherStats", "LatencyStats", "Overflow", "Subscription", "SubscriptionStats"]

"""Brokers: what takes orders and publishes executions; one Protocol, and a simulated one with its fill models."""

from headrace.trading.brokers.base import (
    AmendingBroker,
    Broker,
    BrokerContext,
    CandleBroker,
    FeeBroker,
    MarginBroker,
    PaperBroker,
    call_broker,
    check_broker,
    guarded,
)
from headrace.trading.brokers.fees import Fees, FeeTiers
from headrace.trading.brokers.fill_models import FillModel
from headrace.trading.brokers.latency import FileLatency, Latency, NormalLatency
from headrace.trading.brokers.simulated import SimulatedBroker

__all__ = [
    "AmendingBroker",
    "Broker",
    "BrokerContext",
    "CandleBroker",
    "FeeBroker",
    "FeeTiers",
    "Fees",
    "FileLatency",
    "FillModel",
    "Latency",
    "MarginBroker",
    "NormalLatency",
    "PaperBroker",
    "SimulatedBroker",
    "call_broker",
    "check_broker",
    "guarded",
]

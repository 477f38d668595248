"""Brokers: what takes orders and publishes executions; one Protocol, and a simulated one with its fill models."""

from headrace.trading.brokers.base import (
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
from headrace.trading.brokers.costs import Fees
from headrace.trading.brokers.fill_models import FillModel
from headrace.trading.brokers.simulated import SimulatedBroker

__all__ = [
    "Broker",
    "BrokerContext",
    "CandleBroker",
    "FeeBroker",
    "Fees",
    "FillModel",
    "MarginBroker",
    "PaperBroker",
    "SimulatedBroker",
    "call_broker",
    "check_broker",
    "guarded",
]

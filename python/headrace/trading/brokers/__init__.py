"""Brokers: who takes orders and gives executions; one Protocol, one implementation so far."""

from headrace.trading.brokers.base import Broker, BrokerContext, call_broker, check_broker, guarded
from headrace.trading.brokers.simulated import SimulatedBroker

__all__ = ["Broker", "BrokerContext", "SimulatedBroker", "call_broker", "check_broker", "guarded"]

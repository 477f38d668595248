"""Brokers: who takes orders and gives executions; one Protocol, one implementation so far."""

from headrace.brokers.base import Broker, BrokerDesk
from headrace.brokers.simulated import SimulatedBroker

__all__ = ["Broker", "BrokerDesk", "SimulatedBroker"]

"""Brokers: who takes orders and gives executions; one Protocol, one implementation so far."""

from headrace.brokers.base import Broker, BrokerDesk

__all__ = ["Broker", "BrokerDesk"]

"""Bus: delivers typed events to handlers and consumers, in four lanes; the audit records them."""

from headrace.bus.audit import AuditRunner, AuditSink, read_audit, replay_events
from headrace.bus.bus import EventBus
from headrace.bus.consumer import Consumer, Envelope
from headrace.bus.lane import BusStats, LaneOptions, LaneStats
from headrace.bus.subscription import BusSubscription

__all__ = [
    "AuditRunner",
    "AuditSink",
    "BusStats",
    "BusSubscription",
    "Consumer",
    "Envelope",
    "EventBus",
    "LaneOptions",
    "LaneStats",
    "read_audit",
    "replay_events",
]

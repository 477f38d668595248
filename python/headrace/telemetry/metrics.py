"""The one table of metrics: their names, units, labels and meaning, and the value at which to worry.

Guarantees: ``METRICS`` holds every metric that ``collect`` gives, and no other; names end in their unit, counters in
``_total``.
Does not: hold values.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["METRICS", "Metric"]


class Metric(NamedTuple):
    """One metric.

    kind : "counter" only grows, "gauge" goes up and down. unit : of its value. labels : what its values are told apart
    by. worry : at which value, or how it moves, somebody should look; empty: never.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    labels: tuple[str, ...]
    meaning: str
    worry: str = ""


_ROWS = (
    # The tick road
    Metric(
        "headrace_ticks_total",
        "counter",
        "ticks",
        ("kind",),
        "published on the ring",
        "stands still while the venue trades",
    ),
    Metric("headrace_frames_total", "counter", "frames", ("type",), "decoded"),
    Metric(
        "headrace_frames_rejected_total",
        "counter",
        "frames",
        ("reason",),
        "refused by the decoder, kept as dead letters",
        "above 0: the venue says something new, or a feed is damaged",
    ),
    Metric(
        "headrace_frames_ignored_total", "counter", "frames", ("type",), "documented by the venue, and no tick here"
    ),
    Metric(
        "headrace_sequence_faults_total",
        "counter",
        "ticks",
        ("fault",),
        "found by the venue's own numbers: gap, duplicate, late",
        "gap rises: the feed loses ticks",
    ),
    Metric(
        "headrace_subscription_ticks_total",
        "counter",
        "ticks",
        ("subscription", "fate"),
        "what became of each tick: delivered, filtered, missed, conflated, skipped",
        "missed rises: the strategy is too slow for what it asks for",
    ),
    Metric(
        "headrace_subscription_pending_ticks",
        "gauge",
        "ticks",
        ("subscription",),
        "backlog: published and not yet dispatched",
        "above half of the ring's capacity: block readers soon hold up the feed, lossy ones lose",
    ),
    Metric(
        "headrace_subscription_lag_seconds",
        "gauge",
        "s",
        ("subscription",),
        "receive time between the last dispatched and the newest tick",
        "above 1 s: it decides on old prices",
    ),
    Metric("headrace_subscription_calls_total", "counter", "calls", ("subscription",), "calls of its tick handlers"),
    Metric(
        "headrace_subscription_faults_total",
        "counter",
        "calls",
        ("subscription",),
        "of these raised",
        "above 0: see its dead letters; 3 within 1,000 calls are quarantine",
    ),
    Metric(
        "headrace_handler_latency_seconds",
        "gauge",
        "s",
        ("subscription", "quantile"),
        "how long a call of a tick handler takes; quantile 1 is the longest that was timed",
        "0.99 above 0.0002 (one slice): one strategy makes all others late; 1 above 0.1",
    ),
    # The event bus
    Metric(
        "headrace_lane_events_total",
        "counter",
        "events",
        ("lane", "fate"),
        "published, and what became of them: processed, dead, dropped; refused ones were never taken",
        "dead, dropped or refused rises",
    ),
    Metric(
        "headrace_lane_depth_events",
        "gauge",
        "events",
        ("lane",),
        "wait in the lane",
        "above 80 % of its capacity: its handlers are slower than its publishers",
    ),
    Metric("headrace_lane_capacity_events", "gauge", "events", ("lane",), "room in the lane now"),
    Metric("headrace_events_retried_total", "counter", "events", (), "given to a handler again after it raised"),
    Metric("headrace_subscriber_calls_total", "counter", "calls", ("subscriber",), "events given to a bus subscriber"),
    Metric(
        "headrace_subscriber_faults_total",
        "counter",
        "calls",
        ("subscriber",),
        "of these raised",
        "above 0: see its log",
    ),
    Metric(
        "headrace_dead_letters_total",
        "counter",
        "letters",
        (),
        "frames, handler calls and events that failed for good",
        "rises: headrace ctl dead-letters lists them",
    ),
    Metric("headrace_dead_letters_kept", "gauge", "letters", (), "in the store; the oldest go when it is full"),
    # Commands
    Metric(
        "headrace_commands_total",
        "counter",
        "commands",
        ("command", "status"),
        "answered: accepted, noop, rejected, failed",
        "failed rises: outcome unknown, look at the engine's state before repeating it",
    ),
    Metric(
        "headrace_command_latency_seconds",
        "gauge",
        "s",
        ("command", "status", "quantile"),
        "from submission to answer",
        "0.99 above 0.001 while ticks saturate a core",
    ),
    Metric(
        "headrace_commands_in_flight", "gauge", "commands", (), "submitted and not answered", "does not go back to 0"
    ),
    Metric(
        "headrace_command_handlers_abandoned",
        "gauge",
        "handlers",
        (),
        "outlived their timeout and run still",
        "above 0: that handler hangs",
    ),
    Metric(
        "headrace_command_audits_lost_total",
        "counter",
        "events",
        (),
        "audits that found no room on the bus; they stand in the log",
        "above 0",
    ),
    # Strategies, orders, risk
    Metric(
        "headrace_strategy_state",
        "gauge",
        "0 or 1",
        ("strategy", "state"),
        "1 for the state that it is in",
        "quarantined or failed is 1",
    ),
    Metric(
        "headrace_strategy_state_changes_total",
        "counter",
        "changes",
        ("strategy",),
        "of its life cycle",
        "rises without a command",
    ),
    Metric(
        "headrace_orders_total",
        "counter",
        "orders",
        ("strategy", "fate"),
        "submitted, and how they ended: filled, canceled, rejected, expired",
        "rejected rises: a gate or the broker refuses",
    ),
    Metric("headrace_orders_open", "gauge", "orders", ("strategy",), "without an end yet"),
    Metric(
        "headrace_orders_pending_cancel",
        "gauge",
        "orders",
        ("strategy",),
        "of the open ones, with a cancel that the broker has not answered",
        "does not go back to 0",
    ),
    Metric("headrace_fills_total", "counter", "executions", ("strategy",), "executions"),
    Metric(
        "headrace_order_events_refused_total",
        "counter",
        "events",
        (),
        "of the broker, which cannot be (a fill above the quantity, an unknown order)",
        "above 0: broker and engine disagree about orders; halt, and compare",
    ),
    Metric(
        "headrace_gate_checks_total",
        "counter",
        "orders",
        ("gate", "verdict"),
        "judged by a gate: passed or refused",
        "refused rises: the order's rejection says what was observed and what is allowed",
    ),
    Metric("headrace_halted", "gauge", "0 or 1", (), "whether the kill switch lets no new order pass", "1"),
    Metric("headrace_position_quantity", "gauge", "units", ("strategy", "instrument"), "signed"),
    Metric(
        "headrace_realized_pnl",
        "gauge",
        "quote currency",
        ("strategy", "instrument"),
        "since the run began, without fees",
        "falls below what the strategy may lose",
    ),
    Metric("headrace_fees", "gauge", "quote currency", ("strategy", "instrument"), "paid since the run began"),
    # What runs beside
    Metric(
        "headrace_service_restarts_total",
        "counter",
        "restarts",
        ("service",),
        "started again after it ended",
        "rises: its failure is in the log",
    ),
    Metric("headrace_service_healthy", "gauge", "0 or 1", ("service",), "whether it says that it is well", "0"),
    Metric("headrace_service_value", "gauge", "its own", ("service", "name"), "what a service measures itself"),
    Metric(
        "headrace_audit_events_total",
        "counter",
        "events",
        ("fate",),
        "written to the audit, or lost",
        "lost is above 0: the disk is full or gone",
    ),
    Metric("headrace_engine_info", "gauge", "1", ("run_id", "version"), "which run this is"),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}

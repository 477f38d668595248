"""The one table of metrics: their names, units, labels and meaning, and the value at which to worry.

Guarantees: ``METRICS`` holds every metric that ``collect`` reads, and no other; names end in their unit, counters in
``_total``.
Does not: hold values.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["METRICS", "Metric"]


class Metric(NamedTuple):
    """One metric.

    unit : of its value. labels : the names of its labels.
    worry : the value, or the change, that an operator should look at; empty: none.
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    meaning: str
    worry: str = ""

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        """A "counter" only grows; a "gauge" goes up and down."""
        return "counter" if self.name.endswith("_total") else "gauge"


_ROWS = (
    # The tick road
    Metric(
        "headrace_ticks_total",
        "ticks",
        ("kind",),
        "published on the ring",
        "stands still while the venue trades",
    ),
    Metric("headrace_frames_total", "frames", ("type",), "decoded"),
    Metric(
        "headrace_frames_rejected_total",
        "frames",
        ("reason",),
        "refused by the decoder, kept as dead letters",
        "above 0: the venue sends something new, or a feed is damaged",
    ),
    Metric("headrace_frames_ignored_total", "frames", ("type",), "documented by the venue, but no tick here"),
    Metric(
        "headrace_sequence_faults_total",
        "ticks",
        ("fault",),
        "found by the venue's own numbers: gap, duplicate, late, restart",
        "gap rises: the feed loses ticks",
    ),
    Metric(
        "headrace_subscription_ticks_total",
        "ticks",
        ("subscription", "fate"),
        "what became of each tick: delivered, filtered, missed, conflated, skipped",
        "missed rises: the strategy is too slow for its subscription",
    ),
    Metric(
        "headrace_subscription_pending_ticks",
        "ticks",
        ("subscription",),
        "backlog: published and not yet dispatched",
        "above half of the ring's capacity: block readers soon hold up the feed, lossy ones lose ticks",
    ),
    Metric(
        "headrace_subscription_lag_seconds",
        "s",
        ("subscription",),
        "receive time between the last dispatched and the newest tick",
        "above 1 s: it decides on old prices",
    ),
    Metric("headrace_subscription_calls_total", "calls", ("subscription",), "calls of its tick handlers"),
    Metric(
        "headrace_subscription_faults_total",
        "calls",
        ("subscription",),
        "calls of its tick handlers that raised",
        "above 0: see its dead letters; 3 within 1,000 calls quarantine it",
    ),
    Metric(
        "headrace_handler_latency_seconds",
        "s",
        ("subscription", "quantile"),
        "duration of a call of a tick handler; quantile 1 is the longest that was timed",
        "0.99 above 0.0002 (one slice): one strategy delays all others; 1 above 0.1",
    ),
    # The event bus
    Metric(
        "headrace_lane_events_total",
        "events",
        ("lane", "fate"),
        "published, and what became of them: processed, dead, dropped; refused ones never entered the lane",
        "dead, dropped or refused rises",
    ),
    Metric(
        "headrace_lane_depth_events",
        "events",
        ("lane",),
        "waiting in the lane",
        "above 80 % of its capacity: its handlers are slower than its publishers",
    ),
    Metric("headrace_lane_capacity_events", "events", ("lane",), "the lane's capacity now"),
    Metric("headrace_events_retried_total", "events", (), "delivered to a handler again after it raised"),
    Metric("headrace_subscriber_calls_total", "calls", ("subscriber",), "calls of a bus subscriber"),
    Metric(
        "headrace_subscriber_faults_total",
        "calls",
        ("subscriber",),
        "calls of a bus subscriber that raised",
        "above 0: see its log",
    ),
    Metric(
        "headrace_dead_letters_total",
        "letters",
        (),
        "frames, handler calls and events that failed for good",
        "rises: headrace ctl dead-letters lists them",
    ),
    Metric("headrace_dead_letters_kept", "letters", (), "in the store; a full store drops the oldest"),
    # Commands
    Metric(
        "headrace_commands_total",
        "commands",
        ("command", "status"),
        "answered: accepted, noop, rejected, failed",
        "failed rises: the outcome is unknown; look at the engine's state before repeating it",
    ),
    Metric(
        "headrace_command_latency_seconds",
        "s",
        ("command", "status", "quantile"),
        "from submission to answer",
        "0.99 above 0.001 while ticks saturate a core",
    ),
    Metric("headrace_commands_in_flight", "commands", (), "submitted and not answered", "does not go back to 0"),
    Metric(
        "headrace_command_handlers_abandoned",
        "handlers",
        (),
        "still running after their timeout",
        "above 0: that handler hangs",
    ),
    Metric(
        "headrace_command_audits_lost_total",
        "events",
        (),
        "audits that found no room on the bus; they are in the log",
        "above 0",
    ),
    # Strategies, orders, risk
    Metric(
        "headrace_strategy_state",
        "0 or 1",
        ("strategy", "state"),
        "1 for the state that it is in",
        "quarantined or failed is 1",
    ),
    Metric(
        "headrace_strategy_state_changes_total",
        "changes",
        ("strategy",),
        "changes of its state",
        "rises without a command",
    ),
    Metric(
        "headrace_orders_total",
        "orders",
        ("strategy", "fate"),
        "submitted, and how they ended: filled, canceled, rejected, expired",
        "rejected rises: a gate or the broker refuses",
    ),
    Metric("headrace_orders_open", "orders", ("strategy",), "not ended yet"),
    Metric(
        "headrace_orders_pending_cancel",
        "orders",
        ("strategy",),
        "open orders with a cancel that the broker has not answered",
        "does not go back to 0",
    ),
    Metric("headrace_fills_total", "executions", ("strategy",), "executions"),
    Metric(
        "headrace_order_events_refused_total",
        "events",
        (),
        "impossible events of the broker (a fill above the quantity, an unknown order)",
        "above 0: broker and engine disagree about orders; halt, and compare them",
    ),
    Metric(
        "headrace_gate_checks_total",
        "orders",
        ("gate", "verdict"),
        "checked by a gate: passed or refused",
        "refused rises: the order's rejection holds the observed value and the allowed one",
    ),
    Metric("headrace_halted", "0 or 1", (), "1 while the kill switch refuses new orders", "1"),
    Metric("headrace_position_quantity", "units", ("strategy", "instrument"), "signed quantity held"),
    Metric(
        "headrace_realized_pnl",
        "settlement currency",
        ("strategy", "instrument"),
        "since the run began, without fees",
        "falls below what the strategy may lose",
    ),
    Metric("headrace_fees", "settlement currency", ("strategy", "instrument"), "paid since the run began"),
    # Feeds
    Metric("headrace_feed_running", "0 or 1", ("feed",), "1 until the live feed ended, or failed", "0"),
    Metric(
        "headrace_breaker_state",
        "0 or 1",
        ("feed", "state"),
        "of the circuit breaker of a live feed's REST requests: CLOSED, OPEN, HALF_OPEN",
        "OPEN is 1: the venue's REST does not answer; snapshots and polls wait",
    ),
    # The gateway
    Metric(
        "headrace_route_events_total",
        "events",
        ("type", "instrument", "fate"),
        "of a route: received, converted, filtered, rejected, suppressed by its throttle, forwarded to the bus",
        "received stands still while the venue trades; rejected above 0",
    ),
    Metric("headrace_routes_version", "changes", (), "of the table of routes; grows with each change"),
    Metric(
        "headrace_subscribe_seconds",
        "s",
        ("command", "quantile"),
        "from the handler of subscribe and unsubscribe to the venue's confirmation",
        "0.95 above 2",
    ),
    Metric(
        "headrace_gateway_stage_seconds",
        "s",
        ("stage", "quantile"),
        "from receiving an event to the end of a stage: convert, forward",
        "0.99 above 1",
    ),
    Metric(
        "headrace_pool_pieces",
        "pieces of work",
        (),
        "parsing and storing that waits or runs",
        "near queue_max: polls wait for room",
    ),
    Metric(
        "headrace_polls_total",
        "polls",
        ("fate",),
        "answered, failed, or unparsed",
        "failed or unparsed rises: the log names the poller",
    ),
    Metric(
        "headrace_snapshots_total",
        "snapshots",
        ("fate",),
        "stored, retried because another writer was faster, failed, or swept: marked stale or removed",
        "failed rises: the store is not available",
    ),
    # Execution of recommendations, of the process that works
    Metric("headrace_execution_runs_total", "runs", (), "runs of its workers that have ended", "stands still"),
    Metric("headrace_execution_run_seconds", "s", (), "duration of the last run", "above 10"),
    Metric("headrace_execution_claims_total", "recommendations", (), "claimed"),
    Metric(
        "headrace_execution_finishes_total",
        "recommendations",
        ("status",),
        "brought to a status: SIMULATED, SKIPPED, FAILED, SENT, EXECUTED",
        "FAILED rises: failure_reason says why",
    ),
    Metric(
        "headrace_execution_stale_finishes_total",
        "recommendations",
        (),
        "finishes that were refused, since another worker had the row by then",
        "rises: a worker is slower than its lease",
    ),
    Metric(
        "headrace_execution_reaped_total",
        "recommendations",
        ("fate",),
        "leases that were over: released, or failed after the last attempt",
        "rises: workers end, or stall, while they hold rows",
    ),
    Metric("headrace_execution_released_total", "recommendations", (), "given back without an attempt"),
    Metric(
        "headrace_execution_expired_total",
        "recommendations",
        (),
        "ended by their age, unclaimed",
        "rises: there are too few workers, or max_signals_per_run is too low",
    ),
    Metric(
        "headrace_execution_refusals_total",
        "recommendations",
        ("gate",),
        "refused by a gate",
        "bar_freshness or feature_freshness rises: the pipeline is late",
    ),
    Metric(
        "headrace_execution_backlog_recommendations",
        "recommendations",
        ("status",),
        "in the database: PENDING, PROCESSING, SENT",
        "SENT does not go back to 0: the venue does not say what became of an order",
    ),
    Metric(
        "headrace_execution_backlog_age_seconds",
        "s",
        (),
        "age of the oldest pending recommendation",
        "above twice the interval of the runs",
    ),
    # Services, audit, engine
    Metric(
        "headrace_service_restarts_total",
        "restarts",
        ("service",),
        "starts after its first start",
        "rises: its failure is in the log",
    ),
    Metric("headrace_service_healthy", "0 or 1", ("service",), "1 while its own health is ok", "0"),
    Metric("headrace_service_value", "its own", ("service", "name"), "a service's own metric"),
    Metric(
        "headrace_service_faults_total",
        "calls",
        ("service",),
        "calls of its health() and metrics() that raised, or returned what is none",
        "rises: it has no metrics, and the log names the first fault",
    ),
    Metric(
        "headrace_audit_events_total",
        "events",
        ("fate",),
        "written to the audit, or lost",
        "lost above 0: the disk is full or gone",
    ),
    Metric("headrace_engine_info", "1", ("run_id", "version"), "the run id and the version"),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}

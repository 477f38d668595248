"""Metrics: a snapshot of the counts that the parts of an engine keep.

Guarantees: a snapshot is taken on the caller's thread, all of it at once; a part that is absent has no samples; every
sample is of a row of ``METRICS``.
Does not: run between two snapshots, keep a snapshot, or work on another thread than the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from headrace.bus import AuditRunner, EventBus
    from headrace.commands import CommandBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription_stats import LatencyStats
    from headrace.feeds.ends import FeedEnds
    from headrace.market.dead_letters import DeadLetters
    from headrace.strategies.states import LifeCycle
    from headrace.trading.orders import OrderManager
    from headrace.trading.positions import Positions
    from headrace.trading.risk import RiskGates

__all__ = ["Alive", "Metrics", "Sample", "Supervised", "quantiles"]

FATES = ("delivered", "filtered", "missed", "conflated", "skipped")
LANE_FATES = ("published", "processed", "dead", "dropped", "refused")
ORDER_FATES = ("submitted", "filled", "canceled", "rejected", "expired")
BREAKER_STATES = ("CLOSED", "OPEN", "HALF_OPEN")
QUANTILES = {"0.5": "p50", "0.9": "p90", "0.99": "p99", "0.999": "p999", "1": "max"}


class Sample(NamedTuple):
    """One value of a metric; ``labels`` in the order of the table."""

    name: str
    labels: tuple[str, ...]
    value: float


class Alive(Protocol):
    """A strategy in an engine."""

    @property
    def life(self) -> LifeCycle:
        """Its state and the version of it."""


class Supervised(Protocol):
    """The supervisor of the services."""

    @property
    def restarts(self) -> Mapping[str, int]:
        """Starts after the first, by service."""

    @property
    def faults(self) -> Mapping[str, int]:
        """Calls of ``health`` and ``metrics`` that failed, by service."""

    def health(self) -> Mapping[str, str]:
        """Each service's own health text, "ok" when it is well."""

    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Each service's own metrics."""


@dataclass(kw_only=True)
class Metrics:
    """The parts that a snapshot reads; each may be set later, or never.

    run_id, version : labels of ``headrace_engine_info``. strategies : by name.
    """

    run_id: str = ""
    version: str = ""
    dispatcher: Dispatcher | None = None
    bus: EventBus | None = None
    dead_letters: DeadLetters | None = None
    commands: CommandBus | None = None
    strategies: Mapping[str, Alive] = field(default_factory=dict)
    orders: OrderManager | None = None
    positions: Positions | None = None
    gates: RiskGates | None = None
    services: Supervised | None = None
    feeds: FeedEnds | None = None
    audit: AuditRunner | None = None
    # By live feed: the state of the circuit breaker of its REST requests.
    breakers: Mapping[str, str] = field(default_factory=dict)
    # Each returns samples of a part that belongs to no engine by itself, such as a gateway.
    more: Sequence[Callable[[], Iterable[Sample]]] = ()

    def snapshot(self) -> list[Sample]:
        """Return every value as it is now. O(subscriptions + subscribers + strategies + positions)."""
        samples = [Sample("headrace_engine_info", (self.run_id, self.version), 1)]
        if self.dispatcher is not None:
            samples += _of_dispatcher(self.dispatcher)
        if self.bus is not None:
            samples += _of_bus(self.bus)
        if self.dead_letters is not None:
            samples += _of_dead_letters(self.dead_letters)
        if self.commands is not None:
            samples += _of_commands(self.commands)
        samples += _of_strategies(self.strategies)
        if self.orders is not None:
            samples += _of_orders(self.orders, self.strategies)
        if self.positions is not None:
            samples += _of_positions(self.positions)
        if self.gates is not None:
            samples += _of_gates(self.gates)
        if self.feeds is not None:
            samples += _by("headrace_feed_running", {name: own.state == "running" for name, own in self.feeds})
        if self.services is not None:
            samples += _of_services(self.services)
        if self.audit is not None:
            samples += _of_audit(self.audit)
        samples += _of_breakers(self.breakers)
        return [*samples, *(sample for read in self.more for sample in read())]


def _by(name: str, values: Mapping[str, float]) -> Iterator[Sample]:
    return (Sample(name, (label,), value) for label, value in values.items())


def _fates(name: str, label: str, stats: object, fates: Iterable[str]) -> Iterator[Sample]:
    return (Sample(name, (label, fate), getattr(stats, fate)) for fate in fates)


def quantiles(name: str, labels: tuple[str, ...], latency: LatencyStats) -> Iterator[Sample]:
    """Yield a sample for each quantile of a latency, in s."""
    if latency.count:
        for quantile, attribute in QUANTILES.items():
            yield Sample(name, (*labels, quantile), getattr(latency, attribute) / 1e9)


def _of_dispatcher(dispatcher: Dispatcher) -> Iterator[Sample]:
    stats = dispatcher.stats()
    yield from _by("headrace_ticks_total", stats.ticks)
    yield from _by("headrace_frames_total", stats.frames)
    yield from _by("headrace_frames_rejected_total", stats.rejected)
    yield from _by("headrace_frames_ignored_total", stats.ignored)
    faults = {"gap": stats.gaps, "duplicate": stats.duplicates, "late": stats.late, "restart": stats.restarts}
    yield from _by("headrace_sequence_faults_total", faults)
    # Closed subscriptions keep one row together, so that sums over all rows never fall.
    counted = {**stats.subscriptions, **({stats.closed.name: stats.closed} if stats.closed.published else {})}
    for name, own in counted.items():
        yield from _fates("headrace_subscription_ticks_total", name, own, FATES)
        yield Sample("headrace_subscription_pending_ticks", (name,), own.pending)
        yield Sample("headrace_subscription_lag_seconds", (name,), own.pending_ns / 1e9)
        yield Sample("headrace_subscription_calls_total", (name,), own.calls)
        yield Sample("headrace_subscription_faults_total", (name,), own.faults)
        yield from quantiles("headrace_handler_latency_seconds", (name,), own.latency)


def _of_bus(bus: EventBus) -> Iterator[Sample]:
    stats = bus.stats()
    for lane, own in stats.lanes.items():
        yield from _fates("headrace_lane_events_total", str(lane), own, LANE_FATES)
        yield Sample("headrace_lane_depth_events", (str(lane),), own.depth)
        yield Sample("headrace_lane_capacity_events", (str(lane),), own.capacity)
    yield Sample("headrace_events_retried_total", (), stats.retried)
    for name, handler in stats.handlers.items():
        yield Sample("headrace_subscriber_calls_total", (name,), handler.calls)
        yield Sample("headrace_subscriber_faults_total", (name,), handler.faults)


def _of_dead_letters(letters: DeadLetters) -> Iterator[Sample]:
    yield Sample("headrace_dead_letters_total", (), letters.total)
    yield Sample("headrace_dead_letters_kept", (), len(letters))


def _of_commands(commands: CommandBus) -> Iterator[Sample]:
    stats = commands.stats()
    for (verb, status), latency in stats.outcomes.items():
        yield Sample("headrace_commands_total", (verb, status), latency.count)
        yield from quantiles("headrace_command_latency_seconds", (verb, status), latency)
    yield Sample("headrace_commands_in_flight", (), stats.in_flight)
    yield Sample("headrace_command_handlers_abandoned", (), stats.abandoned)
    yield Sample("headrace_command_audits_lost_total", (), stats.audits_lost)


def _of_strategies(strategies: Mapping[str, Alive]) -> Iterator[Sample]:
    for name, strategy in strategies.items():
        for state in StrategyState:
            yield Sample("headrace_strategy_state", (name, str(state)), strategy.life.state is state)
        yield Sample("headrace_strategy_state_changes_total", (name,), strategy.life.version)


def _of_orders(orders: OrderManager, strategies: Iterable[str]) -> Iterator[Sample]:
    for name in strategies:
        stats = orders.stats(name)
        yield from _fates("headrace_orders_total", name, stats, ORDER_FATES)
        yield Sample("headrace_orders_open", (name,), stats.open)
        yield Sample("headrace_orders_pending_cancel", (name,), stats.pending_cancel)
        yield Sample("headrace_fills_total", (name,), stats.fills)
    yield Sample("headrace_order_events_refused_total", (), orders.refused_events)


def _of_positions(positions: Positions) -> Iterator[Sample]:
    for position in positions:
        labels = (position.strategy, position.instrument)
        yield Sample("headrace_position_quantity", labels, float(position.quantity))
        yield Sample("headrace_realized_pnl", labels, float(position.realized_pnl))
        yield Sample("headrace_fees", labels, float(position.fees))


def _of_gates(gates: RiskGates) -> Iterator[Sample]:
    for name, counts in gates.counts().items():
        yield Sample("headrace_gate_checks_total", (name, "passed"), counts.passed)
        yield Sample("headrace_gate_checks_total", (name, "refused"), counts.refused)
    yield Sample("headrace_halted", (), gates.is_halted)


def _of_services(services: Supervised) -> Iterator[Sample]:
    yield from _by("headrace_service_restarts_total", services.restarts)
    for name, health in services.health().items():
        yield Sample("headrace_service_healthy", (name,), health == "ok")
    for name, values in services.metrics().items():
        for own, value in values.items():
            yield Sample("headrace_service_value", (name, own), value)
    yield from _by("headrace_service_faults_total", services.faults)


def _of_breakers(breakers: Mapping[str, str]) -> Iterator[Sample]:
    for name, own in breakers.items():
        for state in BREAKER_STATES:
            yield Sample("headrace_breaker_state", (name, state), own == state)


def _of_audit(audit: AuditRunner) -> Iterator[Sample]:
    stats = audit.stats()
    yield from _by("headrace_audit_events_total", {"written": stats.written, "lost": stats.lost})

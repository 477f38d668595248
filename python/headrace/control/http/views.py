"""Views: the documents of the control API, each made from an engine's parts by one function.

Guarantees: amounts are Decimals, which JSON gets as strings; a time is text in UTC (``at``) and ns as a string
(``at_ns``), since a browser would round the number.
Does not: change or keep anything.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from headrace.control.plain import rfc3339
from headrace.engine.trading_report import PositionReport, position_reports

if TYPE_CHECKING:
    from headrace.dispatch.subscription_stats import SubscriptionStats
    from headrace.engine.engine import Engine
    from headrace.engine.report import StrategyReport
    from headrace.trading.account import Balance
    from headrace.trading.orders.order import Order

__all__ = [
    "AccountView",
    "BalanceView",
    "LaneView",
    "OrderView",
    "Page",
    "PositionView",
    "RouteView",
    "StatusView",
    "StrategyView",
    "SubscriptionView",
    "View",
    "account_view",
    "lane_views",
    "order_view",
    "position_views",
    "status_view",
    "strategy_view",
    "subscription_views",
]

Item = TypeVar("Item")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What every document is: immutable, with named fields."""


class Page(View, Generic[Item], frozen=True, kw_only=True):
    """A part of a list. next : the cursor of the next part, as ``after``; null: this is the last one."""

    items: list[Item]
    next: str | None = None


# The status


class StrategyStatus(View, frozen=True, kw_only=True):
    """One strategy in the status. realized_pnl : by currency."""

    state: str
    version: int
    pending: int
    missed: int
    open_orders: list[str]
    fills: int
    positions: dict[str, Decimal]
    realized_pnl: dict[str, Decimal]


class StatusView(View, frozen=True, kw_only=True):
    """What runs, and how it is. lanes : events that wait. services : the health of each, "ok" when it is well."""

    engine: str
    run_id: str
    mode: str
    now: str
    now_ns: str
    halted: bool
    stopping: bool
    ticks: int
    dead_letters: int
    lanes: dict[str, int]
    services: dict[str, str]
    strategies: dict[str, StrategyStatus]


def status_view(engine: Engine) -> StatusView:
    """Return the status of an engine, as its Status command answers it."""
    status: dict[str, Any] = engine.status()
    now_ns = status["now_ns"]
    given = {**status, "mode": str(engine.mode), "now": rfc3339(now_ns), "now_ns": str(now_ns)}
    return msgspec.convert(given, StatusView)


# Strategies and subscriptions


class LatencyView(View, frozen=True, kw_only=True):
    """Durations of handler calls, ns; ``count`` of them were timed."""

    count: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int


class SubscriptionView(View, frozen=True, kw_only=True):
    """The ticks of one subscription: published = delivered + filtered + missed + conflated + skipped + pending."""

    name: str
    strategy: str
    state: str
    published: int
    delivered: int
    filtered: int
    missed: int
    conflated: int
    skipped: int
    pending: int
    pending_ns: str
    snapshots: int
    faults: int
    calls: int
    demoted: bool
    latency: LatencyView


class BalanceView(View, frozen=True, kw_only=True):
    """Cash, profit and costs in one currency. unrealized_pnl, equity : null while an open position has no mark."""

    currency: str
    deposit: Decimal
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees: Decimal
    funding: Decimal
    balance: Decimal
    equity: Decimal | None


class RefusedView(View, frozen=True, kw_only=True):
    """How often a gate refused, and the first order that it did."""

    times: int
    example: str


class StrategyView(View, frozen=True, kw_only=True):
    """One strategy: its ticks, all subscriptions together, and its trading.

    stopped_from, stopped_by : the state in which it was stopped, and why; empty while it lives. orders : how many, by
    what became of them. refusals : by gate. totals : by currency.
    """

    name: str
    state: str
    version: int
    stopped_from: str
    stopped_by: str
    ticks: SubscriptionView
    subscriptions: list[str]
    orders: dict[str, int]
    refusals: dict[str, RefusedView]
    open_orders: list[str]
    positions: list[PositionReport]
    totals: dict[str, BalanceView]
    skipped_events: dict[str, int]


TICK_COUNTS = (
    *("state", "published", "delivered", "filtered", "missed", "conflated", "skipped", "pending", "snapshots"),
    *("faults", "calls", "demoted"),
)


def _subscription_view(strategy: str, own: SubscriptionStats) -> SubscriptionView:
    latency = own.latency
    return SubscriptionView(
        name=own.name,
        strategy=strategy,
        pending_ns=str(own.pending_ns),
        latency=LatencyView(
            count=latency.count,
            p50_ns=latency.p50,
            p90_ns=latency.p90,
            p99_ns=latency.p99,
            p999_ns=latency.p999,
            max_ns=latency.max,
        ),
        **{name: getattr(own, name) for name in TICK_COUNTS},
    )


def strategy_view(own: StrategyReport) -> StrategyView:
    """Return one strategy."""
    return StrategyView(
        name=own.name,
        state=own.state,
        version=own.version,
        stopped_from=own.stopped_from,
        stopped_by=own.stopped_by,
        ticks=_subscription_view(own.name, own),
        subscriptions=list(own.subscriptions),
        orders=own.orders._asdict(),
        refusals={gate: RefusedView(times=each.times, example=each.example) for gate, each in own.refusals.items()},
        open_orders=list(own.open_orders),
        positions=list(own.positions),
        totals={currency: _balance_view(each) for currency, each in own.totals.items()},
        skipped_events=dict(own.skipped_events),
    )


def subscription_views(engine: Engine) -> list[SubscriptionView]:
    """Return every open subscription of a strategy, by name."""
    views = [
        _subscription_view(name, stats)
        for name, own in engine.strategies.items()
        for stats in own.tick_stats()
        if stats.state != "closed"
    ]
    return sorted(views, key=lambda view: view.name)


# Lanes and routes


class LaneView(View, frozen=True, kw_only=True):
    """One lane of the event bus, and what became of its events."""

    lane: str
    published: int
    processed: int
    dead: int
    dropped: int
    refused: int
    gaps: int
    depth: int
    depth_max: int
    left: int
    capacity: int


def lane_views(engine: Engine) -> list[LaneView]:
    """Return the lanes, highest priority first."""
    return [LaneView(lane=str(lane), **own._asdict()) for lane, own in engine.bus.stats().lanes.items()]


class RouteView(View, frozen=True, kw_only=True):
    """One route of a gateway, as ListRoutes shows it."""

    type: str
    instrument: str
    state: str
    topics: str
    filters: str
    throttle_ms: float
    received: int
    converted: int
    filtered: int
    rejected: int
    suppressed: int
    forwarded: int


# Trading


class OrderView(View, frozen=True, kw_only=True):
    """One order. side : 1 buys, -1 sells. price : null for a market order. at : of its latest change."""

    order_id: str
    strategy: str
    instrument: str
    side: int
    order_type: str
    quantity: Decimal
    price: Decimal | None
    time_in_force: str
    reduce_only: bool
    tag: str
    state: str
    filled: Decimal
    left: Decimal
    average_price: Decimal
    fees: Decimal
    reason: str
    gate: str
    broker_order_id: str
    is_open: bool
    submitted_at: str
    submitted_ns: str
    at: str
    at_ns: str


OF_REQUEST = ("order_type", "quantity", "price", "time_in_force", "reduce_only", "tag")
OF_ORDER = (
    *("order_id", "strategy", "instrument", "side", "filled", "left", "average_price", "fees", "reason", "gate"),
    *("broker_order_id", "is_open"),
)


def order_view(order: Order) -> OrderView:
    """Return one order as it stands."""
    request = order.request
    return OrderView(
        **{name: getattr(request, name) for name in OF_REQUEST},
        **{name: getattr(order, name) for name in OF_ORDER},
        state=str(order.state),
        submitted_at=rfc3339(request.ts),
        submitted_ns=str(request.ts),
        at=rfc3339(order.ts),
        at_ns=str(order.ts),
    )


class PositionView(PositionReport, frozen=True, kw_only=True):
    """What a strategy holds of an instrument, as reports have it; amounts are in ``currency``."""

    strategy: str
    fills: int


def position_views(engine: Engine, strategy: str | None) -> list[PositionView]:
    """Return the positions of a strategy, or of all. Raises OptionError (unknown)."""
    held = engine.positions.positions(strategy=strategy)
    reports = position_reports(held, engine.account)
    return [
        PositionView(strategy=own.strategy, fills=own.fills, **msgspec.structs.asdict(report))
        for own, report in zip(held, reports, strict=True)
    ]


class AccountView(View, frozen=True, kw_only=True):
    """The account: each currency by itself, since none is converted."""

    balances: dict[str, BalanceView]


def account_view(engine: Engine) -> AccountView:
    """Return the balances of an engine."""
    return AccountView(balances={name: _balance_view(own) for name, own in engine.account.balances().items()})


def _balance_view(own: Balance) -> BalanceView:
    return BalanceView(**{name: getattr(own, name) for name in BalanceView.__struct_fields__})

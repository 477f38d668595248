"""EngineReport: what an engine's run did, as frozen objects, one line per field, and as tables.

Guarantees: every event is processed, dead, dropped or left, by lane; every tick of every subscription is in a term of
the loss law; every order is in one state.
Does not: decide anything; it reads counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.engine.result import strategy_table
from headrace.engine.tables import Table, duration_text, tables_html, tables_text

if TYPE_CHECKING:
    from headrace.bus.lane import LaneStats
    from headrace.dispatch.subscription import SubscriptionStats
    from headrace.engine.parts import EngineParts
    from headrace.engine.repeat import RepeatReport
    from headrace.market.events import Lane
    from headrace.strategies.runner import StrategyRunner
    from headrace.trading.orders import OrderStats

__all__ = ["EngineReport", "PositionReport", "StrategyReport", "report_of", "status_of"]


class PositionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A position at the end. unrealized_pnl : at the newest mid; None without a quote."""

    instrument: str
    quantity: Decimal
    average_price: Decimal
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees: Decimal


class StrategyReport(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy of a run.

    state : now. stopped_from : what it was when it was stopped, "running" or "quarantined" say; empty while it lives.
    ticks : the loss law of each of its subscriptions. orders : what became of them. open_orders : ids of those left.
    skipped : bars and signals that came while it was not running, by callback.
    """

    name: str
    state: str
    stopped_from: str
    version: int
    ticks: tuple[SubscriptionStats, ...]
    orders: OrderStats
    open_orders: tuple[str, ...]
    positions: tuple[PositionReport, ...]
    skipped: Mapping[str, int]

    @property
    def realized_pnl(self) -> Decimal:
        """Of all its positions, fees not deducted."""
        return sum((position.realized_pnl for position in self.positions), Decimal(0))

    @property
    def fees(self) -> Decimal:
        """Of all its executions."""
        return sum((position.fees for position in self.positions), Decimal(0))


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did; prints as tables.

    ended_by : "feeds ended", "SIGINT", what ``stop`` was told, "error"; with ", forced" when nothing was drained.
    ticks : published, by kind. lanes : what became of the events. left : of them, those that nobody got.
    strategies, services : by name. commands : by outcome. input_hash : None without ``hashing``.
    """

    name: str
    run_id: str
    replay: bool
    ended_by: str
    wall_s: float
    ticks: Mapping[str, int]
    lanes: Mapping[Lane, LaneStats]
    left: Mapping[Lane, int]
    strategies: Mapping[str, StrategyReport]
    services: Mapping[str, str]
    commands: int
    dead_letters: int
    halted: bool
    input_hash: str | None
    repeated: RepeatReport | None

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``headrace run --json`` prints: plain numbers, texts, lists and dicts."""
        return {name: _plain(getattr(self, name)) for name in self.__struct_fields__}

    def __str__(self) -> str:
        return tables_text(self._tables())

    def _repr_html_(self) -> str:
        return tables_html(self._tables())

    def _tables(self) -> list[Table]:
        facts = [
            ("run", self.run_id),
            ("ended by", self.ended_by),
            ("wall time", duration_text(self.wall_s * 1e9)),
            ("ticks", f"{sum(self.ticks.values()):,}"),
            ("commands", f"{self.commands:,}"),
            ("dead letters", f"{self.dead_letters:,}"),
            *([("kill switch", "HALTED")] if self.halted else []),
            *([("repeated", _verdict(self.repeated))] if self.repeated else []),
        ]
        lanes = [
            (str(lane), *(f"{count:,}" for count in (own.published, own.processed, own.dead, own.dropped, own.left)))
            for lane, own in self.lanes.items()
        ]
        subscriptions = {own.name: own for strategy in self.strategies.values() for own in strategy.ticks}
        trading = [
            (
                strategy.name,
                _state_text(strategy),
                f"{strategy.orders.submitted:,}",
                f"{strategy.orders.open:,}",
                f"{strategy.orders.fills:,}",
                ", ".join(f"{own.quantity:f} {own.instrument}" for own in strategy.positions if own.quantity) or "flat",
                f"{strategy.realized_pnl:z,.2f}",
                f"{sum((own.unrealized_pnl or Decimal(0) for own in strategy.positions), Decimal(0)):z,.2f}",
                f"{strategy.fees:z,.2f}",
            )
            for strategy in self.strategies.values()
        ]
        columns = ("strategy", "state", "orders", "open", "fills", "position", "realized", "unrealized", "fees")
        return [
            Table("engine", ("", ""), facts),
            Table("lanes", ("lane", "published", "processed", "dead", "dropped", "left"), lanes),
            *([strategy_table(subscriptions, title="ticks", with_state=False)] if subscriptions else []),
            *([Table("trading", columns, trading)] if trading else []),
        ]


def _verdict(repeated: RepeatReport) -> str:
    counts = f"{repeated.calls:,} calls, {repeated.decisions:,} decisions"
    return f"{counts}, {'all' if repeated.same else 'not all'} the same"


def report_of(engine: EngineParts, *, wall_s: float, left: Mapping[Lane, int], ended_by: str) -> EngineReport:
    """Read an engine's counters."""
    stats = engine.dispatcher.stats()
    return EngineReport(
        name=engine.name,
        run_id=engine.run_id,
        replay=engine.replay,
        ended_by=ended_by or "running",
        wall_s=wall_s,
        ticks=stats.ticks,
        lanes=engine.bus.stats().lanes,
        left=left,
        strategies={name: _strategy(engine, runner, stats.subscriptions) for name, runner in engine.strategies.items()},
        services=engine.services.health(),
        commands=engine.commands.stats().answered,
        dead_letters=engine.dead_letters.total,
        halted=engine.kill_switch is not None and engine.kill_switch.is_halted,
        input_hash=engine.dispatcher.input_hash,
        repeated=None if engine.repeat is None else engine.repeat.report(),
    )


def status_of(engine: EngineParts, report: EngineReport, *, stopping: bool) -> dict[str, object]:
    """Return what runs now, as a command answers it: plain types only."""
    return {
        "engine": engine.name,
        "run_id": engine.run_id,
        "now_ns": engine.clock.now_ns(),
        "halted": report.halted,
        "stopping": stopping,
        "ticks": sum(report.ticks.values()),
        "dead_letters": report.dead_letters,
        "lanes": {str(lane): own.left for lane, own in report.lanes.items()},
        "services": dict(report.services),
        "strategies": {
            name: {
                "state": own.state,
                "version": own.version,
                "pending": sum(ticks.pending for ticks in own.ticks),
                "missed": sum(ticks.missed for ticks in own.ticks),
                "open_orders": list(own.open_orders),
                "fills": own.orders.fills,
                "positions": {position.instrument: str(position.quantity) for position in own.positions},
                "realized_pnl": str(own.realized_pnl),
            }
            for name, own in report.strategies.items()
        },
    }


def _strategy(engine: EngineParts, runner: StrategyRunner, stats: Mapping[str, SubscriptionStats]) -> StrategyReport:
    return StrategyReport(
        name=runner.name,
        state=str(runner.state),
        stopped_from=str(runner.life.stopped_from or ""),
        version=runner.life.version,
        ticks=tuple(own for name, own in stats.items() if name in runner.subscription_names),
        orders=engine.orders.stats(strategy=runner.name),
        open_orders=tuple(order.order_id for order in engine.orders.orders(strategy=runner.name, open_only=True)),
        positions=tuple(_positions(engine, runner.name)),
        skipped=dict(runner.skipped),
    )


def _plain(value: object) -> object:
    """Return nothing but dicts, lists and plain values; what has named fields is a dict by their names."""
    match value:
        case msgspec.Struct():
            return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        case tuple() if isinstance(names := getattr(value, "_fields", None), tuple):
            return {name: _plain(own) for name, own in zip(names, value, strict=True)}
        case tuple() | list():
            return [_plain(own) for own in value]
        case Mapping():
            return {str(name): _plain(own) for name, own in value.items()}
        case _:
            return msgspec.to_builtins(value)


def _state_text(strategy: StrategyReport) -> str:
    """Say how a strategy ended where that is not the usual way."""
    was = strategy.stopped_from
    return f"{strategy.state}, was {was}" if was not in ("", "running") else strategy.state


def _positions(engine: EngineParts, strategy: str) -> list[PositionReport]:
    found = []
    for position in engine.positions.positions(strategy=strategy):
        quote = engine.dispatcher.newest_quote(position.instrument)
        mark = None if quote is None else (Decimal(repr(quote.bid_price)) + Decimal(repr(quote.ask_price))) / 2
        found.append(
            PositionReport(
                instrument=position.instrument,
                quantity=position.quantity,
                average_price=position.average_price,
                realized_pnl=position.realized_pnl,
                unrealized_pnl=None if mark is None else position.unrealized_pnl(mark),
                fees=position.fees,
            )
        )
    return found

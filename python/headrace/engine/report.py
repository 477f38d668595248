"""Report: what a run did, as frozen objects, one line per field, as tables, and as the command line's JSON document.

Guarantees: every event is processed, dead, dropped or left, by lane; every tick of every strategy is in a term of the
loss law, closed subscriptions included; every order is in one state. A report can be pickled and copied.
Does not: decide anything; it reads counters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.bus.lane import LaneStats
from headrace.dispatch.subscription_stats import SubscriptionStats, sum_of_stats
from headrace.engine.repeat import RepeatReport
from headrace.engine.service import ServiceReport
from headrace.engine.tables import Table, duration_text, latency_text, tables_html, tables_text
from headrace.engine.trading_report import PositionReport, position_reports, trading_tables
from headrace.feeds.quality import Finding
from headrace.market.dead_letters import DeadLetters
from headrace.market.events import Lane
from headrace.market.wording import counted
from headrace.strategies.states import ENGINE_ENDS
from headrace.trading.account import Balance
from headrace.trading.orders import OrderStats, Refused

if TYPE_CHECKING:
    from headrace.engine.parts import EngineParts
    from headrace.engine.run import EngineRun
    from headrace.strategies.runner import StrategyRunner

__all__ = ["PositionReport", "Report", "SourceReport", "StrategyReport", "report_of", "venue_order"]

FRAME_TYPES = ("bookTicker", "trade", "aggTrade", "depthUpdate", "snapshot")


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a run.

    name : a file's path, or the feed's name. venue : the venue named or found; None for ticks. frames : accepted.
    state : of a live feed: "running", "ended", or "failed: " and why; empty for one of the past.
    """

    name: str
    venue: str | None
    frames: int
    state: str = ""

    @property
    def is_failed(self) -> bool:
        """Whether it is a live feed that ended by anything else than its end."""
        return self.state.startswith("failed")


class StrategyReport(SubscriptionStats, frozen=True, kw_only=True):
    """One strategy of a run: the statistics of all its subscriptions in one, closed ones included, and its trading.

    delivered_hash, latency : of its subscription; with several, no hash, and the slowest of them at each percentile.
    state : now. stopped_from : the state in which it was stopped, "running" or "quarantined"; empty while it lives.
    stopped_by : why it was stopped: "by command", "the engine ends".
    subscriptions : those that are open, and its first one. orders : what became of them.
    refusals : of its orders, by gate, each with an example. open_orders : ids of those left.
    totals : profit and fees by currency.
    skipped_events : bars and signals that came while it was not running, by callback.
    """

    stopped_from: str
    stopped_by: str
    version: int
    subscriptions: Mapping[str, SubscriptionStats]
    orders: OrderStats
    refusals: Mapping[str, Refused]
    open_orders: tuple[str, ...]
    positions: tuple[PositionReport, ...]
    totals: Mapping[str, Balance]
    skipped_events: Mapping[str, int]

    @property
    def is_quarantined(self) -> bool:
        """Whether it is in quarantine, or was until the run ended."""
        return "quarantined" in (self.state, self.stopped_from)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        latency = self.latency
        quantiles = {"p50": latency.p50, "p90": latency.p90, "p99": latency.p99, "p99.9": latency.p999}
        times: dict[str, int | None] = {**quantiles, "max": latency.max}
        plain = {name: _plain(getattr(self, name)) for name in self.__struct_fields__ if name != "latency"}
        return {**plain, "latency_ns": times if latency.count else dict.fromkeys(times)}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did; prints as tables.

    mode : "live", "replay" or "repeat". ended_by : "feeds ended", "SIGINT", the reason of ``stop``, "error"; with
        ", forced" when nothing was drained. stopped : whether it ended before its feeds did.
    wall_s : from the first item to the last, strategies included. ticks_per_s : published over ``wall_s``.
    sources : in the order of the call. instruments : in order of first appearance; an id is a place here.
    frames : accepted frames by type. ignored : by type. rejected : by reason.
    ticks : published ticks by kind, gaps apart. gaps : gap ticks. candles : of feeds, and made from them.
    duplicates, late : events that the venue's numbers show to be repeated, or behind newer ones, whether delivered or
        dropped. restarts : how often those numbers began anew.
    first_ns : receive time of the first frame, None when there was none. span_ns : from there to the last.
    input_hash : SHA-256 of the published ticks; None without ``hashing``.
    hash_seed : the interpreter's PYTHONHASHSEED, or ``"random"``: then sets of texts iterate differently in each run.
    lanes : what became of the events. left : of them, those that no handler received. left_behind : what a user's
        objects were asked to end and did not within its time, by object and method.
    strategies, services : by name; among the services those that the engine calls directly. totals : profit and fees of
        all strategies, by currency.
    commands : answered. dead_letters : rejected frames, failed calls and events.
    halted : whether the kill switch is thrown. held_back : answers of the broker that found no room at first: its fills
        waited for the next quote. findings : of the check of the data, by source. repeated : what came of a repetition.
    """

    name: str
    run_id: str
    mode: str
    ended_by: str
    stopped: bool
    wall_s: float
    ticks_per_s: float
    sources: tuple[SourceReport, ...]
    instruments: tuple[str, ...]
    frames: Mapping[str, int]
    ignored: Mapping[str, int]
    rejected: Mapping[str, int]
    ticks: Mapping[str, int]
    gaps: int
    candles: int
    duplicates: int
    late: int
    restarts: int
    first_ns: int | None
    span_ns: int
    input_hash: str | None
    hash_seed: str
    lanes: Mapping[Lane, LaneStats]
    left: Mapping[Lane, int]
    left_behind: tuple[str, ...]
    strategies: Mapping[str, StrategyReport]
    totals: Mapping[str, Balance]
    services: Mapping[str, ServiceReport]
    commands: int
    dead_letters: DeadLetters
    halted: bool
    held_back: int
    findings: Mapping[str, tuple[Finding, ...]]
    repeated: RepeatReport | None

    @property
    def is_empty(self) -> bool:
        """Whether the feeds had nothing: no tick, no candle, not even a frame that was rejected."""
        return not (self.candles or any(self.ticks.values()) or any(self.rejected.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints: plain numbers, texts, lists and dicts."""
        first = ("frames", "ignored", "rejected", "ticks", "gaps", "span_ns", "wall_s", "ticks_per_s", "input_hash")
        names = dict.fromkeys((*first, "strategies", *self.__struct_fields__))
        plain = {name: _plain(getattr(self, name)) for name in names if name != "dead_letters"}
        return {**plain, "dead_letters": self.dead_letters.total}

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())

    def tables(self) -> list[Table]:
        """Return the report as tables, for text or HTML; an empty one is not shown."""
        counts = [
            *((name, f"{count:,}") for name, count in self.frames.items()),
            *((f"ignored: {name}", f"{count:,}") for name, count in self.ignored.items()),
            *((f"rejected: {name}", f"{count:,}") for name, count in self.rejected.items()),
        ]
        lanes = [
            (str(lane), *(f"{count:,}" for count in (own.published, own.processed, own.dead, own.dropped, own.left)))
            for lane, own in self.lanes.items()
            if own.published
        ]
        states = {name: _state_text(own) for name, own in self.strategies.items()}
        services = [(name, own.health, own.measured) for name, own in self.services.items()]
        hashes = [(name, own.delivered_hash) for name, own in self.strategies.items() if own.delivered_hash]
        return [
            Table("stopped early" if self.stopped else self.mode, ("", ""), self._facts()),
            Table("frames", ("type", "count"), counts if any(self.frames.values()) or self.rejected else []),
            Table("ticks", ("kind", "count"), [(name, f"{count:,}") for name, count in self.ticks.items()]),
            Table("lanes", ("lane", "published", "processed", "dead", "dropped", "left"), lanes),
            Table("strategies", *self._tick_table()),
            Table("services", ("service", "health", "measured"), services, texts=3),
            *trading_tables(self._traders(), states, self.totals),
            Table(
                "data",
                ("source", "finding"),
                [(name, str(own)) for name, each in self.findings.items() for own in each],
                2,
            ),
            Table("delivered hashes", ("name", "SHA-256"), hashes),
        ]

    def _traders(self) -> list[StrategyReport]:
        """Return all strategies when one of them had an order."""
        each = list(self.strategies.values())
        return each if any(own.orders.submitted or own.positions for own in each) else []

    def _tick_table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return columns and rows; the state stands in the table of trading where there is one."""
        rows = [_TICK_COLUMNS, *(_tick_row(own) for own in self.strategies.values())]
        if self._traders():
            state = _TICK_COLUMNS.index("state")
            rows = [row[:state] + row[state + 1 :] for row in rows]
        return rows[0], rows[1:]

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("run", self.run_id),
            ("ended by", self.ended_by),
            *((f"source {source.name}", _source_text(source)) for source in self.sources),
            ("instruments", f"{len(self.instruments):,}"),
            ("span", duration_text(self.span_ns)),
            ("wall time", duration_text(self.wall_s * 1e9)),
            ("ticks/s", f"{self.ticks_per_s:,.0f}"),
            *([("candles", f"{self.candles:,}")] if self.candles else []),
            ("gaps", f"{self.gaps:,}"),
            *venue_order(self),
            *([("commands", f"{self.commands:,}")] if self.commands else []),
            *([("dead letters", f"{self.dead_letters.total:,}")] if self.dead_letters.total else []),
            *([("kill switch", "HALTED")] if self.halted else []),
            *([("fills held back", f"{self.held_back:,}")] if self.held_back else []),
            *(("left behind", where) for where in self.left_behind),
            *([("repeated", _verdict(self.repeated))] if self.repeated else []),
            # A backtest's result has a hash over ticks and candles.
            *([("hash of ticks" if self.candles else "input hash", self.input_hash)] if self.input_hash else []),
        ]


def _source_text(source: SourceReport) -> str:
    what = source.venue or "ticks"
    return f"{what}, {source.state}" if source.is_failed else what


_TICK_COLUMNS = (
    *("name", "delivered", "filtered", "missed", "conflated", "skipped", "pending", "faults", "state"),
    *("calls", "p50", "p99", "max"),
)


def _tick_row(own: StrategyReport) -> tuple[str, ...]:
    counts = (own.delivered, own.filtered, own.missed, own.conflated, own.skipped, own.pending, own.faults)
    latency = own.latency
    times = (latency.p50, latency.p99, latency.max) if latency.count else (None, None, None)
    return (
        own.name,
        *(f"{count:,}" for count in counts),
        _state_text(own),
        f"{own.calls:,}",
        *(latency_text(time_ns) for time_ns in times),
    )


def _state_text(own: StrategyReport) -> str:
    """Return what a strategy was when the run ended; its state now, when it was stopped before that or is not."""
    if own.stopped_by == ENGINE_ENDS:
        return "ran to the end" if own.stopped_from == "running" else own.stopped_from
    return f"{own.state} {own.stopped_by}".strip()


def venue_order(report: Report) -> list[tuple[str, str]]:
    """Return rows for what the venue's numbers show; a restart is rare, so it has a row where there was one."""
    return [
        ("duplicates", f"{report.duplicates:,}"),
        ("late", f"{report.late:,}"),
        *([("venue numbers began anew", f"{report.restarts:,} x")] if report.restarts else []),
    ]


def _verdict(repeated: RepeatReport) -> str:
    counts = f"{counted(repeated.calls, 'call')}, {counted(repeated.decisions, 'decision')}"
    return f"{counts}, {'all' if repeated.same else 'not all'} the same"


def report_of(parts: EngineParts, run: EngineRun, *, with_metrics: bool = True) -> Report:
    """Read the counters of an engine's parts and of its run."""
    stats, span = parts.dispatcher.stats(), run.sources.span()
    published, wall_s = sum(stats.ticks.values()), run.wall_s
    return Report(
        name=parts.name,
        run_id=parts.run_id,
        mode=str(parts.mode),
        ended_by=run.ended_by or "running",
        stopped=run.is_stopped,
        wall_s=wall_s,
        ticks_per_s=published / wall_s if wall_s else 0.0,
        sources=tuple(
            SourceReport(name=feed.name, venue=feed.venue, frames=frames, state=str(parts.feed_ends[feed.name] or ""))
            for feed, frames in run.sources.accepted()
        ),
        instruments=tuple(parts.dispatcher.instruments),
        frames={name: stats.frames.get(name, 0) for name in FRAME_TYPES},
        ignored=stats.ignored,
        rejected=stats.rejected,
        ticks={kind: count for kind, count in stats.ticks.items() if kind != "gap"},
        gaps=stats.ticks.get("gap", 0),
        candles=run.sources.candle_count,
        duplicates=stats.duplicates,
        late=stats.late,
        restarts=stats.restarts,
        first_ns=span[0],
        span_ns=span[1],
        input_hash=parts.dispatcher.input_hash,
        hash_seed=os.environ.get("PYTHONHASHSEED", "random"),
        lanes=parts.bus.stats().lanes,
        left=run.end.left,
        left_behind=tuple(run.end.waits.left),
        strategies={name: _strategy(parts, runner) for name, runner in parts.strategies.items()},
        totals=parts.account.balances(),
        services=parts.services.report(with_metrics=with_metrics),
        commands=parts.commands.stats().answered,
        dead_letters=parts.dead_letters.snapshot(),
        halted=parts.kill_switch is not None and parts.kill_switch.is_halted,
        held_back=parts.broker_context.held_back,
        findings={} if parts.quality is None else parts.quality.findings,
        repeated=None if parts.repeat is None else parts.repeat.report(),
    )


# The fields of a strategy's ticks; its state is not that of a subscription.
_OF_TICKS = tuple(name for name in SubscriptionStats.__struct_fields__ if name != "state")
_read_ticks = attrgetter(*_OF_TICKS)


def _strategy(parts: EngineParts, runner: StrategyRunner) -> StrategyReport:
    ticks = runner.tick_stats()
    total = sum_of_stats(runner.name, ticks)
    held = parts.positions.positions(strategy=runner.name)
    orders = parts.orders.stats(strategy=runner.name)
    left = parts.orders.orders(strategy=runner.name, open_only=True) if orders.open else ()
    return StrategyReport(
        **dict(zip(_OF_TICKS, _read_ticks(total), strict=True)),
        state=str(runner.state),
        stopped_from=str(runner.life.stopped_from or ""),
        stopped_by=runner.life.stopped_by,
        version=runner.life.version,
        subscriptions={own.name: own for own in ticks},
        orders=orders,
        refusals=parts.orders.refusals(runner.name),
        open_orders=tuple([order.order_id for order in left]),
        positions=position_reports(held, parts.account),
        totals=parts.account.balances_of(held),
        skipped_events=dict(runner.skipped),
    )


def _plain(value: object) -> object:
    """Return nothing but dicts, lists and plain values; an object with named fields is a dict by their names."""
    match value:
        case StrategyReport():
            return value.to_dict()
        case Balance():
            shown = (*value.__struct_fields__, "balance", "equity")
            return {name: _plain(getattr(value, name)) for name in shown}
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

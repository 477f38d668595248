"""What a replay did, and how it is shown: one frozen object, a table, and the command's JSON document.

Guarantees: ``to_dict`` is exactly the document of ``headrace replay --json``; every term of the loss law is in it.
Does not: measure; ``session`` and the native core do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headrace.engine.tables import Table, duration_text, latency_text, tables_html, tables_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.dispatch.subscription import SubscriptionStats
    from headrace.market.dead_letters import DeadLetters

__all__ = ["ReplayResult", "ReplaySource", "strategy_table"]


class ReplaySource(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a finished replay.

    name : a file's path, or the feed's name.
    venue : the venue named or found out; None for ticks.
    frames : frames accepted from it.
    """

    name: str
    venue: str | None
    frames: int


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did; prints as a table.

    sources : in the order of the call.
    instruments : in order of first appearance; an instrument's id is its place here.
    frames : accepted frames by type. ignored : by type. rejected : by reason.
    ticks : published ticks by kind, gaps apart. gaps : gap ticks.
    first_ns : receive time of the first frame, None when there was none. span_ns : from there to the last.
    wall_s, ticks_per_s : measured from the first block to the last tick, strategies included.
    input_hash : SHA-256 of the published ticks; None without ``hashing``.
    strategies : statistics by name.
    dead_letters : the rejected frames and failed calls that were kept.
    stopped : True when Ctrl-C ended it early.
    hash_seed : the interpreter's PYTHONHASHSEED, or ``"random"``: then sets of texts iterate differently in each run.
    """

    sources: tuple[ReplaySource, ...]
    instruments: tuple[str, ...]
    frames: Mapping[str, int]
    ignored: Mapping[str, int]
    rejected: Mapping[str, int]
    ticks: Mapping[str, int]
    gaps: int
    first_ns: int | None
    span_ns: int
    wall_s: float
    ticks_per_s: float
    input_hash: str | None
    strategies: Mapping[str, SubscriptionStats]
    dead_letters: DeadLetters
    stopped: bool
    hash_seed: str

    def to_dict(self) -> dict[str, object]:
        """Return the document that ``headrace replay --json`` prints: plain numbers, texts and dicts."""
        return {
            "frames": dict(self.frames),
            "ignored": dict(self.ignored),
            "rejected": dict(self.rejected),
            "ticks": dict(self.ticks),
            "gaps": self.gaps,
            "span_ns": self.span_ns,
            "wall_s": self.wall_s,
            "ticks_per_s": self.ticks_per_s,
            "input_hash": self.input_hash,
            "strategies": {name: _stats_dict(stats) for name, stats in self.strategies.items()},
        }

    def tables(self) -> list[Table]:
        """Return the result as tables, for text or HTML."""
        facts = [
            *((f"source {source.name}", source.venue or "ticks") for source in self.sources),
            ("instruments", f"{len(self.instruments):,}"),
            ("span", duration_text(self.span_ns)),
            ("wall time", duration_text(self.wall_s * 1e9)),
            ("ticks/s", f"{self.ticks_per_s:,.0f}"),
            ("gaps", f"{self.gaps:,}"),
            *([("input hash", self.input_hash)] if self.input_hash else []),
        ]
        frames = [
            *((name, f"{count:,}") for name, count in self.frames.items()),
            *((f"ignored: {name}", f"{count:,}") for name, count in self.ignored.items()),
            *((f"rejected: {name}", f"{count:,}") for name, count in self.rejected.items()),
        ]
        return [
            Table("stopped early" if self.stopped else "replay", ("", ""), facts),
            Table("frames", ("type", "count"), frames),
            Table("ticks", ("kind", "count"), [(name, f"{count:,}") for name, count in self.ticks.items()]),
            strategy_table(self.strategies),
            Table(
                "delivered hashes",
                ("name", "SHA-256"),
                [(name, stats.delivered_hash) for name, stats in self.strategies.items() if stats.delivered_hash],
            ),
        ]

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())


def strategy_table(
    strategies: Mapping[str, SubscriptionStats], *, title: str = "strategies", with_state: bool = True
) -> Table:
    """Return a row per subscription: the terms of the loss law, faults, its state, calls and latency."""
    rows = [STRATEGY_COLUMNS, *(_stats_row(name, stats) for name, stats in strategies.items())]
    if not with_state:
        state = STRATEGY_COLUMNS.index("state")
        rows = [row[:state] + row[state + 1 :] for row in rows]
    return Table(title, rows[0], rows[1:])


STRATEGY_COLUMNS = (
    *("name", "delivered", "filtered", "missed", "conflated", "skipped", "pending", "faults", "state"),
    *("calls", "p50", "p99", "max"),
)


def _stats_dict(stats: SubscriptionStats) -> dict[str, object]:
    latency = stats.latency
    return {
        "delivered": stats.delivered,
        "filtered": stats.filtered,
        "missed": stats.missed,
        "conflated": stats.conflated,
        "skipped": stats.skipped,
        "pending": stats.pending,
        "faults": stats.faults,
        "delivered_hash": stats.delivered_hash,
        "latency_ns": {
            "p50": latency.p50,
            "p90": latency.p90,
            "p99": latency.p99,
            "p99.9": latency.p999,
            "max": latency.max,
        }
        if latency.count
        else dict.fromkeys(("p50", "p90", "p99", "p99.9", "max")),
    }


def _stats_row(name: str, stats: SubscriptionStats) -> tuple[str, ...]:
    counts = (
        stats.delivered,
        stats.filtered,
        stats.missed,
        stats.conflated,
        stats.skipped,
        stats.pending,
        stats.faults,
    )
    latency = stats.latency
    times = (latency.p50, latency.p99, latency.max) if latency.count else (None, None, None)
    return (
        name,
        *(f"{count:,}" for count in counts),
        stats.state,
        f"{stats.calls:,}",
        *(latency_text(time_ns) for time_ns in times),
    )

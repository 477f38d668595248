"""BacktestResult: what a backtest did: rows, the curve of equity, figures, hashes, and how it was set.

::

    Observer, Report ─▶ BacktestResult ─▶ print, notebook, --json, save ─▶ load, compare, report

Guarantees: frozen; ``equity_end`` is cash + realized + unrealized profit - fees - funding, exactly; a saved result
loads as it was.
Does not: compute while a run goes on; it is made once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from headrace.engine.tables import Table, duration_text, tables_html, tables_text
from headrace.errors import OptionError
from headrace.market.checks import whole
from headrace.market.wording import amount_text, value_text
from headrace.research.file import read, save
from headrace.research.rows import Fill, FundingRow, OrderRow, PositionRow, Rows, plain
from headrace.research.statistics import Statistics
from headrace.research.trips import RoundTrip

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from headrace.engine.report import Report

__all__ = ["BacktestResult", "compare"]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class BacktestResult:
    """What a backtest did; prints as tables, and is one in a notebook.

    currency : of the account, in which figures and ``equity_end`` are. cash : that it began with, by currency.
    balances : cash, profit and fees at the end, by currency, as amounts. curves : equity by currency, CURVE_DTYPE.
    prices : marks by instrument, fields ts and price, at the end of each step of time in which there was one.
    trades : round trips. orders, fills, funding, positions : rows; positions are those at the end.
    statistics : the figures of ``currency``. settings : how it was set, strategies and data included. notes : what was
        filled in. engine : the report of the run, as plain values: ticks, sources, lanes, strategies, latencies.
    audit_hash : SHA-256 of the run's events as an audit has them, header apart; input_hash : of its ticks, and its
        candles; both None without hashing. versions : of what it ran on. stopped : it ended before its data did.
        report : of the engine; None for one that was loaded.
    """

    currency: str
    cash: Mapping[str, Decimal]
    balances: Mapping[str, Mapping[str, Decimal | None]]
    curves: Mapping[str, np.ndarray]
    prices: Mapping[str, np.ndarray]
    trades: Rows[RoundTrip]
    orders: Rows[OrderRow]
    fills: Rows[Fill]
    funding: Rows[FundingRow]
    positions: Rows[PositionRow]
    statistics: Statistics
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    engine: Mapping[str, Any]
    audit_hash: str | None
    input_hash: str | None
    versions: Mapping[str, str]
    stopped: bool
    report: Report | None = field(default=None, compare=False, repr=False)
    sweep: Mapping[str, Any] = field(default_factory=dict)

    @property
    def equity(self) -> np.ndarray:
        """The curve of the account's currency, shape (n,).

        Fields: ts (ns since 1970-01-01 UTC), equity and cash (in the currency), exposure (size of what is held by
        equity), drawdown (at most 0) and benchmark (the cash, bought at the first marks and held; in the currency).
        """
        return self.curves[self.currency]

    @property
    def equity_end(self) -> Decimal | None:
        """The equity at the end, exactly; None where an open position has no mark."""
        return self.balances[self.currency]["equity"]

    @property
    def fees(self) -> Decimal:
        """The fees that were paid, in the account's currency; below 0: rebates were larger."""
        return self.balances[self.currency]["fees"] or Decimal(0)

    def equity_at(self, step_ns: int) -> np.ndarray:
        """Return the curve with one point in each step of time, the last; steps are aligned to 1970.

        step_ns : ns, from 1 on. Raises OptionError.
        """
        whole("step_ns", step_ns, 1, 1 << 62, "ns")
        curve = self.equity
        # A point at the edge belongs to the step that it ends.
        steps = (curve["ts"] - 1) // step_ns
        is_last = np.append(steps[1:] != steps[:-1], True)
        is_last[0] = True
        found: np.ndarray = curve[is_last]
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as one file, which ``load`` reads, and return the path. Raises ResultError."""
        return save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> BacktestResult:
        """Read a file that ``save`` wrote. Raises ResultError: missing, damaged, or of another version."""
        return BacktestResult(**read(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints: money as plain text, times as ns, what does not exist as None."""
        figures = {name: plain(value) for name, value in msgspec.structs.asdict(self.statistics).items()}
        return {
            "trades": [{**row, "mae": plain(row["mae"]), "mfe": plain(row["mfe"])} for row in self.trades.to_dicts()],
            "fills": [fill.to_dict() for fill in self.fills],
            "funding": self.funding.to_dicts(),
            "orders": self.orders.to_dicts(),
            "positions": self.positions.to_dicts(),
            "equity_end": plain(self.equity_end),
            "fees": plain(self.fees),
            "currency": self.currency,
            "balances": {name: {key: plain(own) for key, own in row.items()} for name, row in self.balances.items()},
            "statistics": figures,
            "audit_hash": self.audit_hash,
            "input_hash": self.input_hash,
            "settings": self.settings,
            "versions": self.versions,
            "notes": self.notes,
            "stopped": self.stopped,
        }

    def __repr__(self) -> str:
        trades, end = len(self.trades), f"{_amount(self.equity_end)} {self.currency}"
        return f"BacktestResult({trades:,} round trips, {len(self.fills):,} fills, {end} at the end)"

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())

    def tables(self) -> list[Table]:
        """Return figures, balances, the last trades and open positions as tables."""
        figures = [(_title(name), _figure(name, own)) for name, own in _figures(self.statistics)]
        facts = [
            ("equity at the end", f"{_amount(self.equity_end)} {self.currency}"),
            *figures,
            ("orders", f"{len(self.orders):,}"),
            *([("audit hash", self.audit_hash)] if self.audit_hash else []),
            *([("input hash", self.input_hash)] if self.input_hash else []),
        ]
        # Where there is none, a column of zeros says nothing.
        funding = ("funding",) if self.funding else ()
        columns = ("deposit", "realized_pnl", "unrealized_pnl", "fees", *funding, "equity")
        balances = [(name, *(_amount(row[key]) for key in columns)) for name, row in self.balances.items()]
        held = [
            (
                row.strategy,
                row.instrument,
                f"{row.quantity:f}",
                _amount(row.mark),
                _amount(row.unrealized_pnl),
                row.currency,
            )
            for row in self.positions
            if row.is_open
        ]
        refused = [(gate, reason, f"{count:,}") for (gate, reason), count in _counted_refusals(self.orders).items()]
        return [
            Table("stopped early" if self.stopped else "backtest", ("", ""), facts),
            Table("balances", ("currency", "cash", "realized", "unrealized", "fees", *funding, "equity"), balances),
            Table(
                "open at the end",
                ("strategy", "instrument", "quantity", "mark", "unrealized", "currency"),
                held,
                texts=2,
            ),
            Table("refused orders", ("gate", "first reason", "count"), refused, texts=2),
            Table("filled in", ("",), [(note,) for note in self.notes]),
        ]


def compare(results: Sequence[BacktestResult], names: Sequence[str] | None = None) -> Comparison:
    """Return results side by side; prints as a table, and is one in a notebook.

    names : their titles; by default what differs in their settings, or their numbers. Raises OptionError.
    """
    each = list(results)
    if not each or not all(isinstance(own, BacktestResult) for own in each):
        msg = f"results={value_text(results)} cannot be compared: give a list of BacktestResult"
        raise OptionError(msg, option="results")
    if names is not None and len(names) != len(each):
        msg = f"names={value_text(list(names))} has not one name for each of {len(each)} results"
        raise OptionError(msg, option="names")
    return Comparison(tuple(each), tuple(names or _titles(each)))


class Comparison:
    """Results side by side. results, names : as they were given."""

    def __init__(self, results: tuple[BacktestResult, ...], names: tuple[str, ...]) -> None:
        self.results = results
        self.names = names

    def columns(self) -> dict[str, list[object]]:
        """Return a list for each figure, in the order of the results; "name" is the first."""
        columns: dict[str, list[object]] = {"name": list(self.names)}
        columns["currency"] = [own.currency for own in self.results]
        columns["equity_end"] = [own.equity_end for own in self.results]
        for name in Statistics.__struct_fields__:
            columns[name] = [getattr(own.statistics, name) for own in self.results]
        return columns

    def tables(self) -> list[Table]:
        """Return one table: a row for each figure, a column for each result."""
        rows = [
            ("equity at the end", *(f"{_amount(own.equity_end)} {own.currency}" for own in self.results)),
            *(
                (
                    _title(name),
                    *(_figure(name, getattr(own.statistics, name)) for own in self.results),
                )
                for name in Statistics.__struct_fields__
            ),
        ]
        return [Table("compared", ("", *self.names), rows)]

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())


_HELD_COLUMNS = ("strategy", "instrument", "quantity", "mark", "unrealized", "currency")
PERCENT = frozenset(
    {*("total_return", "cagr", "volatility", "max_drawdown", "hit_rate", "exposure", "benchmark_return")}
)


def _figures(statistics: Statistics) -> list[tuple[str, Any]]:
    return [(name, getattr(statistics, name)) for name in statistics.__struct_fields__]


def _title(name: str) -> str:
    return "longest drawdown" if name == "max_drawdown_ns" else name.replace("_", " ")


def _figure(name: str, value: float) -> str:
    """Return a figure for a person."""
    if not np.isfinite(value):
        return "-"
    if name.endswith("_ns"):
        return duration_text(value)
    if name in PERCENT:
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"


def _amount(amount: Decimal | None) -> str:
    return "-" if amount is None else amount_text(amount)


def _counted_refusals(orders: Sequence[OrderRow]) -> dict[tuple[str, str], int]:
    """Return how many orders each gate refused, each with the first reason."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for order in orders:
        if order.state == "rejected":
            first.setdefault(order.gate, " ".join(order.reason.split()))
            counts[order.gate] = counts.get(order.gate, 0) + 1
    return {(gate, first[gate]): count for gate, count in counts.items()}


def _titles(results: Sequence[BacktestResult]) -> list[str]:
    """Return what tells the results apart: parameters that differ, or their numbers."""
    parameters = [_flat(own.settings.get("strategies", {})) for own in results]
    names = {name for own in parameters for name in own}
    differing = sorted(name for name in names if len({own.get(name) for own in parameters}) > 1)
    titles = [", ".join(f"{name}={own.get(name)}" for name in differing) for own in parameters]
    return titles if len(set(titles)) == len(titles) else [f"#{number}" for number in range(1, len(results) + 1)]


def _flat(strategies: Any) -> dict[str, str]:
    """Return all parameters of strategies by name; of several strategies with the strategy's."""
    found = {}
    for name, own in dict(strategies).items():
        for key, value in dict(own.get("parameters", {})).items():
            found[key if len(strategies) == 1 else f"{name}.{key}"] = str(value)
    return found

"""The page of a database of recommendations: what was executed, refused and run, and what became of it.

::

    tiles ─ profit by exit, R ─ executions by size ─ refusals by gate ─ duration of runs ─ the tables of db report

Guarantees: each figure and row is of ``execution.reports``; nothing is loaded from elsewhere.
Does not: change the database, or show more than ``ROWS_MAX`` rows of a table: the newest ones.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.engine.tables import tables_html, time_text
from headrace.execution.reports import ReportRows, report, report_table
from headrace.execution.settings import SIDES
from headrace.market.money import MONEY, ZERO
from headrace.market.wording import counted
from headrace.research.report.document import Tile, card, document, pair, section, tiles
from headrace.research.report.svg import Scale, bars, chart, dots, line, time_scale, value_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.execution.database.base import Connection

__all__ = ["executions_page"]

ROWS_MAX = 500
R_BINS = 24
MS_NS = 1_000_000
SIDE_LEGEND = '<i class="gain">long</i><i class="loss">short</i>'


def executions_page(connection: Connection, url: str, since_ms: int = 0) -> str:
    """Return the HTML document of a database. url : without its password. Raises StoreError."""
    names = ("executions", "outcomes", "gates", "runs", "sizes", "tickers")
    found = {name: report(connection, name, since_ms) for name in names}
    executed, ended, runs = (_columns(found[name]) for name in ("executions", "outcomes", "runs"))
    sections = (
        section("What became of them", pair(_profit(ended), _r(ended)), _table("outcomes", found["outcomes"])),
        section("Executions", _sizes(executed), _table("executions", found["executions"])),
        section("By action and ticker", _table("sizes", found["sizes"]), _table("tickers", found["tickers"])),
        section("Gates", _gates(_columns(found["gates"])), _table("gates", found["gates"])),
        section("Runs", _durations(runs), _table("runs", found["runs"])),
    )
    return document(f"{url}: executions", _head(url, since_ms, executed, ended, runs), sections)


def _columns(found: ReportRows) -> dict[str, list[Any]]:
    return {name: [row[index] for row in found.rows] for index, name in enumerate(found.columns)}


def _head(
    url: str,
    since_ms: int,
    executed: dict[str, list[Any]],
    ended: dict[str, list[Any]],
    runs: dict[str, list[Any]],
) -> str:
    pnls = [value for value in ended["pnl"] if value is not None]
    rs = [float(value) for value in ended["r"] if value is not None]
    total = ZERO
    for value in pnls:
        total = MONEY.add(total, value)
    durations = _seconds(runs)[1]
    figures = (
        Tile("executions", f"{len(executed['ticker']):,}"),
        Tile("tickers", f"{len(set(executed['ticker'])):,}"),
        Tile("profit of the ended", f"{float(total):,.2f}", float(total)),
        Tile("won", f"{sum(value > 0 for value in pnls) / len(pnls):.0%}" if pnls else "-"),
        Tile("mean R", f"{np.mean(rs):.2f}" if rs else "-", float(np.mean(rs)) if rs else 0.0),
        Tile("longest run", f"{max(durations):.2f} s" if len(durations) else "-"),
    )
    since = f"since {time_text(since_ms * MS_NS)}" if since_ms else "since the beginning"
    until = f"until {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return f"<header><h1>Executions</h1><p>{escape(url)}</p><p>{since}, {until}</p>{tiles(figures)}</header>"


def _profit(ended: dict[str, list[Any]]) -> str:
    """Return the sum of profits, by the time of exit."""
    known = sorted((at, float(pnl)) for at, pnl in zip(ended["exit_at"], ended["pnl"], strict=True) if pnl is not None)
    if len(known) < 2:
        return ""
    times, total = _times([at for at, _ in known]), np.cumsum([pnl for _, pnl in known])
    x, y = time_scale(int(times[0]), int(times[-1])), value_scale(total, zero=True)
    return chart(x, y, line(x, y, times, total, "main", fill=True), title="Profit of the ended, summed up")


def _r(ended: dict[str, list[Any]]) -> str:
    """Return how the results are distributed, in units of what was at risk."""
    rs = np.array([float(value) for value in ended["r"] if value is not None])
    if len(rs) < 2:
        return ""
    spread = float(np.abs(rs).max()) or 1.0
    # An edge at 0, so that no bar holds gains and losses.
    edges = np.linspace(-spread, spread, R_BINS + 1)
    heights, _ = np.histogram(rs, edges)
    x, y = value_scale(edges), value_scale(heights.astype(float), zero=True)
    return chart(x, y, bars(x, y, edges, heights), title="Executions by R, profit over what was at risk")


def _sizes(executed: dict[str, list[Any]]) -> str:
    """Return the notional of each execution, by its time and side."""
    if not executed["ticker"]:
        return ""
    times, notional = _times(executed["simulated_at"]), np.array([float(own) for own in executed["notional"]])
    is_long = np.array([SIDES[action] > 0 for action in executed["action"]])
    x, y = time_scale(int(times[0]), int(times[-1])), value_scale(notional, zero=True)
    body = dots(x, y, times[is_long], notional[is_long], "gain") + dots(
        x, y, times[~is_long], notional[~is_long], "loss"
    )
    return chart(x, y, body, title="Notional of each execution", legend=SIDE_LEGEND)


def _gates(gates: dict[str, list[Any]]) -> str:
    """Return how often each gate refused."""
    refused = np.array(gates["refused"])
    if not refused.sum():
        return ""
    middles = tuple((number + 0.5, name) for number, name in enumerate(gates["gate"]))
    x, y = Scale(0.0, float(len(refused)), middles), value_scale(refused.astype(float), zero=True)
    return chart(x, y, bars(x, y, np.arange(len(refused) + 1.0), refused, "loss"), title="Refused by each gate")


def _durations(runs: dict[str, list[Any]]) -> str:
    """Return how long each run took."""
    times, seconds = _seconds(runs)
    if not len(times):
        return ""
    x, y = time_scale(int(times[0]), int(times[-1])), value_scale(seconds, zero=True)
    return chart(x, y, dots(x, y, times, seconds, "main"), title="Duration of each run, s")


def _seconds(runs: dict[str, list[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the begin of each run that has ended, and its seconds."""
    own = [
        (begin, (end - begin) / 1000)
        for begin, end in zip(runs["started_at"], runs["finished_at"], strict=True)
        if end is not None
    ]
    return _times([begin for begin, _ in own]), np.array([seconds for _, seconds in own])


def _times(ms: Sequence[int]) -> np.ndarray:
    return np.array(ms, np.int64) * MS_NS


def _table(name: str, found: ReportRows) -> str:
    """Return a report's newest rows, closed where there are many."""
    rows = found.rows[-ROWS_MAX:]
    if not rows:
        return ""
    body = card(tables_html([report_table("", found._replace(rows=rows))]).replace("<caption></caption>", ""))
    if len(found.rows) <= len(SIDES):
        return body
    shown = counted(len(found.rows), "row") if len(rows) == len(found.rows) else f"the newest {len(rows)} rows"
    return f"<details><summary>{name}: {shown}</summary>{body}</details>"

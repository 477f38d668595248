"""The page: everything that a result holds, in the order in which a reader looks for it, as one HTML document.

::

    title, span, tiles ─ equity, drawdown, exposure ─ price with trades ─ months ─ distribution, fills ─ figures
                       ─ what the engine counted ─ settings, hashes, versions

Guarantees: nothing is loaded from anywhere; every text of a user is escaped; without bokeh all charts are SVG.
Does not: compute figures; ``statistics`` does.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.engine.tables import Table, tables_html, time_text
from headrace.market.wording import counted
from headrace.research.report.charts import (
    drawdown_chart,
    equity_chart,
    exposure_chart,
    fills_chart,
    price_chart,
    slippage_bps,
    trades_chart,
)
from headrace.research.report.document import Tile, card, document, pair, section, tiles, write_page
from headrace.research.report.interactive import is_there, price_plots

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from headrace.research.result import BacktestResult

__all__ = ["page_of", "write_report"]

# Instruments with a chart of their own, the most traded first; and rows of the table of round trips.
CHARTS_MAX = 6
TRADES_MAX = 200
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def write_report(result: BacktestResult, path: str | os.PathLike[str], *, interactive: bool | None = None) -> Path:
    """Write a result as one HTML file and return the path. Raises ResultError: it cannot be written."""
    return write_page(page_of(result, interactive=interactive), path)


def page_of(result: BacktestResult, *, interactive: bool | None = None) -> str:
    """Return the HTML document.

    interactive : prices by bokeh, whose script makes the file some MB larger; None: where it is installed.
    """
    title = ", ".join(result.settings.get("strategies", {})) or "backtest"
    script, prices = _prices(result, interactive=is_there() if interactive is None else interactive)
    sections = [
        equity_chart(result),
        pair(drawdown_chart(result), exposure_chart(result)),
        *([f"<h2>Prices and trades</h2>{prices}"] if prices else []),
        _months(result),
        _heat_map(result),
        section(
            "Trades and fills", f'<div class="pair">{trades_chart(result)}{fills_chart(result)}</div>', _fills(result)
        ),
        _trades(result),
        section("Figures", card(tables_html(result.tables()))),
        section("What the engine counted", card(tables_html(_counters(result)))),
        _settings(result),
    ]
    return document(f"{title}: backtest", _head(result, title), sections, script=script)


def _head(result: BacktestResult, title: str) -> str:
    curve, own = result.equity, result.statistics
    span = f"{time_text(int(curve['ts'][0]))} to {time_text(int(curve['ts'][-1]))}" if len(curve) else ""
    end = "-" if result.equity_end is None else f"{float(result.equity_end):,.2f}"
    figures = (
        Tile(f"equity, {result.currency}", end),
        Tile("total return", _percent(own.total_return), own.total_return),
        Tile("max drawdown", _percent(own.max_drawdown), own.max_drawdown),
        Tile("Sharpe ratio", _ratio(own.sharpe)),
        Tile("round trips", f"{own.trades + own.open_trades:,}"),
        Tile(f"fees, {result.currency}", f"{own.fees:,.2f}"),
    )
    data = escape(", ".join(result.settings.get("data", [])))
    stopped = (
        '<p class="warn">The run was stopped before its data ended: this is what ran.</p>' if result.stopped else ""
    )
    return f"<header><h1>{escape(title)}</h1><p>{escape(span)}</p><p>{data}</p>{stopped}{tiles(figures)}</header>"


def _percent(value: float) -> str:
    return f"{value:.2%}" if np.isfinite(value) else "-"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def _prices(result: BacktestResult, *, interactive: bool) -> tuple[str, str]:
    """Return the script that the charts need, and the charts of the instruments that were traded most."""
    counts: dict[str, int] = dict.fromkeys(result.prices, 0)
    for fill in result.fills:
        counts[fill.instrument] = counts.get(fill.instrument, 0) + 1
    names = [name for name in sorted(counts, key=lambda own: -counts[own]) if name in result.prices]
    names = [name for name in names if len(result.prices[name])][:CHARTS_MAX]
    if not interactive:
        hint = '<p class="hint">Wheel or pinch to zoom, drag to move, double click to see all.</p>' if names else ""
        return "", "".join(price_chart(result, name) for name in names) + hint
    script, plots = price_plots(result, names)
    figures = (
        f"<figure><figcaption><b>{escape(name)}</b></figcaption>{plot}</figure>"
        for name, plot in zip(names, plots, strict=True)
    )
    return script, "".join(figures)


def _months(result: BacktestResult) -> str:
    """Return the returns by month, a row for each year."""
    curve = result.equity
    if len(curve) < 2:
        return ""
    # A value at midnight belongs to the day that it ends.
    months = (curve["ts"][1:] - 1).astype("datetime64[ns]").astype("datetime64[M]").astype(int)
    last = np.flatnonzero(np.append(months[1:] != months[:-1], True))
    ends, before = curve["equity"][1:][last], curve["equity"][0]
    years: dict[int, dict[int, float]] = {}
    for month, end in zip(months[last].tolist(), ends.tolist(), strict=True):
        years.setdefault(1970 + month // 12, {})[month % 12] = end / before - 1 if before > 0 else float("nan")
        before = end
    rows = "".join(f"<tr><td>{year}</td>{_year(own)}</tr>" for year, own in years.items())
    head = "".join(f"<th>{name}</th>" for name in (*MONTHS, "year"))
    table = f'<table class="months"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return section("Returns by month", card(table))


def _year(months: dict[int, float]) -> str:
    cells = [_month(months.get(number)) for number in range(12)]
    total = float(np.prod([1 + own for own in months.values()])) - 1
    return "".join([*cells, _month(total)])


def _month(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "<td></td>"
    colour = "gain" if value > 0 else "loss"
    share = min(60, int(8 + abs(value) * 600)) if value else 0
    shade = f"background:color-mix(in srgb, var(--{colour}) {share}%, transparent)"
    return f'<td style="{shade}">{value:.1%}</td>'


def _heat_map(result: BacktestResult) -> str:
    """Return the mean of a sweep's metric over its two parameters of the most values."""
    rows = [own for own in result.sweep.get("rows", []) if own["value"] is not None]
    names = list(result.sweep.get("names", []))
    values = {name: sorted({own["parameters"][name] for own in rows}, key=_sortable) for name in names}
    names = sorted(names, key=lambda name: -len(values[name]))[:2]
    if not rows or not names:
        return ""
    across, down = names[0], names[-1]
    cells: dict[tuple[Any, Any], list[float]] = {}
    for own in rows:
        cells.setdefault((own["parameters"][down], own["parameters"][across]), []).append(own["value"])
    means = {key: float(np.mean(each)) for key, each in cells.items()}
    low, high = min(means.values()), max(means.values())
    head = "".join(f"<th>{escape(_short(own))}</th>" for own in values[across])
    lines = values[down] if len(names) > 1 else [None]
    body = "".join(
        f"<tr><td>{escape(_short(line))}</td>"
        + "".join(_heat(means.get((own if line is None else line, own)), low, high) for own in values[across])
        + "</tr>"
        for line in lines
    )
    corner = escape(f"{down} \\ {across}" if len(names) > 1 else across)
    table = f'<table class="months"><thead><tr><th>{corner}</th>{head}</tr></thead><tbody>{body}</tbody></table>'
    return section(f"Sweep: {result.sweep['metric']}, mean of {counted(len(rows), 'trial')}", card(table))


def _sortable(value: object) -> tuple[bool, Any]:
    return (isinstance(value, str), value)


def _short(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _heat(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "<td></td>"
    share = int(6 + 64 * (value - low) / (high - low)) if high > low else 30
    return f'<td style="background:color-mix(in srgb, var(--main) {share}%, transparent)">{value:.3g}</td>'


def _fills(result: BacktestResult) -> str:
    """Return what fills cost against the mid, by liquidity."""
    rows = []
    for liquidity in ("taker", "maker"):
        own = [fill for fill in result.fills if fill.liquidity == liquidity]
        seen = [slippage_bps(fill) for fill in own if fill.bid is not None and fill.ask is not None]
        if own:
            worse = f"{float(np.mean(seen)):.2f}" if seen else "-"
            rows.append((liquidity, f"{len(own):,}", worse, f"{sum(float(fill.fee) for fill in own):,.4f}"))
    return (
        card(tables_html([Table("fills", ("liquidity", "count", "mean bps from the mid", "fees"), rows)]))
        if rows
        else ""
    )


def _trades(result: BacktestResult) -> str:
    trades = sorted(result.trades, key=lambda own: abs(own.net_pnl), reverse=True)[:TRADES_MAX]
    if not trades:
        return ""
    rows = [
        (
            *(f"{own.number}", own.strategy, own.instrument, "long" if own.side > 0 else "short", f"{own.quantity:f}"),
            *(time_text(own.entry_ts), time_text(own.exit_ts), f"{own.entry_price:.8g}", f"{own.exit_price:.8g}"),
            *(f"{own.net_pnl:,.4f}", f"{own.mae:,.4f}", f"{own.mfe:,.4f}", own.currency),
            "open at the end" if own.is_open else own.tag,
        )
        for own in trades
    ]
    columns = (
        *("no.", "strategy", "instrument", "side", "quantity", "entry", "exit", "entry price", "exit price"),
        *("net", "MAE", "MFE", "currency", "tag"),
    )
    shown = counted(len(result.trades), "round trip")
    title = shown if len(rows) == len(result.trades) else f"{shown}, the {len(rows)} largest"
    table = tables_html([Table("", columns, rows, texts=4)]).replace("<caption></caption>", "")
    return f'<details><summary>{title}</summary><div class="card">{table}</div></details>'


def _counters(result: BacktestResult) -> list[Table]:
    engine = result.engine
    counts = [(name, f"{count:,}") for name, count in dict(engine.get("ticks", {})).items()]
    facts = [
        *((f"ticks: {name}", text) for name, text in counts),
        *((name, f"{engine.get(name, 0):,}") for name in ("gaps", "duplicates", "late", "dead_letters")),
        ("ticks per second", f"{engine.get('ticks_per_s', 0.0):,.0f}"),
        ("wall time, s", f"{engine.get('wall_s', 0.0):,.2f}"),
        ("ended by", str(engine.get("ended_by", ""))),
    ]
    latencies = [
        (
            name,
            f"{own['calls']:,}",
            *(_ns(own["latency_ns"][key]) for key in ("p50", "p99", "max")),
            f"{own['faults']:,}",
        )
        for name, own in dict(engine.get("strategies", {})).items()
    ]
    lanes = [
        (name, *(f"{own[key]:,}" for key in ("published", "processed", "dead", "dropped")))
        for name, own in dict(engine.get("lanes", {})).items()
        if own["published"]
    ]
    return [
        Table("engine", ("", ""), facts),
        Table("handlers", ("strategy", "calls", "p50", "p99", "max", "faults"), latencies),
        Table("events", ("lane", "published", "processed", "dead", "dropped"), lanes),
    ]


def _ns(value: float | None) -> str:
    return "-" if value is None else f"{value / 1_000:,.1f} µs"


def _settings(result: BacktestResult) -> str:
    hashes = [
        ("audit hash", result.audit_hash or "-"),
        ("input hash", result.input_hash or "-"),
        *((f"code of {name}", own.get("code") or "-") for name, own in result.settings.get("strategies", {}).items()),
        *((name, text) for name, text in result.versions.items()),
    ]
    table = tables_html([Table("hashes and versions", ("", ""), hashes, texts=2)]).replace(
        "<table>", '<table class="left">'
    )
    text = escape(json.dumps(result.settings, indent=2, default=str))
    return section(
        "Settings",
        card(table),
        f'<details><summary>Configuration</summary><div class="card"><pre>{text}</pre></div></details>',
    )

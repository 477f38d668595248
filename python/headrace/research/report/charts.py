"""The charts of a result: equity, drawdown, exposure, price with trades, distribution, fills against quotes.

Guarantees: each shows what the result holds; one without data is left out.
Does not: choose where they stand; ``page`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.research.report.svg import Scale, bars, chart, dots, line, time_scale, value_scale

if TYPE_CHECKING:
    from headrace.research.result import BacktestResult

__all__ = [
    "PRICE_LEGEND",
    "drawdown_chart",
    "equity_chart",
    "exposure_chart",
    "fills_chart",
    "price_chart",
    "trades_chart",
]

BINS_MAX = 40
PRICE_LEGEND = '<i class="calm">mid</i><i class="gain">bought</i><i class="loss">sold</i>'


def _times(result: BacktestResult) -> Scale:
    times = result.equity["ts"]
    return time_scale(int(times[0]), int(times[-1]))


def equity_chart(result: BacktestResult) -> str:
    """Return equity and benchmark."""
    curve, x = result.equity, _times(result)
    y = value_scale(curve["equity"], curve["benchmark"])
    body = line(x, y, curve["ts"], curve["benchmark"], "calm") + line(x, y, curve["ts"], curve["equity"], "main")
    legend = '<i class="main">equity</i><i class="calm">buy and hold</i>'
    return chart(x, y, body, title=f"Equity, {result.currency}", legend=legend, tall=True)


def drawdown_chart(result: BacktestResult) -> str:
    """Return the drawdown."""
    curve, x = result.equity, _times(result)
    y = value_scale(curve["drawdown"], zero=True, percent=True)
    return chart(x, y, line(x, y, curve["ts"], curve["drawdown"], "loss", fill=True), title="Drawdown")


def exposure_chart(result: BacktestResult) -> str:
    """Return what is held, by equity."""
    curve, x = result.equity, _times(result)
    y = value_scale(curve["exposure"], zero=True, percent=True)
    body = line(x, y, curve["ts"], curve["exposure"], "main", fill=True)
    return chart(x, y, body, title="Exposure: the size of what is held, by equity")


def price_chart(result: BacktestResult, instrument: str) -> str:
    """Return the price of an instrument with its fills; its x axis can be zoomed."""
    prices, x = result.prices[instrument], _times(result)
    fills = [fill for fill in result.fills if fill.instrument == instrument]
    paid = {side: np.array([float(fill.price) for fill in fills if fill.side == side]) for side in (1, -1)}
    when = {side: np.array([fill.ts for fill in fills if fill.side == side], np.int64) for side in (1, -1)}
    y = value_scale(prices["price"], *paid.values())
    body = line(x, y, prices["ts"], prices["price"], "calm")
    body += dots(x, y, when[1], paid[1], "gain") + dots(x, y, when[-1], paid[-1], "loss")
    return chart(x, y, body, title=instrument, legend=PRICE_LEGEND, zoom=True, tall=True)


def trades_chart(result: BacktestResult) -> str:
    """Return how the net profits of the closed round trips are distributed."""
    profits = np.array(
        [float(own.net_pnl) for own in result.trades if not own.is_open and own.currency == result.currency]
    )
    if len(profits) < 2:
        return ""
    spread = max(abs(float(profits.min())), abs(float(profits.max()))) or 1.0
    # An edge at 0, so that no bar holds gains and losses.
    half = max(2, min(BINS_MAX // 2, int(np.sqrt(len(profits)))))
    edges = np.linspace(-spread, spread, 2 * half + 1)
    heights, _ = np.histogram(profits, edges)
    x, y = value_scale(edges), value_scale(heights.astype(float), zero=True)
    return chart(x, y, bars(x, y, edges, heights), title=f"Round trips by net profit, {result.currency}")


def fills_chart(result: BacktestResult) -> str:
    """Return how far fills lay from the mid of their time, in basis points: above 0 they were worse than the mid."""
    seen = [own for own in result.fills if own.bid is not None and own.ask is not None and own.bid > 0 and own.ask > 0]
    if not seen:
        return ""
    times = np.array([own.ts for own in seen], np.int64)
    costs = np.array([slippage_bps(own) for own in seen])
    takers = np.array([own.liquidity == "taker" for own in seen])
    x, y = _times(result), value_scale(costs, zero=True)
    body = dots(x, y, times[takers], costs[takers], "main") + dots(x, y, times[~takers], costs[~takers], "gain")
    legend = '<i class="main">taker</i><i class="gain">maker</i>'
    return chart(x, y, body, title="Fills against the mid, basis points; above 0 is worse", legend=legend)


def slippage_bps(fill: Any) -> float:
    """Return how much worse than the mid a fill was, in basis points."""
    mid = (fill.bid + fill.ask) / 2
    return fill.side * (float(fill.price) - mid) / mid * 1e4 if mid else 0.0

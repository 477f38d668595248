"""Statistics: what a curve of equity and a list of round trips say, each with its formula, unit and source.

::

    equity at rising times ─▶ returns per UTC day ─▶ volatility, Sharpe, Sortino        annualised by ``days_per_year``
             └▶ total return, CAGR, drawdown, Calmar          round trips ─▶ hit rate, profit factor, expectancy

Guarantees: a figure that does not exist is NaN: the deviation of one day, a ratio to no loss, a rate of no trade; the
first return is from the starting cash; a year is 365 days of elapsed time.
Does not: know a risk-free rate, which is 0, or convert currencies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from headrace.market.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.research.rows import Fill
    from headrace.research.trips import RoundTrip

__all__ = ["DAYS_PER_YEAR", "Statistics", "daily_returns", "drawdowns", "statistics_of"]

DAY_NS = 86_400_000_000_000
DAYS_PER_YEAR = 365
YEAR_NS = 365 * DAY_NS


def daily_returns(times: np.ndarray, equity: np.ndarray, *, every_day: bool = True) -> np.ndarray:
    """Return the returns per UTC day, without unit: the last equity of a day by that of the day before, less 1.

    times : ns since 1970-01-01 UTC, rising, shape (n,). equity : shape (n,); the first is the starting cash, from which
    the first day's return is counted. every_day : a day without a value has a return of 0; otherwise it has none.
    Source: the definition of a simple return; days are cut at midnight UTC.
    """
    if len(equity) < 2:
        return np.empty(0)
    # A value at midnight belongs to the day that it ends.
    days = (times[1:] - 1) // DAY_NS
    last = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    days, ends = days[last], equity[1:][last]
    if every_day:
        filled = np.arange(days[0], days[-1] + 1)
        ends = ends[np.searchsorted(days, filled, "right") - 1]
    before = np.append(equity[0], ends[:-1])
    growth: np.ndarray = np.divide(ends, before, out=np.full(len(ends), np.nan), where=before > 0)
    return growth - 1


def drawdowns(equity: np.ndarray) -> np.ndarray:
    """Return how far each value lies below the highest before it, as a part of that: 0 at a peak, else below 0.

    Source: the definition of a drawdown; empyrical computes the same of cumulated returns.
    """
    peaks = np.maximum.accumulate(equity)
    below: np.ndarray = np.divide(equity - peaks, peaks, out=np.zeros(len(equity)), where=peaks > 0)
    return below


class Statistics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of a run, in the currency of its account. A figure that does not exist is NaN.

    total_return : last equity by first, less 1; without unit.
    cagr : (last / first) ^ (year / elapsed) - 1, per year of 365 days; NaN below a day, where it would mean nothing.
        Compound annual growth rate.
    volatility : standard deviation of the daily returns (n - 1), times the root of ``days_per_year``; per year.
    sharpe : mean by standard deviation of the daily returns (n - 1), times the root of ``days_per_year``; Sharpe 1994,
        "The Sharpe Ratio", with a risk-free rate of 0.
    sortino : mean of the daily returns by the root of the mean of their squares below 0, times the root of
        ``days_per_year``; Sortino and Price 1994, with a target of 0.
    calmar : cagr by the size of the maximum drawdown; Young 1991.
    max_drawdown : the deepest drawdown, at most 0; without unit. It is measured at the steps of the curve.
    max_drawdown_ns : the longest time from a peak until equity is there again, or until the end.
    hit_rate : trips with a net profit above 0, by closed trips.
    profit_factor : sum of the net profits above 0, by the size of the sum of those below 0.
    expectancy : mean net profit of a closed trip, in the currency.
    turnover : notional of all fills, by the mean equity; without unit, over the whole run.
    exposure : part of the elapsed time in which something was held.
    fees : paid in all, in the currency; below 0: rebates were larger.
    trades, open_trades, fills : how many. days : daily returns.
    benchmark_return : of buying at the first mark and holding; with several instruments the mean of theirs.
    """

    total_return: float
    cagr: float
    volatility: float
    sharpe: float
    sortino: float
    calmar: float
    max_drawdown: float
    max_drawdown_ns: int
    hit_rate: float
    profit_factor: float
    expectancy: float
    turnover: float
    exposure: float
    fees: float
    trades: int
    open_trades: int
    fills: int
    days: int
    benchmark_return: float


def statistics_of(
    curve: np.ndarray, trips: Sequence[RoundTrip], fills: Sequence[Fill], *, days_per_year: int = DAYS_PER_YEAR
) -> Statistics:
    """Return the figures of one currency.

    curve : fields ts, equity, exposure and benchmark, as ``BacktestResult.equity``. trips, fills : of that currency.
    days_per_year : of the market's calendar; 365: every UTC day has a return; else only days with a value, as 252.
    """
    times, equity = curve["ts"], curve["equity"]
    returns = daily_returns(times, equity, every_day=days_per_year == DAYS_PER_YEAR)
    elapsed_ns = int(times[-1] - times[0]) if len(times) else 0
    growth = _ratio(equity[-1], equity[0]) if len(equity) else math.nan
    cagr = _cagr(growth, elapsed_ns)
    deepest = float(drawdowns(equity).min(initial=0.0))
    closed = [float(trip.net_pnl) for trip in trips if not trip.is_open]
    wins, losses = [own for own in closed if own > 0], [own for own in closed if own < 0]
    notional = float(sum((fill.notional for fill in fills), ZERO))
    return Statistics(
        total_return=growth - 1,
        cagr=cagr,
        volatility=_deviation(returns) * math.sqrt(days_per_year),
        sharpe=_ratio(_mean(returns), _deviation(returns)) * math.sqrt(days_per_year),
        sortino=_ratio(_mean(returns), _downside(returns)) * math.sqrt(days_per_year),
        calmar=_ratio(cagr, -deepest),
        max_drawdown=deepest,
        max_drawdown_ns=_longest_drawdown_ns(times, equity),
        hit_rate=_ratio(len(wins), len(closed)),
        profit_factor=_ratio(math.fsum(wins), -math.fsum(losses)),
        expectancy=_ratio(math.fsum(closed), len(closed)),
        turnover=_ratio(notional, _mean(equity)),
        exposure=_time_held(fills, int(times[-1]), elapsed_ns) if len(times) else math.nan,
        fees=float(sum((fill.fee for fill in fills), ZERO)),
        trades=len(closed),
        open_trades=len(trips) - len(closed),
        fills=len(fills),
        days=len(returns),
        benchmark_return=_ratio(curve["benchmark"][-1], curve["benchmark"][0]) - 1 if len(curve) else math.nan,
    )


def _ratio(value: float, by: float) -> float:
    """Return a quotient; NaN by 0."""
    return float(value) / float(by) if by else math.nan


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _deviation(returns: np.ndarray) -> float:
    return float(returns.std(ddof=1)) if len(returns) > 1 else math.nan


def _downside(returns: np.ndarray) -> float:
    return float(np.sqrt(np.square(np.minimum(returns, 0)).mean())) if len(returns) > 1 else math.nan


def _cagr(growth: float, elapsed_ns: int) -> float:
    if elapsed_ns < DAY_NS or not growth > 0:
        return math.nan
    try:
        return float(growth ** (YEAR_NS / elapsed_ns)) - 1
    except OverflowError:
        return math.nan


def _longest_drawdown_ns(times: np.ndarray, equity: np.ndarray) -> int:
    if not len(equity):
        return 0
    # A value that equals the peak ends a drawdown and begins none.
    at_peak = equity >= np.maximum.accumulate(equity)
    peak_times = np.maximum.accumulate(np.where(at_peak, times, times[0]))
    since_peak = times - np.append(times[0], peak_times[:-1])
    # The value that recovers counts, too: until then it lasted.
    is_below = ~at_peak | np.append(False, ~at_peak[:-1])
    return int(since_peak[is_below].max(initial=0))


def _time_held(fills: Sequence[Fill], end_ns: int, elapsed_ns: int) -> float:
    """Return the part of the time in which any instrument was held."""
    if not elapsed_ns:
        return math.nan
    held: set[str] = set()
    total_ns = since_ns = 0
    for fill in fills:
        was_held = bool(held)
        if fill.net:
            held.add(fill.instrument)
        else:
            held.discard(fill.instrument)
        if held and not was_held:
            since_ns = fill.ts
        elif was_held and not held:
            total_ns += fill.ts - since_ns
    return (total_ns + (end_ns - since_ns if held else 0)) / elapsed_ns

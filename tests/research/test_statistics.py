"""The figures of a result, against empyrical and against numbers that were worked out by hand."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest

import headrace
from headrace.research.curve import CURVE_DTYPE
from headrace.research.statistics import DAYS_PER_YEAR, Statistics, daily_returns, drawdowns, statistics_of
from tests.support.backtests import DAY, Acts, Reverting, path, walk
from tests.support.engines import START

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Of its own imports.
    import empyrical


def curve_over(equity: np.ndarray, step_ns: int = DAY) -> np.ndarray:
    """A curve with these values; the first is the starting cash."""
    made = np.zeros(len(equity), CURVE_DTYPE)
    made["ts"] = START + step_ns * np.arange(len(equity))
    made["equity"] = made["benchmark"] = equity
    return made


def figures(equity: np.ndarray, step_ns: int = DAY, **options: int) -> Statistics:
    return statistics_of(curve_over(equity, step_ns), [], [], **options)


@pytest.fixture
def equity(seed: int) -> np.ndarray:
    returns = np.random.default_rng(seed).normal(0.0005, 0.02, 500)
    return 1_000 * np.concatenate([[1.0], np.cumprod(1 + returns)])


def test_figures_are_those_of_empyrical(equity: np.ndarray) -> None:
    returns = equity[1:] / equity[:-1] - 1
    own = figures(equity)
    assert daily_returns(curve_over(equity)["ts"], equity) == pytest.approx(returns)
    year = {"annualization": DAYS_PER_YEAR}
    assert own.total_return == pytest.approx(empyrical.cum_returns_final(returns))
    assert own.volatility == pytest.approx(empyrical.annual_volatility(returns, **year))
    assert own.sharpe == pytest.approx(empyrical.sharpe_ratio(returns, **year))
    assert own.sortino == pytest.approx(empyrical.sortino_ratio(returns, **year))
    assert own.max_drawdown == pytest.approx(empyrical.max_drawdown(returns))
    assert own.cagr == pytest.approx(empyrical.cagr(returns, **year))
    assert own.calmar == pytest.approx(empyrical.calmar_ratio(returns, **year))


def test_every_figure_has_its_formula_unit_or_source_in_the_docstring() -> None:
    text = " ".join((Statistics.__doc__ or "").split())
    described = re.findall(r"([a-z_]+(?:, [a-z_]+)*) : ", text)
    assert sorted(", ".join(described).split(", ")) == sorted(Statistics.__struct_fields__)
    for said in ("Sharpe 1994", "Sortino and Price 1994", "Young 1991", "per year of 365 days", "in the currency"):
        assert said in text


def test_26_weeks_of_a_part_are_a_yearly_growth_by_elapsed_time() -> None:
    own = figures(1_000 * 1.006 ** np.arange(27), 7 * DAY)
    assert own.cagr == pytest.approx(0.366, abs=0.0005)


def test_a_calendar_of_252_days_has_returns_on_its_days_only() -> None:
    """Five values a week: no return on a weekend, and the root of 252."""
    days = np.array([day for day in range(140) if day % 7 < 5])
    made = curve_over(1_000 * 1.001 ** np.arange(len(days)) * (1 + 0.01 * (np.arange(len(days)) % 2)))
    made["ts"] = START + DAY * days
    own = statistics_of(made, [], [], days_per_year=252)
    returns = made["equity"][1:] / made["equity"][:-1] - 1
    assert own.days == len(days) - 1
    assert own.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(252))
    assert figures(made["equity"]).days == len(days) - 1
    assert statistics_of(made, [], []).days == days[-1]


def test_the_first_return_is_from_the_starting_cash() -> None:
    times = START + np.array([0, DAY // 2, DAY, 2 * DAY])
    assert daily_returns(times, np.array([100.0, 90.0, 110.0, 121.0])) == pytest.approx([0.1, 0.1])


def test_a_value_at_midnight_belongs_to_the_day_that_it_ends() -> None:
    times = START + np.array([0, DAY, DAY + 1])
    assert daily_returns(times, np.array([100.0, 110.0, 121.0])) == pytest.approx([0.1, 0.1])


def test_what_does_not_exist_is_not_a_number() -> None:
    own = headrace.backtest(Acts({}), path([100, 101])).statistics
    for name in ("cagr", "volatility", "sharpe", "sortino", "calmar", "hit_rate", "profit_factor", "expectancy"):
        assert math.isnan(getattr(own, name)), name
    assert (own.total_return, own.trades, own.fills, own.exposure) == (0, 0, 0, 0)


def test_the_longest_drawdown_lasts_from_its_peak_to_its_recovery() -> None:
    own = figures(np.array([100.0, 105.0, 100.0, 99.0, 105.0, 104.0, 106.0, 106.0]))
    assert own.max_drawdown_ns == 3 * DAY
    assert own.max_drawdown == pytest.approx(-6 / 105)


def test_a_drawdown_that_does_not_end_lasts_until_the_end() -> None:
    assert figures(np.array([100.0, 105.0, 100.0, 99.0, 100.0, 101.0])).max_drawdown_ns == 4 * DAY
    assert figures(np.array([100.0, 101.0, 102.0])).max_drawdown_ns == 0
    assert drawdowns(np.array([100.0, 50.0, 200.0])).tolist() == [0.0, -0.5, 0.0]


def test_trades_make_rates_and_means() -> None:
    """Two round trips of one unit: one gains 1.98, the other loses 2.02."""
    result = headrace.backtest(
        Acts({1: 1, 3: -1, 5: 1, 7: -1}), path([100, 100, 101, 102, 102, 102, 101, 100, 100]), fees=0
    )
    own = result.statistics
    assert [float(trade.net_pnl) for trade in result.trades] == pytest.approx([1.98, -2.02])
    assert own.hit_rate == 0.5
    assert own.profit_factor == pytest.approx(1.98 / 2.02)
    assert own.expectancy == pytest.approx(-0.02)
    assert own.exposure == pytest.approx(4 / 8)
    assert own.turnover == pytest.approx((100.01 + 101.99 + 102.01 + 99.99) / result.equity["equity"].mean())


def test_a_benchmark_stands_beside_the_equity() -> None:
    result = headrace.backtest(Reverting, walk())
    first, last = result.prices["BTCUSDT.BINANCE"]["price"][[0, -1]]
    assert result.statistics.benchmark_return == pytest.approx(last / first - 1)
    assert result.equity["benchmark"][0] == 100_000


def test_the_curve_can_be_read_at_any_step() -> None:
    result = headrace.backtest(Reverting, walk(3_000))
    hourly = result.equity_at(3_600 * 10**9)
    assert len(hourly) == 51
    assert hourly[-1] == result.equity[-1]
    with pytest.raises(headrace.HeadraceError, match="step_ns=0"):
        result.equity_at(0)


def test_a_long_run_has_longer_steps_and_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = headrace.backtest(Reverting, walk(3_000))
    monkeypatch.setattr("headrace.research.marks.MARKS_MAX", 100)
    coarse = headrace.backtest(Reverting, walk(3_000))
    assert len(coarse.equity) <= 103 < len(fine.equity)
    assert coarse.equity[-1]["equity"] == fine.equity[-1]["equity"]
    shared = np.isin(fine.equity["ts"], coarse.equity["ts"])
    assert fine.equity[shared]["equity"].tolist() == coarse.equity["equity"].tolist()

"""A backtest that is looked at decides what it decides alone; its equity is kept in memory that never grows."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from headrace.control.http import BacktestApi
from headrace.control.stream.thinned import POINTS_MAX, Thinned
from headrace.examples.mean_reversion import MeanReversion
from headrace.feeds import synthetic_session
from headrace.research.run import backtest_options, run_backtest
from headrace.research.settings import BacktestOptions


def test_a_backtest_that_is_looked_at_decides_the_same() -> None:
    hashes = []
    for api in (None, BacktestApi()):
        feeds = synthetic_session(symbols=["ETHUSDT"], frames=60_000, seed=7)
        options: BacktestOptions = {"seed": 1}
        if api is not None:
            options["progress"] = api.look
        given = backtest_options(MeanReversion(quantity=Decimal(1)), feeds, options)
        result = run_backtest(*given, on_begin=None if api is None else api.begin)
        assert len(result.fills) > 0
        hashes.append((result.audit_hash, result.input_hash))
    assert hashes[0] == hashes[1]


def test_points_are_thinned_and_keep_both_ends() -> None:
    own = Thinned()
    for number in range(100_000):
        own.add(number * 1_000, {"paper/USDT": float(number)})
    document = own.document()
    values = document["series"]["paper/USDT"]
    assert len(values) == len(document["ts_ns"])
    assert POINTS_MAX / 2 <= len(values) <= POINTS_MAX
    assert (values[0], values[-1]) == (0.0, 99_999.0)
    steps = {after - before for before, after in pairwise(values[:-1])}
    assert len(steps) == 1


def test_a_series_that_begins_later_has_no_value_before() -> None:
    own = Thinned()
    own.add(1, {"paper/USDT": 1.0})
    own.add(2, {"paper/USDT": 2.0, "paper/BTC": 0.5})
    assert own.document() == {"ts_ns": [1, 2], "series": {"paper/USDT": [1.0, 2.0], "paper/BTC": [None, 0.5]}}
    assert Thinned().document() == {"ts_ns": [], "series": {}}

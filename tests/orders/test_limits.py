"""Limits of strategies and of the account: what they refuse, what they reduce, and what always passes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult, Strategy
from headrace.errors import OptionError
from headrace.market.events import OrderRequested
from headrace.trading.risk import GateRequest, GateVerdict, TradingLimits
from tests.support.backtests import DAY, HOUR, SECOND, Acts, path
from tests.support.engines import START, engine_over
from tests.support.feeding import BTC, ETH

D = Decimal
FLAT = [100.0] * 12


def ran(acts: dict[int, object], limits: TradingLimits, mids: list[float] = FLAT, **options: Any) -> BacktestResult:
    given = {"cash": 100_000, "fees": 0, "strategy_limits": {"*": limits}, **options}
    return headrace.backtest(Acts(acts), path(mids, every_ns=options.pop("every_ns", SECOND)), **given)


def quantities(result: BacktestResult) -> list[tuple[str, str]]:
    """What became of each order: its state and its quantity."""
    return [(own.state, f"{own.quantity.normalize():f}") for own in result.orders]


def test_a_position_beyond_its_limit_is_refused() -> None:
    result = ran({1: 6, 3: 5, 5: 4}, TradingLimits(position_max=D(10)))
    assert quantities(result) == [("filled", "6"), ("rejected", "5"), ("filled", "4")]
    assert (result.orders[1].gate, result.orders[1].requested_quantity) == ("limits", None)
    assert "would hold 11.00000000 BTCUSDT.BINANCE, above 10" in result.orders[1].reason


def test_a_reduced_order_carries_what_was_requested() -> None:
    result = ran({1: 6, 3: 5, 5: 1}, TradingLimits(position_max=D(10), on_exceed="reduce"))
    assert quantities(result) == [("filled", "6"), ("filled", "4"), ("rejected", "1")]
    assert [own.requested_quantity for own in result.orders] == [None, D(5), None]


def test_working_orders_count_as_filled() -> None:
    def rest(strategy: Strategy) -> None:
        strategy.buy(BTC, 6, price="90")

    assert quantities(ran({1: rest, 3: 5}, TradingLimits(position_max=D(10)))) == [("canceled", "6"), ("rejected", "5")]


def test_orders_of_one_moment_cannot_use_the_same_room() -> None:
    def both(strategy: Strategy) -> None:
        strategy.buy(BTC, 6)
        strategy.buy(BTC, 6)

    assert quantities(ran({1: both}, TradingLimits(position_max=D(10)))) == [("filled", "6"), ("rejected", "6")]


def test_a_flip_is_bounded_on_the_other_side() -> None:
    limits = TradingLimits(position_max=D(10), on_exceed="reduce")
    assert quantities(ran({1: 10, 3: -30}, limits)) == [("filled", "10"), ("filled", "20")]


def test_what_reduces_always_passes() -> None:
    limits = TradingLimits(orders_max=1, orders_every="1h", exposure_max={"USDT": D(1_001)})
    assert quantities(ran({1: 10, 3: -10}, limits, [100, 100, 150, 150, 150])) == [("filled", "10"), ("filled", "10")]


def test_the_account_bounds_all_strategies_together() -> None:
    class Other(Acts):
        pass

    both = [Acts({1: 6}), Other({3: 6})]
    result = headrace.backtest(both, path(FLAT), cash=100_000, account_limits=TradingLimits(position_max=D(10)))
    assert quantities(result) == [("filled", "6"), ("rejected", "6")]
    assert "the account would hold 12" in result.orders[1].reason


def test_a_strategys_own_limits_replace_those_of_the_others() -> None:
    limits = {"*": TradingLimits(position_max=D(1)), "Acts": TradingLimits(position_max=D(10))}
    result = headrace.backtest(Acts({1: 6}), path(FLAT), cash=100_000, strategy_limits=limits)
    assert quantities(result) == [("filled", "6")]


def test_exposure_is_the_notional_of_all_that_is_held_in_a_currency() -> None:
    def buy_eth(strategy: Strategy) -> None:
        strategy.buy(ETH, 6)

    feeds = [path(FLAT), path(FLAT, instrument=ETH)]
    acts = {2: 6, 6: buy_eth}  # 6 of BTC are 600 at the mid.
    refused = headrace.backtest(
        Acts(acts), feeds, cash=9_999, strategy_limits={"*": TradingLimits(exposure_max={"USDT": D(1_100)})}
    )
    assert [own.state for own in refused.orders] == ["filled", "rejected"]
    assert "1200" in refused.orders[1].reason
    limits = TradingLimits(exposure_max={"USDT": D(1_100)}, on_exceed="reduce")
    reduced = headrace.backtest(Acts(acts), feeds, cash=9_999, strategy_limits={"*": limits})
    assert quantities(reduced) == [("filled", "6"), ("filled", "5")]


def test_orders_within_an_interval_are_counted() -> None:
    limits = TradingLimits(orders_max=2, orders_every="5s")
    result = ran({1: 1, 2: 1, 3: 1, 6: 1, 7: 1, 8: 1}, limits)
    assert [own.state for own in result.orders] == ["filled", "filled", "rejected", "filled", "filled", "rejected"]


def test_a_refused_order_is_no_order_of_the_interval() -> None:
    """The gate of the cash, behind it, refuses the first two."""
    limits = TradingLimits(orders_max=1, orders_every="1h")
    result = ran({1: 6, 2: 6, 3: 1, 4: 1}, limits, cash=500)
    assert [(own.state, own.gate) for own in result.orders] == [
        ("rejected", "cash"),
        ("rejected", "cash"),
        ("filled", ""),
        ("rejected", "limits"),
    ]


def hours(mids: list[float]) -> np.ndarray:
    """A quote each hour."""
    return path(mids, every_ns=HOUR)


def test_a_daily_loss_stops_until_midnight() -> None:
    """10 bought at 100.01 at hour 1; at 98, hour 2, they have lost 20.1 of 20, and tomorrow is another day."""
    mids = [100.0, 100.0, 98.0, 98.0, 98.0, *[98.0] * 25]
    limits = TradingLimits(loss_max={"USDT": D(20)})
    acts = {1: 10, 4: 1, 5: -1, 24: 1, 26: 1}
    result = headrace.backtest(Acts(acts), hours(mids), cash=9_999, fees=0, strategy_limits={"*": limits})
    assert [own.state for own in result.orders] == ["filled", "rejected", "filled", "rejected", "filled"]
    assert "until 00:00 UTC" in result.orders[1].reason
    assert result.orders[3].ts < START + DAY < result.orders[4].ts


def test_a_loss_that_is_over_when_the_order_comes_still_stops_the_day() -> None:
    """Between two orders equity falls beyond the limit and recovers; each minute looks."""
    mids = [100.0, 100.0, 97.0, 100.0, 100.0, 100.0]
    limits = TradingLimits(loss_max={"USDT": D(20)})
    result = headrace.backtest(Acts({1: 10, 5: 1}), hours(mids), cash=9_999, fees=0, strategy_limits={"*": limits})
    assert [own.state for own in result.orders] == ["filled", "rejected"]


def test_a_drawdown_stops_for_the_rest_of_the_run() -> None:
    mids = [100.0, 100.0, 110.0, 107.0, 110.0, *[112.0] * 30]
    limits = TradingLimits(drawdown_max={"USDT": D(30)})
    acts = {1: 10, 3: 1, 6: 1, 30: 1, 31: -5}
    result = headrace.backtest(Acts(acts), hours(mids), cash=9_999, fees=0, account_limits=limits)
    assert [own.state for own in result.orders] == ["filled", "filled", "rejected", "rejected", "filled"]
    assert "for the rest of the run" in result.orders[2].reason


def test_a_stopped_flip_is_reduced_to_what_closes() -> None:
    mids = [100.0, 100.0, 90.0, 90.0, 90.0, 90.0]
    limits = TradingLimits(drawdown_max={"USDT": D(30)}, on_exceed="reduce")
    result = headrace.backtest(Acts({1: 10, 4: -25}), hours(mids), cash=9_999, fees=0, account_limits=limits)
    assert [(own.state, own.quantity) for own in result.orders] == [("filled", D(10)), ("filled", D(10))]


def test_a_users_gate_may_reduce_too() -> None:
    class Half:
        name = "half"

        def check(self, request: GateRequest) -> GateVerdict:
            half = request.order.quantity / 2
            return GateVerdict(passed=True, observed=request.order.quantity, threshold=half, quantity=half)

    engine = engine_over(path(FLAT), [Acts({1: 6})])
    engine.orders.gates.add(Half())
    seen: list[OrderRequested] = []
    engine.bus.subscribe(OrderRequested, seen.append, name="test")
    engine.run()
    assert [(own.quantity, own.requested_quantity) for own in seen] == [(D(3), D(6))]


@pytest.mark.parametrize(
    "options",
    [
        {"position_max": 0},
        {"position_max": "much"},
        {"exposure_max": {"USDT": -1}},
        {"exposure_max": 5},
        {"orders_max": 0},
        {"orders_every": "soon"},
        {"loss_max": {"USDT": float("nan")}},
        {"on_exceed": "ignore"},
    ],
    ids=str,
)
def test_a_limit_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        TradingLimits(**options)


def test_limits_of_an_unknown_strategy_are_refused() -> None:
    with pytest.raises(OptionError, match="did you mean Acts"):
        ran({}, TradingLimits(), strategy_limits={"Act": TradingLimits()})

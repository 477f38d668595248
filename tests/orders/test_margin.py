"""Accounts on margin: what leverage locks, when positions are liquidated, at which price, and that this is final."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult, Instrument, Strategy
from headrace.errors import OptionError
from headrace.feeds import CandleFeed
from headrace.market.events import Liquidated
from headrace.trading.margin import Margin
from tests.support.backtests import SECOND, Acts, path
from tests.support.candles import Trader, candles, flat
from tests.support.engines import START, engine_over

D = Decimal
USDM = "BTCUSDT.BINANCE_USDM"
COINM = "BTCUSD_PERP.BINANCE_COINM"
TEN = {"BINANCE_USDM": Margin(leverage=D(10)), "BINANCE_COINM": Margin(leverage=D(10))}
# So that an act at quote 1 fills at quote 2, at 100.01.
FLAT = [100.0] * 3


def ran(acts: dict[int, object], mids: list[float], *, instrument: str = USDM, **options: Any) -> BacktestResult:
    given = {"cash": 1_000, "fees": 0, "margin": TEN, **options}
    return headrace.backtest(Acts(acts), path(mids, instrument=instrument), **given)


def marks(prices: list[float], *, instrument: str = USDM) -> np.ndarray:
    """Marks, one half a second behind each quote."""
    return headrace.ticks(
        instrument=instrument,
        ts_init=START + SECOND * np.arange(len(prices)) + SECOND // 2,
        kind="mark",
        mark_price=np.asarray(prices, "f8"),
        index_price=np.asarray(prices, "f8"),
    )


def liquidations(result: BacktestResult) -> list[tuple[int, Decimal]]:
    """Side and price of what was closed by force."""
    closed = [order.order_id for order in result.orders if order.tag == "liquidation"]
    return [(fill.side, fill.price) for fill in result.fills if fill.order_id in closed]


def test_leverage_locks_a_part_of_the_worth() -> None:
    assert [own.state for own in ran({1: 99}, FLAT).orders] == ["filled"]
    assert [own.state for own in ran({1: 100}, FLAT).orders] == ["rejected"]
    assert [own.state for own in ran({1: 10}, FLAT, margin=None).orders] == ["rejected"]


def test_a_margin_of_an_instrument_comes_before_that_of_its_venue() -> None:
    margin = {**TEN, USDM: Margin(leverage=D(2))}
    assert [own.state for own in ran({1: 19}, FLAT, margin=margin).orders] == ["filled"]
    assert [own.state for own in ran({1: 20}, FLAT, margin=margin).orders] == ["rejected"]


def test_what_a_position_loses_on_margin_cannot_be_spent() -> None:
    """50 at 100.01 lock 500.05, and lose 250.5 by 95; the 249.45 that are left pay for 26 at 95.01, not for 27."""
    for quantity, state in ((26, "filled"), (27, "rejected")):
        assert ran({1: 50, 4: quantity}, [*FLAT, 95.0, 95.0]).orders[1].state == state


def test_a_losing_position_flips_with_what_its_close_leaves() -> None:
    """90 are closed at 94.99 with a loss of 451.8; the 548.2 that are left pay for a short of 57 on margin, not 58."""
    for beyond, state in ((57, "filled"), (58, "rejected")):
        assert ran({1: 90, 4: -90 - beyond}, [*FLAT, 95.0, 95.0]).orders[1].state == state


def test_a_profit_on_margin_is_not_spent_before_it_is_realized() -> None:
    result = ran({1: 90, 4: 20}, [*FLAT, 150.0, 150.0])
    assert [own.state for own in result.orders] == ["filled", "rejected"]


def test_a_position_is_closed_when_its_equity_reaches_the_maintenance_margin() -> None:
    """At the mid p the equity is 1000 + 90 (p - 100.01), the maintenance 0.45 p: equal at 89.345."""
    assert liquidations(ran({1: 90}, [*FLAT, 89.35, 89.35])) == []
    assert liquidations(ran({1: 90}, [*FLAT, 89.34, 99.0])) == [(-1, D("89.34"))]


def test_a_short_is_closed_when_the_price_rises() -> None:
    """At the mid p the equity is 1000 + 90 (99.99 - p), the maintenance 0.45 p: equal at 110.547."""
    assert liquidations(ran({1: -90}, [*FLAT, 110.54])) == []
    assert liquidations(ran({1: -90}, [*FLAT, 110.55])) == [(1, D("110.55"))]


def test_a_liquidation_is_final() -> None:
    result = ran({1: 90}, [*FLAT, 89.0, 100.0, 120.0])
    assert [(own.quantity, own.is_open) for own in result.positions] == [(D(0), False)]
    assert result.equity_end == 1_000 + 90 * (D(89) - D("100.01"))
    assert result.equity["equity"][-1] == float(result.equity_end)


def test_a_liquidation_costs_a_takers_fee() -> None:
    result = ran({1: 90}, [*FLAT, 89.0], fees="0/0.0001")
    assert [own.fee for own in result.fills] == [90 * D("100.01") * D("0.0001"), 90 * D(89) * D("0.0001")]


def test_what_is_lost_beyond_the_equity_stays_lost() -> None:
    result = ran({1: 90}, [*FLAT, 50.0])
    assert result.equity_end == 1_000 + 90 * (D(50) - D("100.01"))
    assert result.equity_end < 0


def test_a_liquidation_is_told_with_its_figures() -> None:
    seen: list[Liquidated] = []
    engine = engine_over(
        path([*FLAT, 89.0], instrument=USDM),
        [Acts({1: 90})],
        instruments=[Instrument(USDM, D("0.01"), D(1))],
        cash={"USDT": 1_000},
        margin=TEN,
    )
    engine.bus.subscribe(Liquidated, seen.append, name="test")
    engine.run()
    assert [(own.currency, own.equity, own.maintenance, own.marks) for own in seen] == [
        ("USDT", D("9.1"), D("40.05"), {USDM: D(89)})
    ]
    assert [own for own in ran({1: 90}, [*FLAT, 89.0]).notes if "liquidation" in own and "at 89" in own]


def test_open_orders_are_canceled_by_a_liquidation() -> None:
    def rests(strategy: Strategy) -> None:
        strategy.buy(USDM, 1, price="60")

    result = ran({1: 90, 2: rests}, [*FLAT, 89.0, 59.0, 59.0], cash=1_010)
    assert [(own.tag, own.state) for own in result.orders] == [
        ("", "filled"),
        ("", "canceled"),
        ("liquidation", "filled"),
    ]


def test_marks_decide_where_there_are_marks() -> None:
    """Quotes at 80 liquidate nothing while the mark is at 99; the mark does, while quotes are at 100."""
    quotes = path([*FLAT, 80.0, 100.0, 100.0], instrument=USDM)
    run = lambda own: headrace.backtest(Acts({1: 90}), [quotes, marks(own)], cash=1_000, fees=0, margin=TEN)  # noqa: E731
    assert liquidations(run([100.0, 99.0, 99.0, 99.0, 99.0])) == []
    assert liquidations(run([100.0, 99.0, 99.0, 99.0, 89.0])) == [(-1, D("89"))]


def test_an_inverse_contract_is_liquidated_in_its_coin() -> None:
    """90 contracts of 100 USD at 100.01 are 89.99 coins, on 10; at p they have lost 9000 (1/p - 1/100.01)."""
    result = ran({1: 90}, [*FLAT, 90.0, 90.0], instrument=COINM, cash="10BTC")
    assert liquidations(result) == [(-1, D(90))]
    lost = 9_000 * (D(1) / D(90) - D(1) / D("100.01"))
    assert result.equity_end is not None
    assert abs(result.equity_end - (10 - lost)) < D("1e-18")


def test_one_account_covers_all_its_positions_of_a_currency() -> None:
    """The loss of one contract is covered by the profit of another one."""
    eth = "ETHUSDT.BINANCE_USDM"
    quotes = [path([100, 100, 100, 89, 89], instrument=USDM), path([100, 100, 100, 120, 120], instrument=eth)]

    def both(strategy: Strategy) -> None:
        strategy.buy(USDM, 45)
        strategy.buy(eth, 45)

    # Each instrument has its quote at each second, BTC first.
    covered = headrace.backtest(Acts({2: both}), quotes, cash=1_000, fees=0, margin=TEN)
    assert liquidations(covered) == []
    alone = headrace.backtest(Acts({2: lambda own: own.buy(USDM, 95)}), quotes, cash=1_000, fees=0, margin=TEN)
    assert len(liquidations(alone)) == 1


# Candles


def on_candles(prices: Any, orders: Any, **options: Any) -> tuple[BacktestResult, Trader]:
    trader = Trader({1: orders})
    feed = CandleFeed(candles([*flat(100), *prices]), instrument=USDM)
    return headrace.backtest(trader, [feed], **{"cash": 1_000, "fees": 0, "margin": TEN, **options}), trader


def test_a_candle_is_judged_at_its_worst_though_it_closes_well() -> None:
    result, trader = on_candles([(100, 101, 89, 100), (100, 100, 100, 100)], [(1, 90, {})])
    # 1000 + 90 (p - 100) = 0.45 p
    reached = D("89.33556672")
    assert liquidations(result) == [(-1, reached)]
    assert 1_000 + 90 * (reached - 100) <= D("0.45") * reached
    assert trader.log_of[-3:] == ["bar 2", "bar 3"] or trader.log_of[1:3] == ["fill 100.0", f"fill {reached}"]


def test_a_candle_that_stays_above_the_maintenance_margin_closes_nothing() -> None:
    result, _ = on_candles([(100, 101, 89.34, 100)], [(1, 90, {})])
    assert liquidations(result) == []


def test_a_candle_that_opens_beyond_the_margin_closes_at_its_open() -> None:
    result, _ = on_candles([(100, 100, 100, 100), (80, 95, 70, 95)], [(1, 90, {})])
    assert liquidations(result) == [(-1, D("80.0"))]


def test_a_short_is_judged_at_a_candles_high() -> None:
    result, _ = on_candles([(100, 112, 99, 100)], [(-1, 90, {})])
    ((side, price),) = liquidations(result)
    assert side == 1
    assert D("110.55") < price < D("110.56")


def test_the_strategy_sees_the_liquidation_before_the_candle() -> None:
    _, trader = on_candles([(100, 101, 80, 100)], [(1, 90, {})])
    assert trader.log_of == ["bar 1", "fill 100.0", "fill 89.33556672", "bar 2"]


# What is refused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"leverage": 0}, "leverage=0"),
        ({"leverage": 1_001}, "1 to 1,000"),
        ({"leverage": float("nan")}, "leverage=nan"),
        ({"leverage": 10, "maintenance": "0.1"}, "below 1/leverage"),
        ({"maintenance": -1}, "maintenance=-1"),
        ({"funding": "often"}, "funding='often'"),
        ({"funding": 0}, "funding=0"),
    ],
    ids=str,
)
def test_a_margin_that_is_none_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Margin(**options)


@pytest.mark.parametrize("name", ["BINANCE", "BTCUSDT.BINANCE"])
def test_a_margin_of_a_spot_market_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="it is spot"):
        ran({}, FLAT, margin={name: Margin(leverage=D(3))})


def test_a_margin_without_cash_is_refused() -> None:
    with pytest.raises(OptionError, match="margin without cash"):
        engine_over(path(FLAT), [Acts({})], margin=TEN)


def test_margins_are_told_by_name() -> None:
    with pytest.raises(OptionError, match="margin"):
        ran({}, FLAT, margin={"BINANCE_USDM": 10})

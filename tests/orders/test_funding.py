"""Funding: who pays which rate for what, what comes late, and what does not come at all."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult
from headrace.market.events import FundingPaid
from headrace.trading.margin import Margin
from tests.support.backtests import HOUR, SECOND, Acts, path
from tests.support.engines import START

D = Decimal
USDM = "BTCUSDT.BINANCE_USDM"
COINM = "BTCUSD_PERP.BINANCE_COINM"
MINUTE = 60 * SECOND
# Quotes of a day, one a quarter of an hour, from 2026-01-05 00:00 UTC on; the first settlement is behind number 32.
DAY = [100.0] * 97


def funding(
    rates: dict[int, float], *, instrument: str = USDM, mark: float = 100.0, late_ns: int = SECOND, **more: Any
) -> np.ndarray:
    """Rates by the hour at which they were settled."""
    times = START + HOUR * np.array(list(rates))
    return headrace.ticks(
        instrument=instrument,
        ts_init=times + late_ns,
        ts_event=times,
        kind="funding",
        mark_price=np.full(len(rates), mark),
        funding_rate=np.array(list(rates.values())),
        **more,
    )


def ran(acts: dict[int, object], rates: Any, *, instrument: str = USDM, **options: Any) -> BacktestResult:
    quotes = path(DAY, instrument=instrument, every_ns=15 * MINUTE)
    given = {"cash": "1000USDT" if instrument == USDM else "1000BTC", "fees": 0, **options}
    return headrace.backtest(Acts(acts), [quotes, *([] if rates is None else [rates])], **given)


def test_a_long_pays_a_positive_rate_and_a_short_receives_it() -> None:
    for quantity, amount in ((2, "0.02"), (-2, "-0.02")):
        (paid,) = ran({1: quantity}, funding({8: 0.0001})).funding
        assert (paid.amount, paid.quantity, paid.currency) == (D(amount), D(quantity), "USDT")


def test_a_negative_rate_is_paid_by_the_short() -> None:
    assert [own.amount for own in ran({1: -2}, funding({8: -0.0001})).funding] == [D("0.02")]


def test_an_inverse_contract_pays_in_its_coin() -> None:
    (paid,) = ran({1: 3}, funding({8: 0.0001}, instrument=COINM, mark=50.0), instrument=COINM).funding
    assert (paid.amount, paid.currency) == (3 * D(100) / 50 * D("0.0001"), "BTC")


def test_equity_cash_and_curve_have_what_was_paid() -> None:
    result = ran({1: 2}, funding({8: 0.001, 16: -0.0005}))
    assert [own.amount for own in result.funding] == [D("0.2"), D("-0.1")]
    assert result.balances["USDT"]["funding"] == D("0.1")
    assert result.equity_end == 1_000 - 2 * D("0.01") - D("0.1")
    times = result.equity["ts"]
    at_nine, at_seventeen = (float(result.equity["equity"][times <= START + hour * HOUR][-1]) for hour in (9, 17))
    assert at_nine == pytest.approx(1_000 - 0.02 - 0.2)
    assert at_seventeen == pytest.approx(1_000 - 0.02 - 0.1)
    assert (result.positions[0].funding, result.trades[0].funding) == (D("0.1"), D("0.1"))
    assert result.trades[0].net_pnl == D("-0.02") - D("0.1")


def test_what_is_paid_cannot_be_spent() -> None:
    """Of 1000, 2 at 100.01 leave 799.98; 10 % of 200 are paid, and 779.98 are left for 7 at 100.01, not for 8."""
    for quantity, state in ((7, "filled"), (8, "rejected")):
        assert ran({1: 2, 40: quantity}, funding({8: 0.1})).orders[1].state == state


def test_a_late_rate_is_paid_for_what_was_held_when_it_was_settled() -> None:
    """Sold at 08:05, while the rate of 08:00 comes at 08:10."""
    quotes = path([100.0] * 60, instrument=USDM, every_ns=10 * MINUTE)
    acts = {1: 2, 49: -2}
    rates = funding({8: 0.0001}, late_ns=14 * MINUTE)
    result = headrace.backtest(Acts(acts), [quotes, rates], cash=1_000, fees=0)
    assert result.fills[1].ts < rates["ts_init"][0]
    assert [own.amount for own in result.funding] == [D("0.02")]
    assert result.trades[0].net_pnl == D("-0.04") - D("0.02")


def test_what_was_opened_after_the_settlement_pays_nothing() -> None:
    quotes = path([100.0] * 60, instrument=USDM, every_ns=10 * MINUTE)
    result = headrace.backtest(Acts({49: 2}), [quotes, funding({8: 0.0001}, late_ns=14 * MINUTE)], cash=1_000, fees=0)
    assert len(result.fills) == 1
    assert not result.funding


def test_a_settlement_that_is_polled_again_is_paid_once() -> None:
    again = np.concatenate([funding({8: 0.0001}), funding({8: 0.0001}, late_ns=5 * MINUTE)])
    assert len(ran({1: 2}, again, check=False).funding) == 1


def test_nothing_is_paid_on_a_spot_instrument() -> None:
    spot = "BTCUSDT.BINANCE"
    quotes = path(DAY, instrument=spot, every_ns=15 * MINUTE)
    result = headrace.backtest(Acts({1: 2}), [quotes, funding({8: 0.1}, instrument=spot)], cash=1_000, fees=0)
    assert not result.funding
    assert not [own for own in result.notes if "funding" in own]


# What does not come


def missing(result: BacktestResult) -> list[str]:
    return [own for own in result.notes if "no funding rate" in own]


def test_missing_rates_are_reported_and_no_zeros(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = ran({1: 2}, None)
    (note,) = missing(result)
    assert "3 settlements" in note
    assert "2026-01-05 08:00:00 UTC to 2026-01-06 00:00:00 UTC" in note
    assert [own for own in caplog.messages if "no funding rate came for 2026-01-05" in own]


def test_only_the_rates_that_did_not_come_are_missing() -> None:
    (note,) = missing(ran({1: 2}, funding({8: 0.0001, 24: 0.0001})))
    assert "1 settlement" in note
    assert "2026-01-05 16:00:00 UTC to 2026-01-05 16:00:00 UTC" in note


def test_no_rate_is_missing_while_nothing_is_held() -> None:
    assert missing(ran({1: 2, 5: -2}, None)) == []


def test_a_rate_that_comes_after_a_quarter_of_an_hour_counts_as_missing() -> None:
    result = ran({1: 2, 60: -2}, funding({8: 0.0001}, late_ns=16 * MINUTE))
    assert not result.funding
    assert "1 settlement" in missing(result)[0]


def test_an_interval_of_its_own_decides_what_is_missing() -> None:
    result = ran({1: 2}, None, margin={USDM: Margin(funding="4h")})
    assert "6 settlements" in missing(result)[0]


def test_the_event_says_what_was_paid() -> None:
    seen: list[FundingPaid] = []
    quotes = path(DAY, instrument=USDM, every_ns=15 * MINUTE)
    engine = headrace.Engine(
        mode="replay",
        feeds=[quotes, funding({8: 0.0001}, mark=101.5)],
        strategies=[Acts({1: 2})],
        broker=headrace.SimulatedBroker(),
        instruments=[headrace.Instrument(USDM, D("0.01"), D(1))],
        limits=headrace.RiskLimits(
            quantity_max=D(9), notional_max=D(999), open_orders_max=9, message_rate_max=9.0, stale_after_s=9e9
        ),
    )
    engine.bus.subscribe(FundingPaid, seen.append, name="test")
    report = engine.run()
    (paid,) = seen
    assert (paid.settled_ns, paid.mark_price, paid.rate) == (START + 8 * HOUR, D("101.5"), D("0.0001"))
    assert paid.amount == 2 * D("101.5") * D("0.0001")
    assert report.totals["USDT"].funding == paid.amount
    assert "funding" in str(report)

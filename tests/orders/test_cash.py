"""The account's cash: what orders lock, what fills and ends free, and what is refused beyond it."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

import headrace
from headrace import Instrument, Strategy
from headrace.errors import OptionError
from headrace.market.events import OrderRejected
from tests.support.backtests import Acts, path
from tests.support.engines import INSTRUMENTS, LIMITS, engine_over
from tests.support.feeding import BTC

D = Decimal
FLAT = [100.0] * 12


def free(strategy: Strategy) -> Decimal:
    own = strategy.account.free("USDT")
    assert own is not None
    return own


def seen_by(acts: dict[int, object], *, mids: list[float] = FLAT, cash: Any = 1_000, **options: Any) -> list[Decimal]:
    """What is free at each quote, before the act of that quote."""
    seen: list[Decimal] = []

    class Watch(Acts):
        def on_quote(self, instrument: str, bid_price: float) -> None:
            seen.append(free(self))
            super().on_quote(instrument, bid_price)

    headrace.backtest(Watch(acts), path(mids), cash=cash, **{"fees": "0.001", **options})
    return seen


def test_a_resting_order_locks_its_cost_and_fee_until_it_ends() -> None:
    rest = lambda strategy: strategy.buy(BTC, 2, price="90", expires_after="3s")  # noqa: E731 - short
    assert seen_by({1: rest})[:5] == [D(1_000), D("819.82"), D("819.82"), D(1_000), D(1_000)]


def test_a_canceled_order_frees_what_it_locked() -> None:
    class Rests(Strategy):
        def __init__(self) -> None:
            self.seen: list[Decimal] = []

        def on_quote(self, instrument: str) -> None:
            self.seen.append(free(self))
            if len(self.seen) == 1:
                self.order = self.buy(instrument, 1, price="50")
            elif len(self.seen) == 2:
                self.cancel(self.order)

    strategy = Rests()
    headrace.backtest(strategy, path(FLAT), cash=1_000, fees=0)
    assert strategy.seen[:3] == [D(1_000), D(950), D(1_000)]


def test_a_fill_moves_the_cash_into_the_position_and_back() -> None:
    seen = seen_by({1: 2, 4: -2})
    assert seen[1] == D(1_000) - D("200.02") - D("0.20002")
    assert seen[-1] == D(1_000) - D("0.04") - D("0.20002") - D("0.19998")


def test_a_partial_fill_keeps_the_rest_locked() -> None:
    rest = lambda strategy: strategy.buy(BTC, 4, price="100.01")  # noqa: E731 - short
    seen: list[Decimal] = []

    class Watch(Acts):
        def on_quote(self, instrument: str, bid_price: float) -> None:
            seen.append(free(self))
            super().on_quote(instrument, bid_price)

    headrace.backtest(Watch({1: rest}), path([*FLAT[:3], 110, 110], size=1.0), cash=1_000, fees=0)
    whole = D(1_000) - 4 * D("100.01")
    assert seen == [D(1_000), whole, whole, whole, whole]


def test_orders_of_one_moment_cannot_spend_the_same_cash() -> None:
    def both(strategy: Acts) -> None:
        strategy.buy(BTC, 6)
        strategy.buy(BTC, 6)

    result = headrace.backtest(Acts({1: both}), path(FLAT), cash=1_000, fees=0)
    assert [order.state for order in result.orders] == ["filled", "rejected"]


def test_a_reducing_order_passes_without_cash() -> None:
    result = headrace.backtest(Acts({1: "9.9", 3: "-9.9"}), path([100, 100, 20, 20, 20]), cash=1_000, fees="0.001")
    assert [order.state for order in result.orders] == ["filled", "filled"]


def test_a_flip_needs_cash_for_what_lies_beyond() -> None:
    """999 is held; closing it brings 999 back, which pays for a short of 9 and not for one of 11."""
    for beyond, state in ((9, "filled"), (11, "rejected")):
        result = headrace.backtest(Acts({1: "9.9", 3: -9.9 - beyond}), path(FLAT), cash=1_000, fees=0)
        assert result.orders[1].state == state


def test_two_closing_orders_close_no_more_than_there_is() -> None:
    def twice(strategy: Acts) -> None:
        strategy.sell(BTC, "9.9", price="120")
        strategy.sell(BTC, "9.9", price="120")

    result = headrace.backtest(Acts({1: "9.9", 3: twice}), path(FLAT), cash=1_000, fees=0)
    assert [order.state for order in result.orders] == ["filled", "canceled", "rejected"]


def test_a_short_locks_its_cost() -> None:
    assert seen_by({1: -5}, fees=0)[2] == D(1_000) - 5 * D("99.99")


def test_a_rebate_is_no_part_of_what_an_order_needs() -> None:
    rest = lambda strategy: strategy.buy(BTC, 10, price="100")  # noqa: E731 - short
    result = headrace.backtest(Acts({1: rest}), path([100, 100, 99, 99]), cash=1_000, fees="-0.001/0")
    assert result.orders[0].state == "filled"
    assert result.fills[0].fee < 0
    assert result.equity_end == 1_000 + D(1) + 10 * D("-1")


def test_an_inverse_contract_locks_its_coin() -> None:
    coin = "BTCUSD_PERP.BINANCE_COINM"
    result = headrace.backtest(Acts({1: 10, 2: 3}), path([100.0] * 4, instrument=coin), cash="12BTC", fees=0)
    assert [order.state for order in result.orders] == ["filled", "rejected"]


def test_the_cash_that_is_free_is_what_the_account_says(seed: int) -> None:
    """With random orders: at the end the deposit and what was earned, less what is held cost."""
    rng = random.Random(seed)
    acts: dict[int, object] = {n: rng.choice([-4, -2, -1, 1, 2, 4]) for n in rng.sample(range(1, 190), 40)}
    # Whatever is held then, this is refused.
    acts[190] = 50
    mids = [100 + rng.randrange(-200, 200) / 100 for _ in range(200)]
    seen = seen_by(acts, mids=mids, cash=500)
    result = headrace.backtest(Acts(acts), path(mids), cash=500, fees="0.001")
    (held,) = result.positions
    told = 500 + held.realized_pnl - held.fees - abs(held.quantity * held.average_price)
    # The average price is rounded at its 28th digit.
    assert abs(seen[-1] - told) < Decimal("1e-18")
    assert {order.gate for order in result.orders} == {"", "cash"}


def test_without_cash_there_is_no_bound() -> None:
    class Looks(Strategy):
        def on_quote(self, instrument: str) -> None:
            self.seen = self.account.free("USDT")

    strategy = Looks()
    engine_over(path(FLAT), [strategy]).run()
    assert strategy.seen is None


def test_an_engine_has_cash_as_an_option_and_reports_it() -> None:
    engine = engine_over(path(FLAT), [Acts({1: 5, 2: 50})], cash={"USDT": 1_000})
    refused: list[OrderRejected] = []
    engine.bus.subscribe(OrderRejected, refused.append, name="test")
    report = engine.run()
    assert [event.gate for event in refused] == ["cash"]
    assert report.totals["USDT"].deposit == 1_000
    assert report.totals["USDT"].equity == D(1_000) - 5 * D("0.01")
    assert engine.account.balance("USDT").balance == 1_000


@pytest.mark.parametrize("cash", [{"USDT": "much"}, {"USDT": -1}, {5: 1}, {"": 5}, 1_000], ids=str)
def test_wrong_cash_of_an_engine_is_refused(cash: Any) -> None:
    with pytest.raises(OptionError, match="cash"):
        headrace.Engine(
            feeds=path(FLAT),
            mode="replay",
            cash=cash,
            limits=LIMITS,
            instruments=[Instrument(own.name) for own in INSTRUMENTS],
        )

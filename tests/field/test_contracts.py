"""The money of an instrument follows its contract: spot and linear in the quote currency, inverse in the coin."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace import Engine, Instrument, SimulatedBroker, Strategy, TradeTick, replay, ticks
from headrace.app.config import load_config
from headrace.errors import ConfigError, InstrumentError, OptionError
from headrace.market.events import OrderFill, OrderRejected, PositionChanged
from headrace.trading.account import Balance
from tests.support.engines import LIMITS, all_events, market
from tests.support.feeding import BTC

D = Decimal
PERP = "BTCUSD_PERP.BINANCE_COINM"
USDM = "BTCUSDT.BINANCE_USDM"
ETHBTC = "ETHBTC.BINANCE"


def traded(name: str, **facts: Any) -> Instrument:
    return Instrument(name, price_tick=D("0.1"), lot_size=D(1), **facts)


class Round(Strategy):
    """Buys ten at the first quote, and sells them at the second."""

    def on_quote(self, instrument: str, seq: int) -> None:
        if seq == 1:
            self.buy(instrument, 10)
        elif seq == 2:
            self.sell(instrument, 10)


def run(name: str, bids: list[float], *, strategy: Strategy | None = None, **options: Any) -> tuple[Engine, list[Any]]:
    """Replay quotes of one instrument; orders fill at the quote after the one that they were decided on."""
    engine = Engine(
        **{
            "feeds": market(bids, size=1_000.0, instrument=name, names=[name]),
            "strategies": [strategy or Round()],
            "broker": SimulatedBroker(taker_fee="0.0005"),
            "instruments": [traded(name)],
            "limits": LIMITS,
            "mode": "replay",
            **options,
        }
    )
    events = all_events(engine)
    engine.run()
    return engine, events


def test_inverse_contracts_earn_the_coin_and_pay_fees_in_it() -> None:
    engine, events = run(PERP, [49_999.0, 49_999.0, 55_000.0])
    fills = [event for event in events if isinstance(event, OrderFill)]
    assert [fill.price for fill in fills] == [D(50_000), D(55_000)]
    assert fills[0].fee == D("0.00001")
    assert abs(fills[1].fee - D(1000) / 55_000 * D("0.0005")) < D("1e-18")
    position = engine.positions.position("Round", PERP)
    assert abs(position.realized_pnl - D("0.00181818181818181818")) < D("1e-18")
    assert position.currency == "BTC"
    [balance] = engine.account.balances().values()
    assert balance == Balance(currency="BTC", realized_pnl=position.realized_pnl, fees=position.fees)
    assert balance.equity == balance.balance
    assert [event.currency for event in events if isinstance(event, PositionChanged)] == ["BTC", "BTC"]


@pytest.mark.parametrize(("name", "currency"), [(BTC, "USDT"), (USDM, "USDT"), (ETHBTC, "BTC")])
def test_spot_and_linear_earn_the_quote_currency(name: str, currency: str) -> None:
    engine, _ = run(name, [99.0, 99.0, 110.0])
    position = engine.positions.position("Round", name)
    assert (position.realized_pnl, position.fees) == (D(100), D("1.05"))
    assert engine.account.balance(currency).balance == D("98.95")


def test_the_entry_of_inverse_contracts_is_the_harmonic_mean() -> None:
    class Builds(Strategy):
        def on_quote(self, instrument: str) -> None:
            if self.position(instrument).quantity < 20:
                self.buy(instrument, 10)

    engine, _ = run(PERP, [49_999.0, 39_999.0, 59_999.0], strategy=Builds())
    position = engine.positions.position("Builds", PERP)
    assert position.quantity == 20
    assert abs(position.average_price - 2 / (1 / D(40_000) + 1 / D(60_000))) < D("1e-18")
    assert position.unrealized_pnl(48_000) == 0
    order = engine.orders.order("Builds-1")
    assert order is not None
    assert order.average_price == D(40_000)


def test_notional_max_is_in_the_currency_of_the_notional() -> None:
    """Ten contracts are 1,000 USD, whatever the price; at 50,000 they would be 500,000 as linear ones."""
    limits = msgspec.structs.replace(LIMITS, notional_max=D(1_000))
    engine, events = run(PERP, [49_999.0] * 3, limits=limits)
    assert [event for event in events if isinstance(event, OrderRejected)] == []
    assert engine.orders.stats().filled == 2
    _, events = run(USDM, [49_999.0] * 3, limits=limits)
    rejected = next(event for event in events if isinstance(event, OrderRejected))
    assert (rejected.gate, rejected.observed) == ("notional_max", "500000.0")
    assert "500000.0 USDT" in rejected.reason


@pytest.mark.parametrize(
    ("name", "facts", "contract", "size", "settles", "quote"),
    [
        (BTC, {}, "spot", 1, "USDT", "USDT"),
        (USDM, {}, "linear", 1, "USDT", "USDT"),
        ("BTCUSDT_260327.BINANCE_USDM", {}, "linear", 1, "USDT", "USDT"),
        (PERP, {}, "inverse", 100, "BTC", "USD"),
        ("ETHUSD_260327.BINANCE_COINM", {}, "inverse", 10, "ETH", "USD"),
        (ETHBTC, {}, "spot", 1, "BTC", "BTC"),
        ("ACME.BINANCE", {}, "spot", 1, "ACME.BINANCE", "ACME.BINANCE"),
        ("BTC-USD.COINBASE", {"contract": "spot"}, "spot", 1, "USD", "USD"),
        ("BTC-PERPETUAL.DERIBIT", {"contract": "inverse", "size": 10, "settles": "BTC"}, "inverse", 10, "BTC", None),
        ("ES.CME", {"contract": "linear", "size": "50", "settles": "USD"}, "linear", 50, "USD", "USD"),
    ],
)
def test_contract_is_known_by_venue_or_given(
    name: str, facts: dict[str, Any], contract: Any, size: Any, settles: str, quote: str | None
) -> None:
    made = Instrument(name, **facts)
    assert (made.contract, made.size, made.settles) == (contract, size, settles)
    assert made.quote == (quote or f"{name} quote")


def test_contract_of_another_venue_must_be_given() -> None:
    assert Instrument("ACME.ELSEWHERE", D(1), D(1)).contract == "spot"
    unknown = Instrument("ACME.ELSEWHERE")
    assert unknown.contract is None
    for compute in (unknown.notional, unknown.worth):
        with pytest.raises(InstrumentError, match="contract='spot'"):
            compute(D(1), D(1))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSD", "USD_PERP", "btcusd_perp", "BTCUSD_", "ETHUSDT_260327", "BTC"])
def test_contract_of_a_symbol_that_coin_m_has_not_must_be_given(symbol: str) -> None:
    name = f"{symbol}.BINANCE_COINM"
    unknown = traded(name)
    assert (unknown.contract, unknown.size, unknown.native_contract) == (None, None, None)
    with pytest.raises(InstrumentError, match=f"Instrument\\('{name}', contract="):
        unknown.notional(D(1), D(1))
    with pytest.raises(OptionError, match="size is missing"):
        traded(name, contract="inverse")
    assert traded(name, contract="inverse", size=100).notional(D(2), D(5)) == 200
    engine, events = run(name, [99.0, 99.0])
    assert {event.gate for event in events if isinstance(event, OrderRejected)} == {"instrument"}
    assert engine.orders.stats().filled == 0
    with pytest.raises(ConfigError, match="size is missing"):
        load_config(overrides=[f'instruments."{name}".contract="inverse"'])


@pytest.mark.parametrize(
    ("facts", "option"),
    [
        ({"contract": "futures"}, "contract"),
        ({"contract": "inverse"}, "size"),
        *[({"size": size}, "size") for size in (0, -1, "much", float("nan"), True)],
        ({"settles": 5}, "settles"),
        ({"price_tick": True}, "price_tick"),
        ({"lot_size": [1]}, "lot_size"),
        ({"limits": {"quantity_max": 1}}, "limits"),
    ],
)
def test_wrong_fact_of_an_instrument_raises(facts: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as raised:
        Instrument("ACME.ELSEWHERE", **facts)
    assert raised.value.option == option


@pytest.mark.parametrize(
    ("compute", "inverse", "linear"),
    [
        (lambda own: own.notional(D(10), D(50_000)), 1_000, 500_000),
        (lambda own: own.fee(D(10), D(50_000), D("0.0005")), D("0.00001"), 250),
        (lambda own: own.profit(D(-10), D(50_000), D(40_000)), D("0.005"), 100_000),
    ],
)
def test_arithmetic_of_an_instrument(compute: Callable[[Instrument], Decimal], inverse: object, linear: object) -> None:
    assert (compute(traded(PERP)), compute(traded(USDM))) == (inverse, linear)


def test_configuration_gives_contract_size_and_currency() -> None:
    config = load_config(
        overrides=[
            'instruments."ES.CME".contract="linear"',
            'instruments."ES.CME".size="50"',
            'instruments."ES.CME".settles="USD"',
        ]
    )
    assert config.instrument_table() == [Instrument("ES.CME", contract="linear", size=D(50), settles="USD")]
    with pytest.raises(ConfigError, match=r'instruments."X\.Y".size is missing'):
        load_config(overrides=['instruments."X.Y".contract="inverse"'])


def test_currencies_are_never_added() -> None:
    """Two instruments that settle in different currencies, and two whose currency cannot be read."""
    names = [PERP, USDM, "ONE.BINANCE", "TWO.BINANCE"]
    engine = Engine(
        feeds=[market([99.0, 99.0, 110.0], size=1_000.0, instrument=name, names=names) for name in names],
        strategies=[Round()],
        broker=SimulatedBroker(),
        instruments=[traded(name) for name in names],
        limits=LIMITS,
        mode="replay",
    )
    report = engine.run()
    assert {name: own.realized_pnl for name, own in report.totals.items() if name != "BTC"} == {
        "USDT": D(100),
        "ONE.BINANCE": D(100),
        "TWO.BINANCE": D(100),
    }
    assert report.totals["BTC"].realized_pnl == engine.positions.position("Round", PERP).realized_pnl
    assert report.strategies["Round"].totals == report.totals
    with pytest.raises(OptionError, match="did you mean USDT"):
        engine.account.balance("USD")


def test_report_shows_net_profit_with_currency_and_enough_digits() -> None:
    engine, _ = run(PERP, [49_999.0, 49_999.0, 50_010.0])
    text = str(engine.report())
    [row] = [line.split() for line in text.splitlines() if " BTC " in line]
    assert row == ["Round", "BTC", "0.000003999", "0.00", "0.00002", "-0.000016"]
    document = engine.report().to_dict()
    assert document["totals"]["BTC"]["currency"] == "BTC"
    [position] = document["strategies"]["Round"]["positions"]
    assert position["currency"] == "BTC"
    assert D(position["net_pnl"]) == D(position["realized_pnl"]) - D(position["fees"])


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        ("BTCUSDT.BINANCE", 3 * 50_000.0),
        ("BTCUSDT.BINANCE_USDM", 3 * 50_000.0),
        ("BTCUSD_PERP.BINANCE_COINM", 3 * 100.0),
        ("ETHUSD_PERP.BINANCE_COINM", 3 * 10.0),
        (Instrument("XBT.ELSEWHERE", contract="inverse", size=D(5)), 3 * 5.0),
        (Instrument("ES.ELSEWHERE", contract="linear", size=D(50)), 3 * 50 * 50_000.0),
        ("XBT.ELSEWHERE", math.nan),
        ("BTCUSDT.BINANCE_COINM", math.nan),
    ],
    ids=[
        "spot",
        "linear",
        "inverse of 100",
        "inverse of 10",
        "given inverse",
        "given linear",
        "unknown",
        "no contract",
    ],
)
def test_the_notional_of_a_tick_follows_the_contract(instrument: str | Instrument, expected: float) -> None:
    seen: list[float] = []

    class Values(Strategy):
        def on_trade(self, notional: float) -> None:
            seen.append(notional)

        def on_tick(self, tick: TradeTick) -> None:
            seen.append(tick.notional)

    class Columns(Strategy):
        def on_trades(self, notional: np.ndarray) -> None:
            seen.extend(notional.tolist())

    name = instrument if isinstance(instrument, str) else instrument.name
    trades = ticks(instrument=name, kind="trade", ts_init=[1, 2], price=50_000.0, size=3.0, aggressor_side=1)
    replay(trades, [Values(), Columns()], instruments=[instrument])
    np.testing.assert_array_equal(seen, [expected] * 6)

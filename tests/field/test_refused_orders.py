"""What was refused is visible: in the report, by gate with an example, and in the log the first time."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest

from headrace import Engine, Instrument, SimulatedBroker, Strategy, ticks
from headrace.market.instrument import RiskLimits
from tests.support.trading import WIDE

D = Decimal
S = 1_000_000_000
ACME = "ACME.BINANCE"
KNOWN = Instrument(ACME, price_tick=D("0.01"), lot_size=D("0.1"))


class Often(Strategy):
    """Asks for too much, too finely, and for what is right, at each quote."""

    def on_quote(self) -> None:
        self.buy(ACME, 500)
        self.sell(ACME, "0.05", price=101)
        self.buy(ACME, 1)


class Never(Strategy):
    def on_quote(self) -> None:
        pass


def replayed(
    quotes: int, *, limits: RiskLimits = WIDE, known: Instrument = KNOWN, broker: SimulatedBroker | None = None
) -> Engine:
    engine = Engine(
        mode="replay",
        feeds=ticks(
            instrument=ACME,
            ts_init=[number * S for number in range(1, quotes + 1)],
            bid_price=[100.0] * quotes,
            ask_price=[100.1] * quotes,
            bid_size=[5.0] * quotes,
            ask_size=[5.0] * quotes,
        ),
        strategies=[Often(), Never()],
        broker=broker or SimulatedBroker(),
        instruments=[known],
        limits=limits,
    )
    engine.run()
    return engine


def test_refusals_are_reported_by_gate_with_an_example(caplog: pytest.LogCaptureFixture) -> None:
    report = replayed(7).report()
    own, other = report.strategies["Often"], report.strategies["Never"]
    assert {gate: refused.times for gate, refused in own.refusals.items()} == {"quantity_max": 7, "tick_and_lot": 7}
    example = "buy 500 ACME.BINANCE: quantity 500 is above quantity_max 100: send less"
    assert own.refusals["quantity_max"].example == example
    assert (own.orders.submitted, own.orders.rejected, own.orders.filled, own.orders.canceled) == (21, 14, 6, 1)
    assert not other.refusals
    text = str(report)
    assert "refused orders" in text
    assert example in text
    rows = [" ".join(line.split()) for line in text.splitlines() if line.startswith("Often ")]
    assert any("21 6 1 14 0 0 6" in row for row in rows)
    plain = report.to_dict()["strategies"]["Often"]["refusals"]["quantity_max"]
    assert plain == {"times": 7, "example": example}
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [message.split(",")[0] for message in warned] == [
        "Often: gate quantity_max refused order Often-1",
        "Often: gate tick_and_lot refused order Often-2",
    ]


def test_orders_without_a_limit_are_refusals_too(caplog: pytest.LogCaptureFixture) -> None:
    own = replayed(3, limits=RiskLimits()).report().strategies["Often"]
    assert own.orders.rejected == own.orders.submitted == 9
    assert sum(refused.times for refused in own.refusals.values()) == 9
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == len(own.refusals) > 0


def test_what_the_broker_refuses_is_counted_as_the_brokers() -> None:
    engine = replayed(2, known=Instrument(ACME, lot_size=D("0.1")), broker=SimulatedBroker(slippage_ticks=1))
    refused = engine.report().strategies["Often"].refusals["broker"]
    assert refused.times == 2
    assert "price_tick" in refused.example

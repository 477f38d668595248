"""A strategy object in a second run gets that run's clock and account; a broker has one engine."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headrace import SimulatedBroker, Strategy
from headrace.errors import EngineError, OptionError
from headrace.trading.orders import FixedQuantity
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC


class Buys(Strategy):
    """Buys at the first quote; keeps its equity and its clock's distance to the third."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def on_quote(self, seq: int, ts_init: int) -> None:
        if seq == 1:
            self.buy(BTC, 1)
        if seq == 3:
            equity = str(self.account.balance("USDT").equity)
            self.seen.append((equity, self.clock.now_ns() - ts_init))


def test_a_strategy_object_gets_the_account_and_clock_of_each_run() -> None:
    again, fresh = Buys(), Buys()
    engine_over(market([100.0] * 5), [again], broker=SimulatedBroker()).run()
    for strategy in (again, fresh):
        engine_over(market([100.0, 100.0, 150.0, 150.0]), [strategy], broker=SimulatedBroker()).run()
    assert again.seen[-1] == fresh.seen[-1]
    assert again.seen[-1][1] == 0


def test_a_strategy_may_assign_its_own_log() -> None:
    class Own(Strategy):
        def __init__(self) -> None:
            self.log = logging.getLogger("mine")

    own = Own()
    engine_over(market([100.0]), [own]).run()
    assert own.log.name == "mine"


def test_a_broker_of_another_engine_is_refused() -> None:
    broker = SimulatedBroker()
    engine_over(market([100.0]), [Buys()], broker=broker).run()
    with pytest.raises(EngineError, match="make a new SimulatedBroker for each engine"):
        engine_over(market([100.0]), [Buys()], broker=broker).run()


@pytest.mark.parametrize("option", [{"broker": SimulatedBroker}, {"sizing": FixedQuantity}])
def test_a_class_in_place_of_its_object_is_refused(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(OptionError, match=name):
        engine_over(market([100.0]), [Buys()], **option)


def test_refusals_of_an_unknown_strategy_raise() -> None:
    engine = engine_over(market([100.0]), [Buys()], broker=SimulatedBroker())
    engine.run()
    assert engine.orders.refusals("Buys") == {}
    with pytest.raises(OptionError, match="Buys"):
        engine.orders.refusals("Buy")

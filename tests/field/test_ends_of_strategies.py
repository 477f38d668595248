"""What a strategy raises and orders at its start and its end is reported as what it is."""

from __future__ import annotations

import pytest

from headrace import Engine, Strategy
from headrace.cli.ending import exit_code_of
from headrace.commands import RestartStrategy, StopStrategy
from headrace.market.events import StrategyStateChanged
from tests.support.engines import INSTRUMENTS, HandFeed, all_events, engine_over, market
from tests.support.feeding import BTC


@pytest.mark.asyncio
async def test_an_exception_of_on_load_is_a_letter_of_on_load() -> None:
    class Loads(Strategy):
        def on_save(self) -> object:
            return {"known": 1}

        def on_load(self, state: object) -> None:
            raise ValueError(state)

        def on_signal(self, signal: object) -> None: ...

    async with Engine(feeds=[HandFeed()], strategies=[Loads], instruments=INSTRUMENTS) as engine:
        ack = await engine.commands.submit(RestartStrategy("Loads"))
        assert ack.status == "failed"
    assert [letter.handler for letter in engine.dead_letters.list()] == ["on_load"]


class Leaves(Strategy):
    """Buys at its second quote, and adds in its on_stop."""

    def on_quote(self, seq: int) -> None:
        if seq == 2:
            self.buy(BTC, 1)

    def on_stop(self) -> None:
        self.buy(BTC, 1)


def test_an_order_of_on_stop_is_refused_as_of_a_stopping_strategy() -> None:
    engine = engine_over(market([100.0] * 5), [Leaves()])
    engine.run()
    last = engine.orders.orders()[-1]
    assert (last.gate, last.reason.partition(":")[0]) == ("permission", "Leaves is paused or stopping")


class Breaks(Strategy):
    """Raises in its on_stop."""

    def on_quote(self, seq: int) -> None: ...

    def on_stop(self) -> None:
        raise ValueError("not flat")


def test_a_strategy_whose_on_stop_raises_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    engine = engine_over(market([100.0] * 5), [Breaks()], on_fault="quarantine")
    events = all_events(engine)
    report = engine.run()
    assert report.strategies["Breaks"].state == "failed"
    assert exit_code_of(report) == 1
    assert "strategy Breaks failed: ValueError: not flat in on_stop" in capsys.readouterr().err
    ends = [event.reason for event in events if isinstance(event, StrategyStateChanged)][-1]
    assert ends == "on_stop: ValueError: not flat"


@pytest.mark.asyncio
async def test_a_stop_whose_callback_raises_is_acknowledged_as_failed() -> None:
    async with Engine(feeds=[HandFeed()], strategies=[Breaks], instruments=INSTRUMENTS) as engine:
        ack = await engine.commands.submit(StopStrategy("Breaks"))
        assert (ack.status, "on_stop of Breaks raised" in ack.reason) == ("failed", True)
        assert (await engine.commands.submit(RestartStrategy("Breaks"))).status == "accepted"

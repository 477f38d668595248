"""The logger of a strategy: made when it writes, and heard from as soon as a user has set it up."""

from __future__ import annotations

import logging

import pytest

import headrace
from headrace import Strategy, StrategySpec

PARENT = "headrace.strategies.strategy"


class Still(Strategy):
    """Writes nothing."""

    def on_quote(self, seq: int) -> None:
        """Listen."""


def replayed(name: str) -> None:
    quotes = headrace.ticks(
        instrument="A.X", ts_init=[1], bid_price=[1.0], ask_price=[2.0], bid_size=[1.0], ask_size=[1.0]
    )
    headrace.replay(quotes, StrategySpec(strategy=Still, name=name), instruments=["A.X"])


def test_a_strategy_that_writes_nothing_has_no_logger() -> None:
    replayed("silent-1")
    assert f"{PARENT}.silent-1" not in logging.root.manager.loggerDict


@pytest.mark.parametrize("set_up", [f"{PARENT}.heard-1", f"{PARENT}.heard", PARENT, "headrace"])
def test_states_are_logged_where_a_user_has_set_it_up(caplog: pytest.LogCaptureFixture, set_up: str) -> None:
    name = "heard.part" if set_up.endswith(".heard") else "heard-1"
    with caplog.at_level(logging.INFO, logger=set_up):
        replayed(name)
    said = [record.getMessage() for record in caplog.records if record.name == f"{PARENT}.{name}"]
    assert said[0] == f"{name}: created -> starting"
    assert said[-1].startswith(f"{name}: stopping -> stopped")

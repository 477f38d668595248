"""A pattern that matches no instrument, or an instrument that the data lack, is a warning with the nearest name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

import pytest

from headrace import BarSpec, Strategy, replay
from headrace.app.build import engine_of
from headrace.app.config import load_config
from headrace.feeds import ArrayFeed
from headrace.market.clock import Mode
from headrace.market.events import Bar
from tests.support.engines import SECOND, engine_over, market
from tests.support.feeding import BTC, ETH


class Subscribes(Strategy):
    """Subscribes to what it is given."""

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns

    def on_start(self) -> None:
        self.subscribe(instruments=self.patterns)

    def on_quote(self, bid_price: float) -> None: ...


class Bars(Strategy):
    bars: ClassVar = (BarSpec("BTCUSTD.BINANCE", "1m", price="mid"),)

    def on_bar(self, bar: Bar) -> None: ...


def warnings_of(strategy: Strategy, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING):
        engine_over(market([100.0] * 3), [strategy]).run()
    return [record.getMessage() for record in caplog.records if "no instrument matches" in record.getMessage()]


@pytest.mark.parametrize("pattern", ["BTCUSTD.BINANCE", "BTCUSDT.BINANCF", "BTCUSTD.*"])
def test_a_misspelled_pattern_is_a_warning_with_the_nearest_name(
    pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    (told,) = warnings_of(Subscribes(pattern), caplog)
    assert told.startswith(f"Subscribes gets nothing of {pattern!r}")
    assert f"(did you mean {BTC}?)" in told


def test_bars_of_a_misspelled_instrument_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    (told,) = warnings_of(Bars(), caplog)
    assert "'BTCUSTD.BINANCE'" in told


@pytest.mark.parametrize("pattern", [BTC, ETH, "BTC*.BINANCE", "*USDT.BINANCE", "*"])
def test_a_pattern_of_a_known_instrument_is_no_warning(pattern: str, caplog: pytest.LogCaptureFixture) -> None:
    """ETH is configured, and has no tick."""
    assert warnings_of(Subscribes(pattern), caplog) == []


def test_live_it_is_judged_after_ten_seconds_of_data(caplog: pytest.LogCaptureFixture) -> None:
    for seconds, count in ((5, 0), (15, 1)):
        caplog.clear()
        ticks = market([100.0] * (seconds * 10 + 1), every_ns=SECOND // 10)
        with caplog.at_level(logging.WARNING):
            engine_over(ticks, [Subscribes("BTCUSTD.BINANCE")], mode="live", speed=5.0).run()
        assert sum("no instrument matches" in record.getMessage() for record in caplog.records) == count


def by_replay(given: str) -> object:
    return replay(market([100.0] * 3), Subscribes("*"), instruments=given or ())


def by_engine(given: str) -> object:
    return engine_over(market([100.0] * 3), instruments=given or ()).run()


def by_engine_inside_of_a_loop(given: str) -> object:
    return asyncio.run(engine_over(market([100.0] * 3), instruments=given or ()).run_async())


def by_configuration(given: str) -> object:
    named = [f"instruments.'{given}'.price_tick=0.01"] if given else []
    config = load_config(environment={}, overrides=[*named, "feeds.0={kind='synthetic', options={frames=10}}"])
    return engine_of(config, mode=Mode.REPLAY, feeds=[ArrayFeed(market([100.0] * 3))]).run()


@pytest.mark.parametrize("run", [by_replay, by_engine, by_engine_inside_of_a_loop, by_configuration])
@pytest.mark.parametrize(("given", "count"), [("BTCUSTD.BINANCE", 1), (BTC, 0), ("", 0)])
def test_each_way_to_replay_warns_once_of_an_instrument_that_the_data_lack(
    run: Callable[[str], object], given: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A backtest has it among its notes (tests/research)."""
    with caplog.at_level(logging.WARNING):
        run(given)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("instruments: ")]
    problem = f"the data have nothing of 'BTCUSTD.BINANCE' (did you mean {BTC}?); there is {BTC}, {ETH}"
    assert told == [f"instruments: {problem}"] * count


def test_stopped_replay_does_not_judge_what_it_has_not_read(caplog: pytest.LogCaptureFixture) -> None:
    class Stops(Strategy):
        def on_quote(self) -> None:
            engine.stop()

    engine = engine_over(market([100.0] * 3), [Stops()], instruments="BTCUSTD.BINANCE")
    with caplog.at_level(logging.WARNING):
        assert engine.run().stopped
    assert "instruments: " not in caplog.text

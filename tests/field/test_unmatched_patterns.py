"""A pattern that matches no instrument is a warning with the nearest name."""

from __future__ import annotations

import logging
from typing import ClassVar

import pytest

from headrace import BarSpec, Strategy, replay
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


@pytest.mark.parametrize(("given", "count"), [("BTCUSTD.BINANCE", 1), (BTC, 0), ((), 0)])
def test_replay_warns_of_an_instrument_that_the_data_lack(
    given: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        replay(market([100.0] * 3), Subscribes("*"), instruments=given)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("instruments: ")]
    assert (
        told
        == [f"instruments: the data have nothing of {given!r} (did you mean {BTC}?); there is {BTC}, {ETH}"] * count
    )

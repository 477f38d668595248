"""Events of the bus reach the strategies that they concern, without a call for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from headrace import BarSpec, Engine, Strategy, StrategySpec
from headrace.market.events import Bar, OrderEvent, OrderFill
from tests.support.engines import Recorder, engine_over, market
from tests.support.feeding import BTC, ETH


class Buys(Recorder):
    """Buys at its third quote."""

    def __init__(self) -> None:
        super().__init__({3: lambda own: own.buy(BTC, 1)})


class Idle(Strategy):
    """Has every callback, and does nothing."""

    subscription: ClassVar = {"instruments": ETH}
    bars: ClassVar = ("1s",)

    def on_order(self, event: OrderEvent) -> None:
        raise AssertionError(f"{event} is not its own")

    def on_fill(self, fill: OrderFill) -> None:
        raise AssertionError(f"{fill} is not its own")

    def on_bar(self, bar: Bar) -> None:
        raise AssertionError(f"{bar} is not its own")


def calls(engine: Engine, callback: str) -> dict[str, int]:
    """Return how often the bus called each strategy's handler of a callback."""
    handlers = engine.bus.stats().handlers
    return {name.partition(".")[0]: own.calls for name, own in handlers.items() if name.partition(".")[2] == callback}


class Watching(Recorder):
    """Keeps the bus's counts before the strategies are stopped."""

    counts: ClassVar[dict[str, dict[str, int]]] = {}
    engine: ClassVar[Engine]

    def on_stop(self) -> None:
        for callback in ("on_order", "on_fill", "on_bar", "on_signal"):
            self.counts[callback] = calls(self.engine, callback)


def ran(strategies: Sequence[StrategySpec | Strategy], *ticks: np.ndarray) -> dict[str, dict[str, int]]:
    """Run a replay, and return the calls by callback and strategy as they were when the first was stopped."""
    watching = StrategySpec(strategy=Watching(), name="watching")
    engine = engine_over(ticks or market(range(100, 120)), [watching, *strategies])
    Watching.engine = engine
    engine.run()
    return dict(Watching.counts)


def test_order_events_and_fills_reach_their_strategy_alone() -> None:
    buys = [Buys(), Buys()]
    idle = [StrategySpec(strategy=Idle, name=f"idle {number}") for number in range(20)]
    counts = ran([*(StrategySpec(strategy=own, name=name) for own, name in zip(buys, "ab", strict=True)), *idle])
    for own, name in zip(buys, "ab", strict=True):
        assert [type(event).__name__ for event in own.orders] == ["OrderRequested", "OrderAccepted"]
        assert {event.strategy for event in [*own.orders, *own.fills]} == {name}
        assert (counts["on_order"].pop(name), counts["on_fill"].pop(name)) == (2, len(own.fills)) == (2, 1)
    assert set(counts["on_order"].values()) == set(counts["on_fill"].values()) == {0}


class Bars(Recorder):
    """Keeps which strategy got which bar, in the order of the calls."""

    given: ClassVar[list[tuple[str, str, str]]] = []

    def __init__(self, name: str, fails: bool = False) -> None:
        super().__init__()
        self.name, self.fails = name, fails

    def on_bar(self, bar: Bar) -> None:
        self.given.append((self.name, bar.instrument, bar.timeframe))
        if self.fails:
            raise ValueError(f"{self.name} takes no bar")


def with_bars(own: Bars, *bars: BarSpec) -> StrategySpec:
    return StrategySpec(strategy=own, name=own.name, bars=bars)


def test_a_bar_reaches_strategies_of_its_kind_in_their_order() -> None:
    Bars.given.clear()
    specs = {
        "every": BarSpec("*", "1s", price="mid"),
        "eth": BarSpec(ETH, "1s", price="mid"),
        "btc": BarSpec(BTC, "1s", price="mid"),
        "longer": BarSpec(BTC, "2s", price="mid"),
        "bid": BarSpec(BTC, "1s", price="bid"),
    }
    ticks = (market(range(100, 131)), market(range(100, 131), instrument=ETH))
    counts = ran([with_bars(Bars(name), spec) for name, spec in specs.items()], *ticks)
    for name, spec in specs.items():
        given = [(instrument, timeframe) for own, instrument, timeframe in Bars.given if own == name]
        assert len(given) == counts["on_bar"][name]
        assert {timeframe for _, timeframe in given} == {spec.timeframe}
        assert {instrument for instrument, _ in given} == ({BTC, ETH} if name == "every" else {spec.instrument})
    by_mid = [name for name, instrument, timeframe in Bars.given if (instrument, timeframe) == (BTC, "1s")]
    once = [name for name in by_mid if name != "bid"]
    assert once == ["every", "btc"] * (len(once) // 2)
    assert counts["on_bar"]["watching"] == 0


def test_an_empty_bar_reaches_those_that_want_it() -> None:
    Bars.given.clear()
    ticks = market([100, 101, 102], every_ns=5 * 10**9)
    specs = [BarSpec(BTC, "1s", price="mid", empty=empty) for empty in (True, False)]
    counts = ran([with_bars(Bars(str(spec.empty)), spec) for spec in specs], ticks)
    assert counts["on_bar"]["True"] > counts["on_bar"]["False"] == 2


def test_a_raising_bar_handler_keeps_no_bar_from_others() -> None:
    Bars.given.clear()
    spec = BarSpec(BTC, "1s", price="mid")
    strategies = [with_bars(Bars(name, fails=name == "b"), spec) for name in "abc"]
    engine = engine_over(market(range(100, 112)), strategies, on_fault="quarantine")
    engine.run()
    assert [name for name, *_ in Bars.given] == ["a", "b", "c"]
    (letter,) = engine.dead_letters.list(kind="event")
    assert (letter.source, letter.attempts, type(letter.event)) == ("b.on_bar", 1, Bar)


def test_a_redriven_bar_goes_to_the_strategy_that_failed_alone() -> None:
    Bars.given.clear()
    spec = BarSpec(BTC, "1s", price="mid")

    class Redrives(Strategy):
        engine: ClassVar[Engine]

        def on_quote(self, seq: int) -> None:
            if seq == 15:
                self.engine.dead_letters.redrive(self.engine.dead_letters.list(kind="event")[0].id)

    strategies = [with_bars(Bars(name, fails=name == "b"), spec) for name in "abc"]
    engine = engine_over(market(range(100, 118)), [*strategies, Redrives()], on_fault="quarantine")
    Redrives.engine = engine
    engine.run()
    assert [name for name, *_ in Bars.given] == ["a", "b", "c", "b"]


def test_a_signal_reaches_every_strategy_but_its_own() -> None:
    signals = Recorder({3: lambda own: own.signal(BTC, 1)})
    others = [Recorder(), Recorder()]
    counts = ran([signals, *others])
    assert [len(own.signals) for own in (signals, *others)] == [0, 1, 1]
    assert counts["on_signal"] == {"watching": 1, "Recorder": 0, "Recorder-2": 1, "Recorder-3": 1}


def test_a_raising_async_callback_is_judged_by_strategy() -> None:
    class Fails(Buys):
        async def on_fill(self, fill: OrderFill) -> None:  # type: ignore[override]  # a callback may be async
            self.fills.append(fill)
            raise ValueError("no fill")

    class Awaits(Buys):
        async def on_fill(self, fill: OrderFill) -> None:  # type: ignore[override]  # a callback may be async
            self.fills.append(fill)

    fails, awaits = Fails(), Awaits()
    with pytest.raises(ValueError, match="no fill"):
        engine_over(market(range(100, 120)), [fails, awaits]).run()
    fails, awaits = Fails(), Awaits()
    engine = engine_over(market(range(100, 120)), [fails, awaits], on_fault="quarantine")
    engine.run()
    assert (len(fails.fills), len(awaits.fills)) == (1, 1)
    assert [letter.source for letter in engine.dead_letters.list(kind="event")] == ["Fails.on_fill"]


def test_events_missed_in_quarantine_are_counted() -> None:
    signals = Recorder({5: lambda own: own.signal(BTC, 1), 6: lambda own: own.buy(BTC, 1)})

    class Quarantined(Recorder):
        def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
            raise ValueError("no quote")

    other = Quarantined()
    engine = engine_over(market(range(100, 120)), [signals, other], on_fault="quarantine")
    report = engine.run()
    assert other.signals == []
    assert report.strategies["Quarantined"].skipped_events == {"on_signal": 1}
    assert report.strategies["Recorder"].skipped_events == {}

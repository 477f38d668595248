"""Three faults within a thousand calls are counted over all calls of a strategy, and only of that strategy."""

from __future__ import annotations

import random
from typing import Any

import pytest

from headrace import BarSpec, Dispatcher, Strategy, StrategySpec
from headrace.limits import QUARANTINE_CALLS, QUARANTINE_FAULTS
from headrace.market.events import Bar
from headrace.strategies.timers import Timer
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC, quotes


class Bars(Strategy):
    """Handles quotes without a fault, and raises at some of its bars."""

    bars = (BarSpec(BTC, "1t", price="mid"),)

    def __init__(self, fails_at: set[int]) -> None:
        self.fails_at = fails_at
        self.quotes = self.bars_seen = 0

    def on_quote(self, bid_price: float) -> None:
        self.quotes += 1

    def on_bar(self, bar: Bar) -> None:
        self.bars_seen += 1
        if self.bars_seen in self.fails_at:
            raise ValueError(self.bars_seen)


def state_after(strategy: Strategy, bids: int, **options: Any) -> str:
    engine = engine_over(market([100.0] * bids), [strategy], on_fault="quarantine", **options)
    return engine.run().strategies[type(strategy).__name__].stopped_from


@pytest.mark.parametrize(("fails_at", "state"), [({100, 400, 599}, "quarantined"), ({100, 400, 600}, "running")])
def test_ticks_and_bars_of_a_strategy_are_one_count(fails_at: set[int], state: str) -> None:
    """One quote makes one bar, so bar n is call 2 n: 499 bars are 998 calls, 500 bars are 1,000."""
    assert state_after(Bars(fails_at), 700) == state


class TicksThenTimer(Strategy):
    """Raises in its first quotes and, 1,500 quotes later, in a timer."""

    def on_start(self) -> None:
        self.set_timer("late", after="150s")

    def on_quote(self, seq: int) -> None:
        if seq in {1, 2}:
            raise ValueError(seq)

    def on_timer(self, timer: Timer) -> None:
        raise ValueError(timer.name)


def test_a_timer_that_fails_much_later_is_no_quarantine() -> None:
    assert state_after(TicksThenTimer(), 1_600) == "running"


class TwoSubscriptions(Strategy):
    """Has its quotes twice, and raises at some calls, whichever subscription they come from."""

    def __init__(self, fails_at: set[int]) -> None:
        self.fails_at = fails_at
        self.calls = 0

    def on_start(self) -> None:
        self.subscribe(instruments=BTC)

    def on_quote(self, bid_price: float) -> None:
        self.calls += 1
        if self.calls in self.fails_at:
            raise ValueError(self.calls)


@pytest.mark.parametrize(
    ("fails_at", "state"), [({500, 1_001, 1_499}, "quarantined"), ({500, 1_001, 1_500}, "running")]
)
def test_two_subscriptions_of_a_strategy_are_one_count(fails_at: set[int], state: str) -> None:
    assert state_after(TwoSubscriptions(fails_at), 1_000) == state


def test_faults_of_two_strategies_are_two_counts() -> None:
    engine = engine_over(
        market([100.0] * 50),
        [StrategySpec(strategy=TwoSubscriptions({10, 20}), name="a"), StrategySpec(strategy=Bars({5, 6}), name="b")],
        on_fault="quarantine",
    )
    assert {name: own.stopped_from for name, own in engine.run().strategies.items()} == {"a": "running", "b": "running"}


def test_faults_at_random_calls_quarantine_as_the_rule_says(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(20):
        fails_at = sorted(generator.sample(range(1, 4_000), generator.randrange(3, 9)))
        expected = next(
            (
                last
                for first, last in zip(fails_at, fails_at[QUARANTINE_FAULTS - 1 :], strict=False)
                if last - first < QUARANTINE_CALLS
            ),
            None,
        )
        seen: list[int] = []

        def on_quote(seq: int, seen: list[int] = seen, fails_at: list[int] = fails_at) -> None:
            seen.append(seq)
            if seq in fails_at:
                raise ValueError(seq)

        with Dispatcher() as dispatcher:
            subscription = dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, [1.0] * 4_000))
            dispatcher.dispatch()
            assert (subscription.state == "quarantined", seen[-1]) == (expected is not None, expected or 4_000), (
                fails_at
            )


class RaisesTwice(Strategy):
    """Raises at the first two quotes of each object."""

    def __init__(self) -> None:
        self.quotes = 0

    def on_quote(self, bid_price: float) -> None:
        self.quotes += 1
        if self.quotes <= 2:
            raise ValueError(self.quotes)


def test_a_restart_clears_the_count() -> None:
    class Restarts(Strategy):
        async def on_quote(self, seq: int) -> None:
            if seq == 10:
                await engine.strategies["RaisesTwice"].restart("by the test")

    engine = engine_over(market([100.0] * 40), [RaisesTwice, Restarts()], on_fault="quarantine")
    report = engine.run().strategies["RaisesTwice"]
    assert (report.stopped_from, report.faults) == ("running", 4)

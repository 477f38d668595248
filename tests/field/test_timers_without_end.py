"""A timer that is set again and again for one time is a fault of its strategy, which names the timer."""

from __future__ import annotations

import pytest

from headrace import Strategy
from headrace.errors import EngineError
from headrace.limits import TIMER_CHAIN_MAX
from headrace.strategies.timers import Timer
from tests.support.engines import engine_over, market


class Again(Strategy):
    """Sets its timer for now whenever it fires."""

    def __init__(self) -> None:
        self.fired = 0

    def on_start(self) -> None:
        self.set_timer("again", after="50ms")

    def on_timer(self, timer: Timer) -> None:
        self.fired += 1
        self.set_timer("again", at_ns=self.clock.now_ns())


class InTurns(Again):
    """Has two timers set each other."""

    def on_timer(self, timer: Timer) -> None:
        self.fired += 1
        self.set_timer("other" if timer.name == "again" else "again", at_ns=timer.due_ns)


class ForThePast(Again):
    """Sets its timer for a time that is over."""

    def on_timer(self, timer: Timer) -> None:
        self.fired += 1
        self.set_timer("again", at_ns=timer.due_ns - 1)


@pytest.mark.parametrize("strategy", [Again, InTurns, ForThePast])
def test_a_timer_without_end_raises_and_is_named(strategy: type[Again]) -> None:
    with pytest.raises(EngineError, match=r"timer '(again|other)'.*10,000") as raised:
        engine_over(market([100.0] * 3), [strategy()]).run()
    assert any(f"in {strategy.__name__}.on_timer" in note for note in raised.value.__notes__)


def test_in_quarantine_mode_it_is_one_fault_and_the_run_goes_on() -> None:
    strategy = Again()
    engine = engine_over(market([100.0] * 3), [strategy], on_fault="quarantine")
    report = engine.run()
    assert report.ended_by == "feeds ended"
    assert strategy.fired == TIMER_CHAIN_MAX + 1
    assert [(letter.source, letter.handler) for letter in engine.dead_letters.list()] == [("Again", "on_timer")]


class Many(Strategy):
    """Sets more timers for one time than one may set itself, and one for the end of each time."""

    def __init__(self) -> None:
        self.fired = 0

    def on_quote(self, seq: int) -> None:
        if seq == 1:
            for number in range(TIMER_CHAIN_MAX + 10):
                self.set_timer(f"once-{number}", at_ns=self.clock.now_ns())
        for _ in range(3):
            self.set_timer("flush", at_ns=self.clock.now_ns())

    def on_timer(self, timer: Timer) -> None:
        self.fired += 1


def test_many_timers_of_one_time_are_no_fault() -> None:
    strategy = Many()
    engine_over(market([100.0] * 3), [strategy]).run()
    assert strategy.fired == TIMER_CHAIN_MAX + 10 + 3

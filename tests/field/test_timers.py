"""Timers of a replay fire in the order of their times."""

from __future__ import annotations

from headrace import Strategy
from headrace.strategies.timers import Timer
from tests.support.engines import SECOND, START, engine_over, market


class Chained(Strategy):
    """A timer of 1 s, and one at 1.5 s that sets another one 0.1 s later."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def on_start(self) -> None:
        self.set_timer("a", every="1s")
        self.set_timer("c", after="1500ms")

    def on_quote(self, ts_init: int) -> None:
        self.seen.append(("quote", (ts_init - START) / SECOND))

    def on_timer(self, timer: Timer) -> None:
        self.seen.append((timer.name, (self.clock.now_ns() - START) / SECOND))
        if timer.name == "c":
            self.set_timer("c2", after="100ms")


def test_timers_fire_between_quotes_in_the_order_of_time() -> None:
    strategy = Chained()
    engine_over(market([100, 100], every_ns=3 * SECOND), [strategy]).run()
    assert strategy.seen == [
        ("quote", 0.0),
        *(("a", 1.0), ("c", 1.5), ("c2", 1.6), ("a", 2.0), ("a", 3.0)),
        ("quote", 3.0),
    ]

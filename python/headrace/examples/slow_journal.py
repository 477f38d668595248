"""Too slow on purpose: it runs in its own thread, and gets the newest ticks instead of all of them.

A thread subscription with ``drop_oldest`` never holds up the feed: ticks for which it is too slow are dropped, oldest
first, counted, and delivered to ``on_gap`` as a gap at its place in the order. In ``replay`` it runs inline and loses
nothing.

Run it: ``headrace replay RECORDING --strategy headrace.examples.slow_journal:SlowJournal --param work_us=0``
"""

import time
from typing import ClassVar

from headrace import Strategy


class SlowJournal(Strategy):
    """Spends ``work_us`` microseconds on every trade."""

    subscription: ClassVar[dict[str, object]] = {"mode": "thread", "overflow": "drop_oldest"}

    def __init__(self, work_us: int = 200) -> None:
        self.work_s = work_us / 1e6
        self.trades = 0
        self.last: tuple[str, float, float] | None = None
        self.gaps = 0
        self.missing = 0

    def on_trade(self, symbol: str, price: float, size: float) -> None:
        """Simulate a slow write of one trade."""
        self.last = (symbol, price, size)
        time.sleep(self.work_s)
        self.trades += 1

    def on_gap(self, missing: int | None) -> None:
        """Add up the lost ticks; None is a loss of unknown size, after a reconnect."""
        self.gaps += 1
        self.missing += missing or 0

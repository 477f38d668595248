"""Anchor A: ``for tick in ticks: handler(tick)`` over ready-made objects. Nothing moves, waits, or is checked.

Tuned: 1,024 objects that stay in the cache, cycled; the bound method is looked up once; a fan-out loops over a list of
bound methods. What calls Python once a tick can hardly be faster.
"""

from __future__ import annotations

from collections.abc import Iterator

from benches.bench import Work
from benches.workload import CYCLE, Adder, check, quote_objects


def bare_loop(count: int, strategies: int = 1) -> Iterator[Work]:
    """Loop over ``count`` ticks, a multiple of the cycle, each to all handlers."""
    ticks = quote_objects()
    adders = [Adder() for _ in range(strategies)]
    handlers = [adder.on_tick for adder in adders]

    def to_one() -> None:
        handler = handlers[0]
        for _ in range(count // CYCLE):
            for tick in ticks:
                handler(tick)

    def to_many() -> None:
        for _ in range(count // CYCLE):
            for tick in ticks:
                for handler in handlers:
                    handler(tick)

    yield to_one if strategies == 1 else to_many
    check(adders, count)

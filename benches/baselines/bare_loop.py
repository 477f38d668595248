"""Anchor A: ``for tick in ticks: handler(tick)`` over ready-made objects. Nothing moves, waits, or is checked.

Tuned: 1,024 objects that stay in the cache, cycled; the bound method is looked up once; a fan-out loops over a list of
bound methods. What calls Python once a tick can hardly be faster.
"""

from __future__ import annotations

from benches.harness import Span, Timer
from benches.workload import CYCLE, Adder, QuoteObject, check


def bare_loop(ticks: list[QuoteObject], count: int, strategies: int = 1) -> Span:
    """Time per tick over ``count`` ticks, a multiple of the cycle, each to all handlers."""
    adders = [Adder() for _ in range(strategies)]
    handlers = [adder.on_tick for adder in adders]
    with Timer() as timer:
        if strategies == 1:
            handler = handlers[0]
            for _ in range(count // CYCLE):
                for tick in ticks:
                    handler(tick)
        else:
            for _ in range(count // CYCLE):
                for tick in ticks:
                    for handler in handlers:
                        handler(tick)
    check(adders, count)
    return timer.per(count)

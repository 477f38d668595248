"""Ticks through sequencer, ring and dispatcher, without an engine around them.

    ticks, 1,024 at a time ─▶ publish ─▶ dispatch ─▶ the strategies' handlers

Every tick carries a venue number for the sequencer to check, belongs to one of 100 instruments, and is new memory: the
anchor's objects stay in the cache, ours do not. Nothing is due between two ticks of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import headrace
from benches.bench import Work
from benches.handlers import IDLE, quotes
from benches.workload import CYCLE, INSTRUMENTS, check, instrument_names


def through_ring(
    strategy: Callable[[], headrace.Strategy],
    count: int,
    strategies: int = 1,
    *,
    batch: int = CYCLE,
    instruments: int = INSTRUMENTS,
    bystanders: int = 0,
) -> Iterator[Work]:
    """Publish and dispatch ``count`` ticks; ``bystanders`` are subscribed to an instrument that never ticks."""
    ticks = quotes(count, instruments)
    names = [*instrument_names(instruments), IDLE]
    with headrace.Dispatcher(instruments=names, instruments_max=max(16, len(names))) as dispatcher:
        handlers = [strategy() for _ in range(strategies)]
        for handler in handlers:
            dispatcher.subscribe(handler, batch_max=batch)
        for _ in range(bystanders):
            dispatcher.subscribe(strategy(), instruments=IDLE)

        def work() -> None:
            for start in range(0, count, batch):
                dispatcher.publish(ticks[start : start + batch])
                dispatcher.dispatch()

        yield work
    check(handlers, count)

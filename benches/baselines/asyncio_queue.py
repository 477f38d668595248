"""The usual asyncio way: one producer, a bounded ``asyncio.Queue`` and a task for each strategy.

Tuned: ``put_nowait`` while there is room, ``await put`` only when full, and the same on the other side with
``get_nowait``: a fifth faster than awaiting every call. 1,024 slots; more did not help.
"""

from __future__ import annotations

import asyncio

from benches.harness import Span, Timer
from benches.workload import CYCLE, Adder, QuoteObject, check

SLOTS = 1_024


def asyncio_queue(ticks: list[QuoteObject], count: int, strategies: int = 1) -> Span:
    """Time per tick over ``count`` ticks, each through every strategy's queue."""
    adders = [Adder() for _ in range(strategies)]
    timer = Timer()
    asyncio.run(_session(ticks, count, adders, timer))
    check(adders, count)
    return timer.per(count)


async def _session(ticks: list[QuoteObject], count: int, adders: list[Adder], timer: Timer) -> None:
    queues: list[asyncio.Queue[QuoteObject | None]] = [asyncio.Queue(SLOTS) for _ in adders]
    with timer:
        consumers = [asyncio.create_task(_consume(queue, adder)) for queue, adder in zip(queues, adders, strict=True)]
        for _ in range(count // CYCLE):
            for tick in ticks:
                for queue in queues:
                    if queue.full():
                        await queue.put(tick)
                    else:
                        queue.put_nowait(tick)
        for queue in queues:
            await queue.put(None)
        await asyncio.gather(*consumers)


async def _consume(queue: asyncio.Queue[QuoteObject | None], adder: Adder) -> None:
    handler, get_nowait, is_empty = adder.on_tick, queue.get_nowait, queue.empty
    while (tick := await queue.get()) is not None:
        handler(tick)
        while not is_empty():
            if (tick := get_nowait()) is None:
                return
            handler(tick)

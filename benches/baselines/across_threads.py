"""Two ways from a feed's thread to a strategy's: ``queue.Queue``, and a bare deque with an Event.

Tuned: methods are looked up once. ``queue_queue`` is bounded (1,024), since an unbounded one hides a slow strategy
until memory ends. ``deque_event`` sets the event only when it is not set, looks again after clearing it, and empties
the deque in one go: the fastest hand-over there is in pure Python, and it has no bound.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from benches.harness import Span, Timer
from benches.workload import CYCLE, Adder, QuoteObject, check

SLOTS = 1_024


def queue_queue(ticks: list[QuoteObject], count: int) -> Span:
    """Time per tick over ``count`` ticks through a bounded queue."""
    line: queue.Queue[QuoteObject | None] = queue.Queue(SLOTS)
    adder = Adder()

    def produce() -> None:
        put = line.put
        for _ in range(count // CYCLE):
            for tick in ticks:
                put(tick)
        put(None)

    def consume() -> None:
        get, handler = line.get, adder.on_tick
        while (tick := get()) is not None:
            handler(tick)

    return _timed(produce, consume, adder, count)


def deque_event(ticks: list[QuoteObject], count: int) -> Span:
    """Time per tick over ``count`` ticks through a deque, with an event for who waits."""
    line: deque[QuoteObject] = deque()
    filled = threading.Event()
    adder = Adder()

    def produce() -> None:
        append, is_set, wake = line.append, filled.is_set, filled.set
        for _ in range(count // CYCLE):
            for tick in ticks:
                append(tick)
                if not is_set():
                    wake()

    def consume() -> None:
        take, handler = line.popleft, adder.on_tick
        while adder.count < count:
            filled.wait()
            filled.clear()
            while line:
                handler(take())

    return _timed(produce, consume, adder, count)


def _timed(produce: Callable[[], None], consume: Callable[[], None], adder: Adder, count: int) -> Span:
    thread = threading.Thread(target=produce)
    with Timer() as timer:
        thread.start()
        consume()
    thread.join()
    check([adder], count)
    return timer.per(count)

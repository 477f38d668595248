"""Two ways from a feed's thread to a strategy's: ``queue.Queue``, and a bare deque with an Event.

Tuned: methods are looked up once. ``queue_queue`` is bounded (1,024), since an unbounded one hides a slow strategy
until memory ends. ``deque_event`` sets the event only when it is not set, looks again after clearing it, and empties
the deque in one go: the fastest hand-over there is in pure Python, and it has no bound.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator

from benches.bench import Work
from benches.workload import CYCLE, Adder, QuoteObject, check, quote_objects

SLOTS = 1_024


def queue_queue(count: int) -> Iterator[Work]:
    """Send ``count`` ticks through a bounded queue."""
    ticks = quote_objects()
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

    yield lambda: _across(produce, consume)
    check([adder], count)


def deque_event(count: int) -> Iterator[Work]:
    """Send ``count`` ticks through a deque, with an event for the thread that waits."""
    ticks = quote_objects()
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

    yield lambda: _across(produce, consume)
    check([adder], count)


def _across(produce: Callable[[], None], consume: Callable[[], None]) -> None:
    thread = threading.Thread(target=produce)
    thread.start()
    consume()
    thread.join()

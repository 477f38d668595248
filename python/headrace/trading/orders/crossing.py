"""Crossing: orders that another thread submitted, on their way to the bus's own thread, where they are judged.

::

    put (any thread) ─▶ ▒▒▒░░░ ─▶ call_soon(arrive) ─▶ next (the bus's own thread) ─▶ gates

What happens when the bus's own thread is slower
    ``put`` waits for room up to LANE_WAIT_S of wall time, then raises LaneFullError.

Guarantees: first in, first out; bounded by ORDERS_CROSSING_MAX; a thread that waits holds no other lock.
Does not: judge or publish.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from headrace.errors import LaneFullError
from headrace.limits import LANE_WAIT_S, ORDERS_CROSSING_MAX
from headrace.market.events import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.market.events import OrderRequested

__all__ = ["Crossing"]


class Crossing:
    """The orders between two threads.

    call_soon : calls back on the bus's own thread, soon. arrive : is called so when there are orders to take.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None], arrive: Callable[[], None]) -> None:
        # Read without the lock: empty or not.
        self.requests: deque[OrderRequested] = deque()
        self._call_soon = call_soon
        self._arrive = arrive
        self._room = threading.Condition()
        self._is_called = False

    def put(self, request: OrderRequested) -> None:
        """Add an order; in any thread. Raises LaneFullError."""
        with self._room:
            if not self._room.wait_for(lambda: len(self.requests) < ORDERS_CROSSING_MAX, LANE_WAIT_S):
                msg = (
                    f"the order lane is full: {ORDERS_CROSSING_MAX} orders of other threads wait for the engine's "
                    f"thread, after {LANE_WAIT_S:.3f} s for room; submit fewer, or find what holds up that thread"
                )
                raise LaneFullError(msg, lane=str(Lane.ORDER), capacity=ORDERS_CROSSING_MAX, waited_s=LANE_WAIT_S)
            self.requests.append(request)
            calls, self._is_called = not self._is_called, True
        if calls:
            self._call_soon(self._on_call)

    def _on_call(self) -> None:
        with self._room:
            self._is_called = False
        self._arrive()

    def next(self) -> OrderRequested | None:
        """Take the oldest order out; None: there is none."""
        with self._room:
            request = self.requests.popleft() if self.requests else None
            self._room.notify()
        return request

    def put_back(self, request: OrderRequested) -> None:
        """Undo ``next``."""
        with self._room:
            self.requests.appendleft(request)

"""Pace: how much of the engine's thread clients may use that have not yet shown a token.

::

    a stranger's connection, request ─▶ queue ─▶ a slot in each round of the event loop, 200 µs at most, for the credit

What happens while ticks keep the thread busy
    Credit comes of the time that everything else takes: a hundredth of it. What is beyond waits, in its order.
What happens while the thread has nothing else to do
    Eight rounds of the event loop in which all else takes less than 300 µs give credit for 2 ms: nobody waits for long.

Guarantees: times are of the thread itself, so a busy machine changes nothing; ticks go on between two slots.
Does not: bound the queue, which the number of connections does; count what the event loop itself does for a connection.
"""

from __future__ import annotations

import time
import types
from collections import deque
from typing import TYPE_CHECKING, Any

from headrace.limits import HTTP_STRANGERS_CREDIT_S, HTTP_STRANGERS_SHARE, SLICE_NS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["Pace"]

# A slot takes no further work after so long; ticks have as much between two slots.
SLOT_S = SLICE_NS / 1e9
# So many rounds of the loop in which all else takes less together have nothing else to do; and what they give. One such
# round may be that in which a feed brings the next ticks.
IDLE_ROUNDS, IDLE_S, IDLE_CREDIT_S = 8, 300e-6, 2e-3
# Without credit, it looks for them so often.
LOOK_S = 2e-3


class Pace:
    """The pace of one server, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[Callable[[], None]] = deque()
        self._credit_s = HTTP_STRANGERS_CREDIT_S
        # When strangers were last paid for.
        self._paid_s = time.thread_time()
        # The one slot that is planned, or works.
        self._slot: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """How much work waits."""
        return len(self._queue)

    def run(self, work: Callable[[], None]) -> None:
        """Do some work of a stranger when its turn comes."""
        self._queue.append(work)
        self._plan()

    async def timed(self, work: Callable[[], Coroutine[Any, Any, None]], is_stranger: Callable[[], bool]) -> None:
        """Do some work, and take the steps of it from the credit that are a stranger's."""
        await self._steps(work(), is_stranger)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, None], is_stranger: Callable[[], bool]) -> Generator[Any, Any, None]:
        value: Any = None
        error: BaseException | None = None
        while True:
            began_s = time.thread_time()
            try:
                awaited = work.send(value) if error is None else work.throw(error)
            except StopIteration:
                return
            finally:
                if is_stranger():
                    self._spend(began_s)
            value = error = None
            try:
                value = yield awaited
            except BaseException as own:  # noqa: BLE001 - the work's own to handle
                error = own

    def charge(self, seconds: float) -> None:
        """Take from the credit what strangers will cost where it cannot be measured."""
        self._credit_s -= seconds

    def close(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        if self._slot is not None:
            self._slot.cancel()
            self._slot = None

    def _plan(self) -> None:
        """Have a slot, unless there is one or nothing waits."""
        if self._slot is None and self._queue:
            self._slot = self._loop.call_soon(self._work_on if self._credit_s > 0 else self._look)

    def _spend(self, began_s: float) -> None:
        self._settle(began_s)
        self._paid_s = time.thread_time()
        self._credit_s -= self._paid_s - began_s

    def _settle(self, until_s: float) -> float:
        """Give credit for what all else took since strangers were last paid for, and return that time, s."""
        other_s, self._paid_s = until_s - self._paid_s, until_s
        earned_s = other_s * HTTP_STRANGERS_SHARE / (1 - HTTP_STRANGERS_SHARE)
        self._credit_s = min(HTTP_STRANGERS_CREDIT_S, self._credit_s + earned_s)
        return other_s

    def _work_on(self) -> None:
        """Do what waits, and begin no more of it when the slot or the credit is over."""
        began_s = time.thread_time()
        # A look at the thread's own time is a call of the system; a slot that is cut short for another process goes on.
        end_s = time.perf_counter() + min(SLOT_S, self._credit_s)
        try:
            while self._queue:
                self._queue.popleft()()
                if time.perf_counter() >= end_s:
                    break
        finally:
            self._spend(began_s)
            self._slot = None
            self._plan()

    def _look(self) -> None:
        """Look what the thread does in the next rounds; each begins when all callbacks had their turn once."""
        self._settle(time.thread_time())
        self._slot = self._loop.call_soon(self._after_a_round, 1, 0.0)

    def _after_a_round(self, rounds: int, others_s: float) -> None:
        others_s += self._settle(time.thread_time())
        if others_s < IDLE_S and rounds < IDLE_ROUNDS and self._credit_s <= 0:
            self._slot = self._loop.call_soon(self._after_a_round, rounds + 1, others_s)
            return
        if others_s < IDLE_S and rounds == IDLE_ROUNDS:
            self._credit_s = max(self._credit_s, IDLE_CREDIT_S)
        if self._credit_s > 0:
            self._work_on()
        else:
            self._slot = self._loop.call_later(LOOK_S, self._look)

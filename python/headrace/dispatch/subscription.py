"""Subscription: one consumer of a dispatcher's ticks, moved on by its thread, its task, the dispatcher or the caller.

Guarantees: everything it starts ends with ``close``; a thread that does not end is named in the log and left running.
A closed one is gone from its dispatcher, and keeps its last counts.
Does not: call handlers, which native code does, or check options (``options``) and handlers (``signature``).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from headrace.dispatch.awaited_calls import await_calls
from headrace.dispatch.loop_wakeup import LoopWakeup
from headrace.dispatch.subscription_stats import SubscriptionStats, stats_of
from headrace.errors import ClosedError, OptionError, ReentrantDispatchError
from headrace.limits import CLOSE_DEADLINE_S
from headrace.market.checks import whole
from headrace.market.clock import Mode
from headrace.market.events import Cause, current_cause

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator

    import numpy as np

    import headrace._native as _native
    from headrace.dispatch.loop_wakeup import WakeupKind
    from headrace.dispatch.options import SubscriptionOptions
    from headrace.market.clock import Clock

__all__ = ["Advance", "Environment", "Subscription"]

# The longest wait of a task between two looks at the clock while a window is open.
LOOK_EVERY_S = 0.05

log = logging.getLogger(__name__)


class Advance(Enum):
    """What moves a subscription on: the dispatcher's calls, its own thread, the task that awaits, or its reader."""

    INLINE = "inline"
    THREAD = "thread"
    AWAIT = "await"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class Environment:
    """The dispatcher's clock, mode and wake-up, which all its subscriptions share."""

    clock: Clock
    mode: Mode
    wakeup: WakeupKind


class Subscription:
    """One consumer of a dispatcher's ticks. Made by ``Dispatcher.subscribe``.

    A subscription with handlers calls them; one without is pulled: ``for batch in subscription``,
    ``async for batch in subscription``, or ``subscription.read_into(array)``. Batches are arrays of TICK_DTYPE that the
    caller owns. A gap is the first tick of a batch, of kind gap; no batch has a gap in its middle.
    """

    def __init__(
        self,
        *,
        name: str,
        options: SubscriptionOptions,
        kinds: frozenset[str],
        membership: _native.Membership,
        group: _native.DispatchGroup,
        advance: Advance,
        environment: Environment,
        on_close: Callable[[Subscription, float], None],
    ) -> None:
        self.name = name
        self.options = options
        self.kinds = kinds
        self.membership = membership
        self.group = group
        self.advance = advance
        self.is_open = True
        self._environment = environment
        self._on_close = on_close
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop_wakeup: LoopWakeup | None = None

    @property
    def is_pull(self) -> bool:
        """Whether it has no handlers."""
        return self.advance is Advance.PULL

    @property
    def is_async(self) -> bool:
        """Whether its handlers are awaited."""
        return self.advance is Advance.AWAIT

    @property
    def state(self) -> str:
        """``"running"``, ``"paused"``, ``"quarantined"``, ``"resuming"``, ``"dozing"`` or ``"closed"``."""
        return self.membership.state

    def pause(self) -> bool:
        """Stop calling its handlers from the next tick on; ticks in between are skipped and counted.

        Returns False when it was not running. O(1); takes no lock and never waits.
        """
        return self.membership.pause()

    def resume(self) -> bool:
        """Resume delivery, also out of quarantine: first the gap is delivered, then the newest quotes.

        Returns False when it was neither paused nor quarantined.
        """
        return self.membership.resume()

    def doze(self) -> bool:
        """Suspend delivery until ``wake()``. Ticks in between count as filtered and raise no gap.

        Takes effect in the middle of a batch, too; a plural call depends on the state at the time of the call. A block
        reader still gates the writer. Returns False when it was not running. O(1); takes no lock and never waits.
        """
        return self.membership.doze()

    def wake(self) -> bool:
        """End a doze: deliver ticks again, from the next one on. There is no gap, and no newest quotes.

        Woken in the middle of a venue event, it gets the rest of the event. Returns False when it did not doze
        (``pause`` ends a doze).
        """
        return self.membership.wake()

    def cause(self) -> Cause | None:
        """Return the ticks of its handler that runs now, in this thread or task; None outside a handler.

        For a singular handler, its tick; for ``on_gap``, the tick of kind gap; for a plural handler, its batch: the
        instrument and kind of its last tick, and the first and last ``seq`` of these.
        """
        seen = self.membership.cause()
        return current_cause.get() if seen is None else Cause(*seen)

    def close(self) -> None:
        """Leave the ring and the dispatcher; its name is free again. ``stats`` answers with the last counts.

        Waits up to 5 s for a thread that is in its handler. May be called twice, and by a handler.
        """
        self._on_close(self, time.monotonic() + CLOSE_DEADLINE_S)

    def stats(self) -> SubscriptionStats:
        """Return every term of the loss law, faults and latency, as they are now."""
        return stats_of(self.name, self.membership)

    def read_into(self, out: np.ndarray, *, max_ticks: int | None = None) -> int:
        """Copy this subscription's next ticks into ``out`` and return how many were copied.

        out : shape (n,), dtype TICK_DTYPE, C-contiguous, writable. ``ts_event`` is int64 ns since 1970-01-01 UTC.
        max_ticks : 1..n, or None for n.
        Returns 0 when caught up. Never blocks; O(copied).
        Raises ClosedError (no more ticks will come), ValueError (wrong dtype or layout), ReentrantDispatchError.
        """
        self._refuse_handlers()
        if max_ticks is not None:
            whole("max_ticks", max_ticks, 1, max(1, len(out)), "ticks")
        try:
            count = self.membership.read_into(self._environment.clock.now_ns(), out, max_ticks)
        except ReentrantDispatchError:
            # A close holds the reader for good; any other concurrent read is the caller's mistake.
            if self.state != "closed":
                raise
            count = 0
        if count == 0 and self._has_ended():
            msg = f"subscription {self.name!r} is closed and read to its end: no more ticks will come"
            raise ClosedError(msg)
        return count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield batches as they come; wait without the interpreter's lock. Ends when the dispatcher is closed."""
        self._refuse_handlers()
        while True:
            batch = self._next_batch()
            if batch is not None:
                yield batch
            elif self._has_ended():
                return
            else:
                self.membership.wait()

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        """Yield batches as they come, woken by the ring; ends when the dispatcher is closed."""
        self._refuse_handlers()
        wakeup = LoopWakeup(self.group, self._environment.wakeup)
        try:
            while True:
                batch = self._next_batch()
                if batch is not None:
                    yield batch
                    continue
                wakeup.arm()
                if self.membership.has_pending():
                    continue
                if self._has_ended():
                    return
                # With the time limit, a close from another thread is noticed soon in any case.
                await wakeup.wait(0.05)
        finally:
            wakeup.close()

    # Called by its dispatcher

    def start(self) -> None:
        """Start its thread or its task, if it has one."""
        if self._environment.mode is Mode.REPEAT:
            return
        if self.advance is Advance.THREAD:
            name = f"headrace-{self.name}"
            self._thread = threading.Thread(target=self._run_thread, name=name, daemon=True)
            self._thread.start()
        elif self.is_async and self._environment.mode is Mode.LIVE:
            import asyncio  # see the module's header

            self._loop_wakeup = LoopWakeup(self.group, self._environment.wakeup)
            self._task = asyncio.get_running_loop().create_task(
                self._run_task(self._loop_wakeup), name=f"headrace-{self.name}"
            )
            self._task.add_done_callback(self._task_ended)

    def _run_thread(self) -> None:
        try:
            self.group.run_thread(self._environment.clock.now_ns)
        except BaseException:
            log.exception("subscription %s ended with its handler's exception", self.name)
            self.membership.pause()

    async def _run_task(self, wakeup: LoopWakeup) -> None:
        while self.is_open:
            if await self.drain_async():
                continue
            wakeup.arm()
            if self.membership.has_pending() and not self.group.is_idle():
                continue
            due = self.group.next_due()
            if due is None:
                await wakeup.wait(None)
            else:
                # Not for the whole time: the clock may run faster than the wall clock.
                await wakeup.wait(min(max(0.0, (due - self._environment.clock.now_ns()) / 1e9), LOOK_EVERY_S))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s ended with an exception", task.get_name(), exc_info=error)
        elif self.is_open:
            # Not a warning: an event loop that ends cancels its running tasks.
            log.info("%s was cancelled before its subscription was closed; the subscription is paused", task.get_name())
        if self.is_open:
            # Its handlers are no longer awaited: its state must not be running, and it must not hold the writer.
            self.membership.pause()

    async def drain_async(self) -> bool:
        """Await calls until caught up; return whether there was a call."""
        had_some = False
        while self.is_open and (calls := self.group.step(self._environment.clock.now_ns())):
            had_some = True
            await await_calls(self.group, self.membership, calls)
        return had_some

    def end(self, deadline_s: float) -> None:
        """End it for the dispatcher: wait for its thread until ``deadline_s`` (monotonic)."""
        self.is_open = False
        self.membership.close()
        if self.advance is not Advance.INLINE:
            self.group.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
            if self._thread.is_alive():
                log.error(
                    "subscription %s is still in its handler %.0f s after close: its thread is left running",
                    *(self.name, CLOSE_DEADLINE_S),
                )
        if self._loop_wakeup is not None:
            self._loop_wakeup.close()
        if self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    # Pulling

    def _next_batch(self) -> np.ndarray | None:
        try:
            return self.membership.next_batch(self._environment.clock.now_ns(), self.options.batch_max)
        except ReentrantDispatchError:
            if self.state != "closed":  # As in `read_into`.
                raise
            return None

    def _has_ended(self) -> bool:
        return self.state == "closed" or (self.membership.is_ring_closed() and not self.membership.has_pending())

    def _refuse_handlers(self) -> None:
        if not self.is_pull:
            msg = f"subscription {self.name!r} has handlers, which get its ticks: subscribe without a handler to pull"
            raise OptionError(msg, option="handler")

    def __repr__(self) -> str:
        return f"<Subscription {self.name} {self.state}>"

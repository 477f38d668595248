"""Awaited calls: what the handlers of one subscription return to be awaited, one after the other, in tick order.

::

    async handlers: a reader of their own, stepped ─┐
    plain handlers that return an awaitable: owed ──┴▶ live: a task      replay: ``drain``, before the next time

What happens to an awaitable that cannot be awaited
    In a thread of its own, without a running event loop, or live behind OWED_MAX others: it is closed, and the call is
    a fault of its handler.

What happens to a call that runs when its subscription ends
    At the end of an engine it has DRAIN_RUNNING_S; then it is cancelled, kept as a dead letter, and logged.

Guarantees: a call that is not awaited is closed; a fault is judged as that of any other handler.
Does not: import asyncio before something is awaited; that import takes half of the package's import time.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from headrace.dispatch.joining import Advance
from headrace.dispatch.loop_wakeup import LoopWakeup
from headrace.limits import DRAIN_RUNNING_S, OWED_MAX
from headrace.market.clock import Mode
from headrace.market.events import Cause, current_cause
from headrace.market.running_loop import has_running_loop
from headrace.market.user_errors import is_requested_cancellation
from headrace.market.user_functions import close_unfinished, refuse_generator, refuse_unfinished
from headrace.market.user_waits import bounded_s, ended, started

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Collection, Coroutine, Iterable
    from types import TracebackType

    import numpy as np

    import headrace._native as _native
    from headrace.dispatch.subscription import Subscription

__all__ = ["AwaitedCall", "AwaitedCalls", "CauseFields", "TicksFields"]

# The longest wait of the task between two looks at the clock while a window is open.
LOOK_EVERY_S = 0.05

log = logging.getLogger(__name__)

# The fields of a Cause, and of FailedTicks, from native code.
CauseFields: TypeAlias = tuple[str | None, str, int, int, int]
TicksFields: TypeAlias = "tuple[str | None, str | None, np.ndarray, list[int], int]"


class AwaitedCall(NamedTuple):
    """A call to await. handler : its number. ticks : for its letter, where they are kept; else the last ones count."""

    handler: int
    awaitable: Awaitable[object]
    cause: CauseFields
    ticks: TicksFields | None = None


class AwaitedCalls:
    """Awaits the calls of one subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._own = subscription
        # What plain handlers returned.
        self._owed: list[AwaitedCall] = []
        self._task: asyncio.Task[None] | None = None
        self._wakeup: LoopWakeup | None = None
        # Calls were made without a new tick, and its task has not looked yet.
        self._is_woken = False
        self._running: AwaitedCall | None = None
        # Whether it is cancelled since it did not end in time.
        self._is_late = False
        # Those that follow it.
        self._remaining: Collection[AwaitedCall] = ()
        # Set while no call runs.
        self._at_rest: asyncio.Event | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait behind the one that runs."""
        return len(self._owed) + len(self._remaining) + self._is_woken

    @property
    def is_running(self) -> bool:
        """Whether a call is being awaited."""
        return self._running is not None

    @property
    def is_at_rest(self) -> bool:
        """Whether no call is being awaited, and none waits."""
        return self._running is None and not self.waiting

    @property
    def _is_current(self) -> bool:
        """Whether its subscription is open, and its object was not replaced."""
        return self._own.is_open and self._own.awaited is self

    def where(self) -> str:
        """Return the name of the handler that is being awaited, and of its subscription."""
        own, call = self._own, self._running
        return own.name if call is None else f"{own.handler_names[call.handler]} of subscription {own.name}"

    def owe(self, call: AwaitedCall) -> None:
        """Await what a plain handler returned, after what it returned before. Raises TypeError."""
        own = self._own
        is_live = own.environment.mode is Mode.LIVE
        why = ""
        if own.advance is Advance.THREAD:
            why = "in a thread of its own: remove mode='thread'"
        elif is_live and not has_running_loop():
            why = "without a running event loop: run it in an engine"
        elif is_live and self.waiting >= OWED_MAX:
            why = (
                f"behind {OWED_MAX:,} others: write async def, so that its subscription waits or drops by its overflow"
            )
        if why:
            refuse_unfinished(call.awaitable, why)
        self._owed.append(call)
        if is_live and (self._task is None or self._task.done()):
            self._begin(self.drain_owed())

    async def drain_owed(self) -> None:
        """Await what plain handlers returned."""
        while self._owed and self._is_current:
            calls, self._owed = self._owed, []
            await self.run(calls)

    async def drain(self) -> bool:
        """Await calls until caught up; return whether there was a call."""
        own = self._own
        had_some = bool(self._owed)
        await self.drain_owed()
        # The log of a repetition says when its calls are made.
        steps = own.is_async and own.environment.mode is not Mode.REPEAT
        while steps and self._is_current and (calls := own.group.step(own.environment.clock.now_ns())):
            had_some = True
            await self.run([AwaitedCall(*call) for call in calls])
        return had_some

    async def run(self, calls: Iterable[AwaitedCall]) -> None:
        """Await calls one after the other; end early when a fault ends the subscription's calls."""
        import asyncio  # see the header

        remaining = self._remaining = deque(calls)
        self._at_rest = asyncio.Event()
        try:
            while remaining:
                call = self._running = remaining.popleft()
                try:
                    await _timed(self._own.membership, call)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # A strategy's sys.exit must not end the others.
                    if is_requested_cancellation(error):
                        self._keep_cancelled(call, error.__traceback__)
                        raise
                    if self._is_late or self._own.awaited is not self:
                        # Of an object that was stopped or replaced: a letter, and no fault of the one that runs.
                        own = self._own
                        own.environment.faults.keep(own.name, own.handler_names[call.handler], error, call.ticks)
                        return
                    may_go_on = self._own.membership.report_fault(call.handler, error, call.ticks)
                else:
                    continue
                if not may_go_on:
                    return
        finally:
            self._running = None
            self._at_rest.set()
            while remaining:
                close_unfinished(remaining.popleft().awaitable)

    async def finish(self) -> None:
        """Wait for the calls that run and wait, at most DRAIN_RUNNING_S; then cancel them."""
        import asyncio  # see the header

        task = self._task
        if task is None or self.is_at_rest or task is asyncio.current_task():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bounded_s(DRAIN_RUNNING_S)):
                while not task.done() and (self.is_running or self.waiting):
                    if self._at_rest is not None:
                        await self._at_rest.wait()
                    # The task goes on with what waits.
                    await asyncio.sleep(0)
                return
        self._is_late = True
        await ended({task: self.where})
        if not task.done() and self._running is not None:
            self._keep_cancelled(self._running)

    def _keep_cancelled(self, call: AwaitedCall, at: TracebackType | None = None) -> None:
        """Keep a letter of a call that was cancelled, and log it."""
        import asyncio  # see the header

        own = self._own
        ended = asyncio.CancelledError("it had not ended when its subscription did").with_traceback(at)
        name, cause = own.handler_names[call.handler], Cause(*call.cause)
        own.environment.faults.keep(own.name, name, ended, call.ticks)
        what = f"{cause.instrument or 'no instrument'} {cause.kind} seq {cause.last}"
        # A close in the middle of a call is the caller's choice; the end of an engine is not.
        level = logging.INFO if at is not None and not self._is_late else logging.WARNING
        log.log(level, "%s.%s was cancelled at %s: %s", own.name, name, what, ended)

    def start(self) -> None:
        """Await the calls of async handlers in a task of the running loop from now on."""
        self._wakeup = LoopWakeup(self._own.group, self._own.environment.wakeup)
        self._begin(self._run(self._wakeup))

    def wake(self) -> None:
        """Await calls that were made without a new tick: of a window that the end of the run closed."""
        if self._wakeup is not None and self._task is not None and not self._task.done():
            self._is_woken = True
            self._task.get_loop().call_soon_threadsafe(self._wakeup.set)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        import asyncio  # see the header

        self._task = asyncio.get_running_loop().create_task(work, name=f"headrace-{self._own.name}")
        self._task.add_done_callback(self._ended)
        started(self._task, self.where)

    def end(self) -> None:
        """Cancel the task; what was never awaited is closed, and kept as letters."""
        while self._owed:
            calls, self._owed = self._owed, []
            for call in calls:
                close_unfinished(call.awaitable)
                self._keep_cancelled(call)
        if self._wakeup is not None:
            self._wakeup.close()
        if self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def _run(self, wakeup: LoopWakeup) -> None:
        own = self._own
        while self._is_current:
            self._is_woken = False
            if await self.drain():
                continue
            wakeup.arm()
            if own.membership.has_pending() and not own.group.is_idle():
                continue
            due = own.group.next_due()
            if due is None:
                await wakeup.wait(None)
            else:
                # Not for the whole time: the clock may run faster than the wall clock.
                await wakeup.wait(min(max(0.0, (due - own.environment.clock.now_ns()) / 1e9), LOOK_EVERY_S))

    def _ended(self, task: asyncio.Task[None]) -> None:
        own = self._own
        if own.awaited is not self:
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s ended with an exception", task.get_name(), exc_info=error)
        elif own.is_open and (task.cancelled() or own.is_async):
            # Not a warning: an event loop that ends cancels its running tasks.
            log.info("%s was cancelled before its subscription was closed; the subscription is paused", task.get_name())
        if own.is_open and (error is not None or task.cancelled() or own.is_async):
            # Its handlers are no longer awaited: its state must not be running, and it must not hold the writer.
            own.membership.pause()


async def _timed(membership: _native.Membership, call: AwaitedCall) -> None:
    """Await a call; its latency is the time until it is done, other tasks' turns included."""
    before = current_cause.set(Cause(*call.cause))
    started_ns = time.perf_counter_ns()
    try:
        refuse_generator(await call.awaitable)
    finally:
        current_cause.reset(before)
        membership.record_latency(time.perf_counter_ns() - started_ns)

"""Driver: moves one subscription on, by its own thread, by a task that awaits its handlers, or by the dispatcher.

Guarantees: everything it starts ends with ``close``; a thread that does not end is named in the log and left running.
Does not: import asyncio before something is awaited; that import takes half of the package's import time.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from headrace.dispatch.loop_wakeup import LoopWakeup
from headrace.limits import CLOSE_DEADLINE_S
from headrace.market.clock import Mode
from headrace.market.events import Cause, current_cause

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    import headrace._native as _native
    from headrace.dispatch.loop_wakeup import WakeupKind
    from headrace.dispatch.subscription import Subscription
    from headrace.market.clock import Clock

__all__ = ["Driver"]

# The longest wait of a task between two looks at the clock while a window is open.
LOOK_EVERY_S = 0.05

# Handler number, the awaitable, and the fields of its Cause.
_Call: TypeAlias = "tuple[int, Coroutine[Any, Any, object], tuple[str | None, str, int, int, int]]"

log = logging.getLogger(__name__)


class Driver:
    """One subscription with its driver: a thread, a task, or the dispatcher itself."""

    def __init__(
        self,
        subscription: Subscription,
        membership: _native.Membership,
        group: _native.DispatchGroup,
        *,
        clock: Clock,
        threaded: bool,
        is_async: bool,
        mode: Mode,
        wakeup: WakeupKind,
        owns_group: bool,
        is_pull: bool,
    ) -> None:
        self.subscription = subscription
        self._owns_group = owns_group
        self.membership = membership
        self.group = group
        self.is_async = is_async
        self.is_pull = is_pull
        self.is_open = True
        self._clock = clock
        self._threaded = threaded
        self._mode = mode
        self._wakeup_kind = wakeup
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop_wakeup: LoopWakeup | None = None

    def start(self) -> None:
        """Start its thread or its task, if it has one."""
        if self._mode is Mode.REPEAT:
            return
        if self._threaded:
            name = f"headrace-{self.subscription.name}"
            self._thread = threading.Thread(target=self._run_thread, name=name, daemon=True)
            self._thread.start()
        elif self.is_async and self._mode is Mode.LIVE:
            import asyncio  # see the module's header

            self._loop_wakeup = LoopWakeup(self.group, self._wakeup_kind)
            self._task = asyncio.get_running_loop().create_task(
                self._run_task(self._loop_wakeup), name=f"headrace-{self.subscription.name}"
            )
            self._task.add_done_callback(self._task_ended)

    def _run_thread(self) -> None:
        try:
            self.group.run_thread(self._clock.now_ns)
        except BaseException:
            log.exception("subscription %s ended with its handler's exception", self.subscription.name)
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
                await wakeup.wait(min(max(0.0, (due - self._clock.now_ns()) / 1e9), LOOK_EVERY_S))

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
        while self.is_open and (calls := self.group.step(self._clock.now_ns())):
            had_some = True
            await self.await_calls(calls)
        return had_some

    async def _timed(self, awaitable: Coroutine[Any, Any, object], cause: Cause) -> None:
        """Await a call; its latency is the time until it is done, other tasks' turns included."""
        before = current_cause.set(cause)
        started_ns = time.perf_counter_ns()
        try:
            await awaitable
        finally:
            current_cause.reset(before)
            self.membership.record_latency(time.perf_counter_ns() - started_ns)

    async def await_calls(self, calls: list[_Call]) -> None:
        """Await calls one after the other; end early when a fault ends the subscription's calls."""
        import asyncio  # see the module's header

        remaining = list(reversed(calls))
        try:
            while remaining:
                handler, awaitable, cause = remaining.pop()
                try:
                    await self._timed(awaitable, Cause(*cause))
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    may_go_on = self.group.report_fault(handler, error)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 - a strategy's sys.exit must not end the others
                    may_go_on = self.group.report_fault(handler, error)
                else:
                    continue
                if not may_go_on:
                    return
        finally:
            for _, awaitable, _ in remaining:
                awaitable.close()

    def close(self, deadline_s: float) -> None:
        """Close the subscription, and wait for its thread until ``deadline_s`` (monotonic)."""
        if not self.is_open:
            return
        self.is_open = False
        self.membership.close()
        if self._owns_group:
            self.group.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
            if self._thread.is_alive():
                log.error(
                    "subscription %s is still in its handler %.0f s after close: its thread is left running",
                    *(self.subscription.name, CLOSE_DEADLINE_S),
                )
        if self._loop_wakeup is not None:
            self._loop_wakeup.close()
        if self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

"""LaneTasks: the async half of the bus: one task per lane for async handlers, and the waits for room or idleness.

::

    held by an async handler ─▶ task of that lane: await it ─▶ release ─▶ drain goes on with the next event
    a plain handler returned an awaitable ─┘

Guarantees: nothing polls; each wait ends by the event that it waits for. A task lives only while its lane has something
to await, so none is left when the loop ends. A stray CancelledError is the handler's fault; the bus's own one passes.
Does not: call plain handlers; the native core does.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.bus.current_event import HANDLING, Handling, handling_in
from headrace.dispatch.slow_handlers import Watch
from headrace.errors import ClosedError, DeadlockError
from headrace.limits import DRAIN_RUNNING_S, SLICE_NS, SLOW_HANDLER_MS
from headrace.market.events import Lane
from headrace.market.running_loop import has_running_loop
from headrace.market.user_errors import is_requested_cancellation
from headrace.market.user_waits import bounded_s, ended

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Generator

    import headrace._native as _native
    from headrace.bus.subscription import BusSubscription
    from headrace.market.events import Event

__all__ = ["LaneTasks"]

log = logging.getLogger(__name__)
_LANES = tuple(Lane)


class _Held(NamedTuple):
    """An event that waits for its handler's task. awaitable : what a plain handler returned for it."""

    subscription: BusSubscription
    event: Event
    awaitable: Awaitable[object] | None


class LaneTasks:
    """The tasks and waits of one bus. is_watched : handlers that hold the loop are named in the log."""

    def __init__(self, bus: object, core: _native.BusCore, *, is_watched: bool) -> None:
        self._bus = bus
        self._is_watched = is_watched
        self._core = core
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._wake_other: Callable[[], None] | None = None
        self._context = contextvars.Context()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._held: dict[int, _Held] = {}
        self._at: dict[int, Handling] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._is_closed = False
        self._is_stopping = False
        self._watch: Watch | None = None
        # (number, name) of the async handler that has the loop now.
        self._step: tuple[int, str] | None = None
        self._steps = 0

    # Draining

    def start(self, wake: Callable[[], None] | None) -> None:
        """See ``EventBus.start``."""
        import asyncio  # 20 ms, spent only where a loop runs

        if self._is_closed:
            msg = "the bus was shut down: make a new one"
            raise ClosedError(msg)
        self._is_stopping = False
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._context = contextvars.copy_context()
        self._context.run(HANDLING.set, None)
        self._wake_other = wake
        if self._is_watched and self._watch is None:
            self._watch = Watch(SLOW_HANDLER_MS / 1e3, "blocks the event loop")
            self._watch.watched.append(self)
            self._watch.start()
        self._core.set_wakes(True)
        self._adopt()
        if self._core.has_ready():
            self.wake()

    def wake(self) -> None:
        """Schedule a drain, since an event can be handled; called in any thread."""
        if self._wake_other is None:
            self._call(self._turn)
            return
        self._wake_other()
        if self._waiters:
            self._call(self.look)

    def _call(self, function: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        call = loop.call_soon if threading.get_ident() == self._thread else loop.call_soon_threadsafe
        call(function, context=self._context)

    def _turn(self) -> None:
        if self._is_stopping:
            return
        try:
            self._core.drain(SLICE_NS)
        finally:
            if self._core.has_ready():
                self._call(self._turn)

    def _go_on(self) -> None:
        """Go on draining, after a lane was released."""
        if self._core.is_draining() or self._is_stopping:
            return
        if self._loop is not None and self._wake_other is None:
            self._turn()
        elif self._wake_other is not None:
            self._wake_other()
        self.look()

    # Async handlers

    def take(self, lane: int, subscription: BusSubscription, event: Event, awaitable: Awaitable[object] | None) -> None:
        """Schedule an async handler's call with an event. awaitable : what a plain handler returned for it."""
        self._held[lane] = _Held(subscription, event, awaitable)
        if self._is_stopping:
            return
        if has_running_loop():
            self._adopt()
        else:
            self._call(self._adopt)

    def _adopt(self) -> None:
        import asyncio  # 20 ms, spent only where a loop runs

        loop = asyncio.get_running_loop()
        for lane in self._held:
            # A task that a loop's end cancelled before it began has not removed itself.
            if lane not in self._tasks or self._tasks[lane].done():
                name = f"headrace-bus-{_LANES[lane]}"
                self._tasks[lane] = loop.create_task(self._run(lane), name=name, context=self._context.copy())

    async def _run(self, lane: int) -> None:
        try:
            while not self._is_stopping and (held := self._held.pop(lane, None)) is not None:
                # A subscription that was closed meanwhile gets no more events; a call that began is ended.
                begins = held.subscription.is_open or held.awaitable is not None
                error = await self._await(lane, held) if begins else None
                self._core.release(lane, error)
                if error is not None and is_requested_cancellation(error):
                    raise error
                self._go_on()
        finally:
            self._tasks.pop(lane, None)
            self.look()

    async def _await(self, lane: int, held: _Held) -> BaseException | None:
        subscription, event, awaitable = held
        handling = self._at[lane] = Handling(self._bus, event, subscription.name)
        token = HANDLING.set(handling)
        try:
            if awaitable is None:
                assert subscription.awaited is not None
                awaitable = subscription.awaited(event)
            await _Steps(self, subscription.name, awaitable)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a handler's sys.exit must not end the others
            return error
        else:
            return None
        finally:
            handling.is_over = True
            HANDLING.reset(token)
            del self._at[lane]

    def running(self) -> tuple[int, str] | None:
        """Return the number and name of the handler that holds the loop now, for the watch."""
        return self._core.running() or self._step

    def enter(self, name: str) -> None:
        """Note that an async handler holds the loop, until ``leave``."""
        self._steps -= 1
        self._step = (self._steps, name)

    def leave(self) -> None:
        """Note that the handler awaits something, or is done."""
        self._step = None

    def _where(self, lane: int) -> str:
        handling = self._at.get(lane)
        return f"the {_LANES[lane]} lane" if handling is None else f"{handling.name}, a handler of {handling.event}"

    def release(self, lane: Lane, error: BaseException | None) -> None:
        """Release the event of a consumer's body that has ended."""
        self._core.release(_LANES.index(lane), error)
        self._go_on()

    # Waiting

    def look(self) -> None:
        """Wake all waiting tasks, so that each checks its condition again."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
        self._core.set_watched(False)

    async def _wait(self, timeout_s: float) -> None:
        import asyncio  # 20 ms, spent only where a loop runs

        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._core.set_watched(True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await waiter

    async def wait_for_room(self, lane: int, timeout_s: float) -> None:
        """Wait until a lane has room for an event from outside handlers, or the time is over."""
        end_s = time.monotonic() + timeout_s
        while not self._core.has_room(lane) and (left_s := end_s - time.monotonic()) > 0:
            await self._wait(left_s)

    async def wait_until_idle(self, timeout_s: float) -> None:
        """See ``EventBus.wait_until_idle``."""
        import asyncio  # 20 ms, spent only where a loop runs

        own = handling_in(self._bus)
        if own is not None:
            msg = f"{own.name} waits for an idle bus while it handles {_named(own.event)}: it waits for itself"
            raise DeadlockError(msg, holder=own.name, event=_named(own.event), waited_s=0.0)
        if self._is_closed and self._core.is_idle():
            return
        started_s = time.monotonic()
        was_started = self._loop is not None and not self._loop.is_closed()
        if not was_started:
            self.start(None)
        try:
            while True:
                self._core.drain(SLICE_NS)
                if self._core.is_idle():
                    return
                left_s = started_s + timeout_s - time.monotonic()
                if left_s <= 0:
                    raise self._deadlock(time.monotonic() - started_s)
                if self._core.has_ready():
                    await asyncio.sleep(0)
                else:
                    await self._wait(left_s)
        finally:
            if not was_started:
                self._core.set_wakes(False)
                self._loop = None

    def _deadlock(self, waited_s: float) -> DeadlockError:
        for handler, lane, number, event, _ in self._core.held():
            what = f"{type(event).__name__} {number} of the {_LANES[lane]} lane"
            owner: BusSubscription = handler.owner
            handling = self._at.get(lane) if owner.consumer is None else owner.consumer.handling(_LANES[lane])
            if handling is None and owner.consumer is None:
                why = "could not begin: the event loop has not had a turn"
            elif handling is None:
                why = "has not taken it: no task is in its consume()"
            elif handling.waits_for is not None:
                why = f"waits for {handling.waits_for}, which cannot come before it is done"
            else:
                why = "is still handling it"
            msg = f"the bus is not idle after {waited_s:.3f} s: {owner.name} holds {what}, and {why}"
            return DeadlockError(msg, holder=owner.name, event=what, waited_s=waited_s)
        left = self._core.unfinished()
        msg = (
            f"the bus is not idle after {waited_s:.3f} s: {left} events wait, and their handlers go on publishing more"
        )
        return DeadlockError(msg, holder="", event="", waited_s=waited_s)

    # The end

    async def stop(self) -> None:
        """See ``EventBus.stop``."""
        import asyncio  # 20 ms, spent only where a loop runs

        self._is_stopping = True
        self._core.set_wakes(False)
        own = asyncio.current_task()
        running = [task for task in self._tasks.values() if task is not own]
        if running:
            await asyncio.wait(running, timeout=bounded_s(DRAIN_RUNNING_S))
            await ended({task: partial(self._where, lane) for lane, task in self._tasks.items() if task is not own})
        self._loop = self._wake_other = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    async def shutdown(self, timeout_s: float) -> None:
        """See ``EventBus.shutdown``."""
        if self._is_closed:
            return
        try:
            await self.wait_until_idle(timeout_s)
        except DeadlockError as error:
            log.warning("the bus was not drained: %s", error)
        await self.stop()
        self._is_closed = True
        self._core.close()
        self.look()


class _Steps:
    """Awaits an awaitable step by step, so that the watch can name a step that holds up the loop."""

    __slots__ = ("_awaitable", "_name", "_tasks")

    def __init__(self, tasks: LaneTasks, name: str, awaitable: Awaitable[object]) -> None:
        self._tasks = tasks
        self._name = name
        self._awaitable = awaitable

    def __await__(self) -> Generator[object, Any, None]:
        steps = self._awaitable.__await__()
        go_on = partial(next, steps)
        while True:
            self._tasks.enter(self._name)
            try:
                wanted = go_on()
            except StopIteration:
                return
            finally:
                self._tasks.leave()
            try:
                go_on = partial(steps.send, (yield wanted))
            except BaseException as error:  # noqa: BLE001 - every exception goes into the handler
                go_on = partial(steps.throw, error)


def _named(event: Event) -> str:
    return type(event).__name__

"""User waits: the one wait on a coroutine of a user's object, which may not return and may refuse to be cancelled.

::

    returned(coroutine, "Mine.close of feed mine") ─▶ a task ─┬▶ it returns or raises: so does the wait
                   its time is over, or the wait is cancelled └▶ cancel it ─▶ half a second ─▶ leave it: named, reported

Guarantees: a wait ends half a second after its time, or after its cancellation, whatever the coroutine does with its
own; all waits of a forced end share half a second. A task that was left keeps no event loop from ending.
Does not: end code that holds the loop (``engine.interrupts``), or name what a coroutine raised (``user_errors``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from headrace.limits import DRAIN_RUNNING_S, END_TURNS_MIN, FORCE_S, FORCE_STEP_S

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator, Mapping

__all__ = ["UserWaits", "begun", "bounded_s", "ended", "leave_behind", "result_of", "returned", "started"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")
# The name of what is waited for, or what returns it at the time when it is needed.
# What a coroutine returned, and what it raised.
Outcome: TypeAlias = "tuple[object, BaseException | None]"
Where: TypeAlias = "str | Callable[[], str]"


class UserWaits:
    """The waits of one run. left : what did not return within its time, by object and method."""

    def __init__(self) -> None:
        self.left: list[str] = []
        # Tasks that run a user's code, until they are done.
        self._tasks: dict[asyncio.Task[Any], Where] = {}
        # Kept: a coroutine that is thrown away is closed, in the middle of whatever runs then.
        self._left_tasks: list[asyncio.Task[Any]] = []
        self._forced_s: float | None = None

    @contextmanager
    def of_this_run(self) -> Iterator[None]:
        """Collect here what is waited for inside, and in the tasks that are made inside."""
        token = _waits.set(self)
        try:
            yield
        finally:
            _waits.reset(token)

    def force(self) -> None:
        """From now on all waits together have FORCE_S. May be called from any thread."""
        if self._forced_s is None:
            self._forced_s = time.monotonic() + FORCE_S

    def within_s(self, wanted_s: float) -> float:
        """Return how long a step may take: as long as wanted, or what a forced end has left."""
        if self._forced_s is None:
            return wanted_s
        return min(wanted_s, max(FORCE_STEP_S, self._forced_s - time.monotonic()))

    @property
    def is_forced(self) -> bool:
        """Whether the run ends by force."""
        return self._forced_s is not None

    def add(self, task: asyncio.Task[Any], where: Where) -> None:
        """Have ``end_all`` end a task."""
        self._tasks[task] = where
        task.add_done_callback(lambda _: self._tasks.pop(task, None))

    async def end_all(self) -> None:
        """Cancel what still runs of the run's tasks, and leave what does not end."""
        await self.end(dict(self._tasks))

    async def end(self, tasks: dict[asyncio.Task[Any], Where], more_s: float = 0.0) -> None:
        """Cancel tasks; those that do not end within their time are left and named.

        However busy the loop is, they have END_TURNS_MIN of its turns: a group of tasks that ends well needs ten.
        """
        import asyncio  # It takes 20 ms, and whatever has a task has imported it.

        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self.within_s(DRAIN_RUNNING_S) + more_s)
            for _ in range(END_TURNS_MIN):
                if all(task.done() for task in tasks):
                    break
                await asyncio.sleep(0)
        finally:
            for task, where in tasks.items():
                if not task.done():
                    self.leave(task, _text(where))

    def leave(self, task: asyncio.Task[Any], where: str) -> None:
        """Wait no longer for a task, and name it."""
        import asyncio  # as above

        self._tasks.pop(task, None)
        self._left_tasks.append(task)
        self.name(where)
        # The end of an event loop waits for every task that asyncio knows, and reports those that never ended.
        asyncio._unregister_task(task)  # noqa: SLF001 - documented for makers of tasks
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it is reported above

    def name(self, where: str) -> None:
        """Name what is left behind."""
        self.left.append(where)
        log.error("%s did not end in its time: it is left behind", where)


_waits: ContextVar[UserWaits] = ContextVar("headrace_user_waits")


def _current() -> UserWaits:
    return _waits.get(None) or UserWaits()


def bounded_s(wanted_s: float) -> float:
    """Return how long a step may take: as long as wanted, or what a forced end has left."""
    return _current().within_s(wanted_s)


async def returned(
    call: Awaitable[Result], where: Where, within_s: float | None = None, *, more_s: float = 0.0
) -> Result:
    """Await a user's coroutine, and return or raise what it does.

    within_s : None: as long as it takes, until it is cancelled. more_s : how much longer than others it may take to
        end; it waits for others itself.
    Raises TimeoutError: it did not return in time, and was cancelled.
    """
    import asyncio  # as above

    own = _current()
    task = begun(call)
    limit_s = None if within_s is None else own.within_s(within_s)
    try:
        await asyncio.wait({task}, timeout=limit_s)
    finally:
        # Cancelled, or too late.
        is_late = not task.done()
        if is_late:
            await own.end({task: where}, more_s)
    if is_late:
        msg = f"{_text(where)} did not return within {limit_s:.1f} s"
        raise TimeoutError(msg)
    return cast("Result", result_of(task))


def begun(call: Awaitable[Result]) -> asyncio.Task[Outcome]:
    """Run a user's coroutine in a task, which ends with an outcome for ``result_of`` whatever is raised."""
    import asyncio  # as above

    task = asyncio.ensure_future(_outcome(call))
    if isinstance(call, Coroutine):
        # One that was cancelled before its first step was never awaited, which Python would report.
        task.add_done_callback(lambda _: call.close())
    return task


def result_of(task: asyncio.Task[Outcome]) -> Any:
    """Return or raise what a coroutine did that was ``begun``."""
    result, error = task.result()
    if error is not None:
        raise error
    return result


async def ended(tasks: Mapping[asyncio.Task[Any], Where]) -> None:
    """Cancel tasks that run a user's code, and return when each has ended or was left."""
    await _current().end({task: where for task, where in tasks.items() if not task.done()})


def started(task: asyncio.Task[Any], where: Where) -> None:
    """Have the end of the run end a task that runs a user's code."""
    own = _waits.get(None)
    if own is not None:
        own.add(task, where)


def leave_behind(where: str) -> None:
    """Name what is left behind: in the log, and in the run's report."""
    _current().name(where)


def _text(where: Where) -> str:
    return where if isinstance(where, str) else where()


async def _outcome(call: Awaitable[object]) -> Outcome:
    try:
        return await call, None
    except BaseException as error:  # noqa: BLE001 - raised by the one that waits: a task's exit ends its event loop
        return None, error

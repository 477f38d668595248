"""Event loop: an engine's own one, which ends whatever a user's code left in it.

Guarantees: tasks, asynchronous generators and threads that do not end within half a second are named and left behind;
``asyncio.run`` would wait for them without a limit.
Does not: end the process; at its exit, Python itself waits for the threads of ``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.errors import EngineError
from headrace.limits import DRAIN_RUNNING_S

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headrace.market.user_waits import UserWaits

__all__ = ["run_in_loop"]

Result = TypeVar("Result")


def run_in_loop(work: Coroutine[Any, Any, Result], waits: UserWaits) -> Result:
    """Run a coroutine in a new event loop, and end the loop. waits : of the run, for what does not end.

    Raises what the coroutine raises, also where it ends behind a loop that was stopped under it.
    """
    broken: list[RuntimeError] = []
    named: list[EngineError] = []

    async def kept() -> Result:
        try:
            return await work
        except EngineError as error:
            if not broken:
                raise
            named.append(error)
            # Nothing waits for this task any more, and a cancelled one is not reported.
            raise asyncio.CancelledError from error

    try:
        return _run_in_loop(kept(), waits, broken)
    except RuntimeError as error:
        if named:
            raise named[0] from None
        if str(error).startswith("Event loop stopped"):
            msg = "a thread, or a callback of the event loop, stopped the loop of the engine; engine.stop() ends it"
            raise EngineError(msg) from error
        raise


def _run_in_loop(work: Coroutine[Any, Any, Result], waits: UserWaits, broken: list[RuntimeError]) -> Result:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        prefix = f"headrace-to-thread-{id(loop):x}"
        threads = ThreadPoolExecutor(thread_name_prefix=prefix)
        loop.set_default_executor(threads)
        try:
            return runner.run(work)
        except RuntimeError as error:
            # Perhaps of the loop, which was stopped.
            broken.append(error)
            raise
        finally:
            runner.run(_end_tasks(waits))
            threads.shutdown(wait=False, cancel_futures=True)
            _end_threads(prefix, waits)
            # The runner would wait for its threads again.
            loop.set_default_executor(ThreadPoolExecutor(1))


async def _end_tasks(waits: UserWaits) -> None:
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    # The run itself is among them when an interrupt broke the loop off: it ends its own tasks first.
    more_s = DRAIN_RUNNING_S
    await waits.end({task: f"task {task.get_name()}" for task in asyncio.all_tasks() if task is not own}, more_s)
    generators = asyncio.create_task(loop.shutdown_asyncgens())
    await asyncio.wait({generators}, timeout=waits.within_s(DRAIN_RUNNING_S))
    if not generators.done():
        await waits.end({generators: "an asynchronous generator"})


def _end_threads(prefix: str, waits: UserWaits) -> None:
    until_s = time.monotonic() + waits.within_s(DRAIN_RUNNING_S)
    for thread in threading.enumerate():
        if thread.name.startswith(prefix):
            thread.join(max(0.0, until_s - time.monotonic()))
            if thread.is_alive():
                waits.name(f"{_called_in(thread)}, called by asyncio.to_thread,")


def _called_in(thread: threading.Thread) -> str:
    """Return the function that a thread was made for, and where it is."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the one look at another thread
    while frame is not None and frame.f_back is not None and "concurrent" not in frame.f_back.f_code.co_filename:
        frame = frame.f_back
    return thread.name if frame is None else f"{frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"

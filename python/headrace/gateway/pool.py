"""A bounded pool for work that blocks, such as parsing a large answer.

::

    await pool.run(parse, body) ─▶ waits for room ─▶ a thread ─▶ the result, or what it raised

Guarantees: at most ``queue_max`` pieces of work wait or run; a further call waits for room; ``depth`` says how many.
Does not: cancel what runs; a thread ends by itself.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from headrace.market.checks import whole

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WorkPool"]

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class WorkPool:
    """Threads and the work that waits for them. workers : threads. queue_max : work that may wait or run."""

    def __init__(self, *, workers: int = 2, queue_max: int = 64) -> None:
        self._room = asyncio.Semaphore(whole("queue_max", queue_max, 1, 1 << 20, "pieces of work"))
        self._threads = ThreadPoolExecutor(whole("workers", workers, 1, 64, "threads"), "headrace-work")
        self._depth = self._done = 0

    @property
    def depth(self) -> int:
        """How many pieces of work wait or run."""
        return self._depth

    async def run(
        self, work: Callable[Arguments, Result], *values: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """Return what the work returns, or raise what it raises."""
        async with self._room:
            self._depth += 1
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, lambda: work(*values, **named))
            finally:
                self._depth -= 1
                self._done += 1

    def metrics(self) -> dict[str, float]:
        """Return its numbers by name."""
        return {"depth": self._depth, "done": self._done}

    def close(self) -> None:
        """Let the threads end; may be called twice."""
        self._threads.shutdown(wait=False, cancel_futures=True)

"""Ahead: blocks of a blocking iterator, read by a worker thread, a bounded number ahead.

::

    worker: next(blocks) ─▶ at most ``blocks_ahead`` ─▶ await ahead.next()

Guarantees: the event loop runs while a block is read; memory is bounded by ``blocks_ahead``; an error is raised behind
every block before it.
Does not: know what a block is.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Reads an iterator in a thread of its own. blocks : used by that thread alone. thread : its name."""

    def __init__(self, blocks: Iterator[T], thread: str, *, blocks_ahead: int = 1) -> None:
        self._blocks = blocks
        self._blocks_ahead = blocks_ahead
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=thread)
        self._waiting: deque[Future[T | None]] = deque()
        self._is_closed = False

    async def next(self) -> T | None:
        """Return the next block; None at the end. Raises what the iterator raises."""
        import asyncio  # 20 ms, spent only where a loop runs

        # One more than ahead: the one that is waited for.
        while len(self._waiting) <= self._blocks_ahead and not self._is_closed:
            self._waiting.append(self._worker.submit(next, self._blocks, None))
        if not self._waiting:
            return None
        return await asyncio.wrap_future(self._waiting.popleft())

    async def close(self) -> None:
        """Drop what was read ahead, end the thread, and close the iterator. May be called twice."""
        import asyncio

        self._is_closed = True
        self._waiting.clear()
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()

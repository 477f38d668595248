"""Cancellation: a library's call that ends as it likes when its task is cancelled, and the task that ends all the same.

::

    await heeded(session.get(…))        cancelled meanwhile, and it returns, or raises something else ─▶ CancelledError

What happens without it
    A client that connects to several addresses at once may take the cancellation of its caller for that of an attempt
    that lost. A task that goes on then never ends: its group waits for it.

Guarantees: a task that was cancelled during a call does not go on behind it.
Does not: end a call sooner than it ends by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["heeded"]

Result = TypeVar("Result")


async def heeded(call: Awaitable[Result]) -> Result:
    """Return what a call returns, or raise what it raises; CancelledError where the task was cancelled meanwhile."""
    task = asyncio.current_task()
    assert task is not None  # A coroutine runs in one.
    before = task.cancelling()
    try:
        return await call
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError

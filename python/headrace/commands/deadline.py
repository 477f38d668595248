"""Deadline: the one limit of a command, from its submission to its Ack.

What happens at the deadline
    The submitter's task is cancelled where it waits: behind a target, for a handler, in a middleware; that part then
    answers. ``asyncio.timeout`` cancels once: of two layers that hang, one around the other, the outer one would go on.
    This cancels again every COMMAND_CANCEL_S, until the command is answered.

Guarantees: the task's count of cancellations is what it was before, so that those of others stay visible.
Does not: stop code that never awaits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.limits import COMMAND_CANCEL_S

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """Limits the current task, from now until ``close``.

    on_over : called instead of the cancellation. is_over : the time is over, and the task was cancelled for it.
    """

    __slots__ = ("_again", "_before", "_fired", "_task", "_timer", "is_over")

    def __init__(self, timeout_s: float, on_over: Callable[[], object] | None = None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._fired = 0
        self._timer = asyncio.get_running_loop().call_later(timeout_s, on_over or self._expire)
        self._again: asyncio.TimerHandle | None = None
        self.is_over = False

    def _expire(self) -> None:
        self.is_over = True
        self.hurry()

    def hurry(self) -> None:
        """Cancel what the task waits for, and again every COMMAND_CANCEL_S."""
        self._fired += 1
        self._task.cancel()
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(COMMAND_CANCEL_S, self.hurry)

    def close(self) -> bool:
        """Watch no longer. Returns whether the task was meanwhile cancelled by others."""
        self._timer.cancel()
        if self._again is not None:
            self._again.cancel()
        for _ in range(self._fired):
            self._task.uncancel()
        return self._task.cancelling() > self._before

"""Deadline: the one limit of a command, from its submission to its Ack.

What happens at the deadline
    While a handler call has the command, that call answers it. Before and after, the submitter's task is in a
    middleware, and is cancelled there. ``asyncio.timeout`` cancels once: of two layers that hang, one around the other,
    the outer one would go on. This cancels again every COMMAND_CANCEL_S, until the command is answered.

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

    instead : called when the time is over, and nothing else happens then; a replay names what is slow. expire : where
    it is set, it is called at the deadline and no task is cancelled, until ``take_back``. is_over : its time.
    """

    __slots__ = ("_again", "_before", "_fired", "_is_closed", "_task", "_timer", "expire", "is_over")

    def __init__(self, timeout_s: float, instead: Callable[[], object] | None = None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._fired = 0
        self._timer = asyncio.get_running_loop().call_later(timeout_s, instead or self._end)
        self._again: asyncio.TimerHandle | None = None
        self.expire: Callable[[], None] | None = None
        self._is_closed = False
        self.is_over = False

    def take_back(self) -> None:
        """Limit the task again; end when it is gone, and did not wait for what had the deadline."""
        self.expire = None
        if self._is_closed:
            self._timer.cancel()
        elif self.is_over:
            self._repeat()

    def _end(self) -> None:
        self.is_over = True
        if self.expire is not None:
            self.expire()
        else:
            self.hurry()

    def hurry(self) -> None:
        """Cancel what the task waits for, and again every COMMAND_CANCEL_S."""
        self._fired += 1
        self._task.cancel()
        self._repeat()

    def _repeat(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(COMMAND_CANCEL_S, self.hurry)

    def close(self) -> bool:
        """Limit the task no longer. Returns whether it was meanwhile cancelled by others."""
        self._is_closed = True
        if self.expire is None:
            self._timer.cancel()
        if self._again is not None:
            self._again.cancel()
        for _ in range(self._fired):
            self._task.uncancel()
        return self._task.cancelling() > self._before

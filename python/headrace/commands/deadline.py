"""Deadline: cancels the task of a submission when its time is over, and again until it has answered.

Guarantees: the task's count of cancellations is what it was before, so one of somebody else's stays visible.
Does not: stop code that never awaits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.limits import COMMAND_CANCEL_S

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Deadline"]


class Deadline:
    """``with Deadline(when): …``; ``when`` by the loop's time, None: only when it is hurried."""

    __slots__ = ("_fired", "_task", "_timer", "_when")

    def __init__(self, when: float | None) -> None:
        self._when = when
        self._fired = 0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._when is not None:
            self._timer = asyncio.get_running_loop().call_at(self._when, self.hurry)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            for _ in range(self._fired):
                self._task.uncancel()

    def hurry(self) -> None:
        """Cancel what the task waits for, and again after COMMAND_CANCEL_S."""
        assert self._task is not None
        self._fired += 1
        self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(COMMAND_CANCEL_S, self.hurry)

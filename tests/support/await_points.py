"""Await points: where tasks of a run are suspended, and a cancellation exactly there.

::

    task ─▶ coroutine ─▶ awaits a future      place = "line.py:140 connection.py:62", the lines that are watched
                                   ├─ "waiting": the task is cancelled while the future is open
                                   └─ "done":    … when the future is done, and the task has not gone on yet
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any


class AwaitPoints:
    """A task factory that notes where tasks are suspended, and cancels one of them there.

    folder : whose files are watched. at : the place of the cancellation, None for none. when : "waiting" or "done".
    """

    def __init__(self, folder: Path, *, at: str | None = None, when: str = "waiting") -> None:
        self._folder = str(folder)
        self._at = at
        self._when = when
        self.seen: dict[str, int] = {}
        self.cancelled: asyncio.Task[Any] | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Return a task, as a loop's task factory does."""
        return asyncio.Task(_Watched(coroutine, self.note), loop=loop, **options)

    def note(self, coroutine: Any, future: Any) -> None:
        """Note a suspension, and cancel the task if this is the place."""
        place = self._place_of(coroutine)
        if place is None:
            return
        self.seen[place] = self.seen.get(place, 0) + 1
        if place != self._at or self.cancelled is not None:
            return
        task = asyncio.current_task()
        assert task is not None
        if self._when == "waiting":
            self.cancel(task)
        elif future is not None:
            # Added before the task's own: it is called in front of the step in which the task goes on.
            future.add_done_callback(lambda _: self.cancel(task))

    def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel the task of the place, once."""
        if self.cancelled is None:
            self.cancelled = task
            task.cancel()

    def _place_of(self, coroutine: Any) -> str | None:
        """Return the lines at which the coroutines stand that await each other, from the task's own on."""
        lines = []
        while coroutine is not None:
            frame = getattr(coroutine, "cr_frame", None)
            if frame is not None and frame.f_code.co_filename.startswith(self._folder):
                lines.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            coroutine = getattr(coroutine, "cr_await", None)
        return " ".join(lines) or None


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose suspensions are noted."""

    def __init__(self, coroutine: Any, note: Any) -> None:
        self._coroutine = coroutine
        self._note = note

    def send(self, value: Any) -> Any:
        return self._noted(self._coroutine.send(value))

    def throw(self, *error: Any) -> Any:
        return self._noted(self._coroutine.throw(*error))

    def _noted(self, future: Any) -> Any:
        self._note(self._coroutine, future)
        return future

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()

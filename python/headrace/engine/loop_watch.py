"""Loop watch: names a user's call that cancels the tasks of a running engine, or stops its event loop.

::

    handler ─▶ for task in asyncio.all_tasks(): task.cancel() ─▶ the watch's own task ─▶ where it was called from
    handler ─▶ asyncio.get_running_loop().stop()              ─▶ the loop's ``stop``  ─▶      EngineError

Guarantees: only a call from inside of an engine is named; a program that cancels or stops what it started itself gets
asyncio's own answer.
Does not: prevent it, or watch a loop of another make than asyncio's.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

__all__ = ["LoopWatch"]

PACKAGE = Path(__file__).parents[1]
# What is no user's code, and calls it.
ENGINE = str(PACKAGE)
LIBRARY = str(Path(asyncio.__file__).parent)
GUESTS = str(PACKAGE / "examples")


class LoopWatch:
    """While inside, notes which handler cancels or stops what an engine runs in. Raises EngineError, which names it."""

    def __init__(self) -> None:
        self._problem = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._task = _Watched(asyncio.Event().wait(), loop=loop, name="headrace-watch")
        self._task.on_cancel = lambda: self._note("cancelled the tasks of the engine: cancel those that you made")
        self._stop: Callable[[], None] = loop.stop
        self._loop = loop
        with suppress(AttributeError):  # A loop that is no Python object.
            loop.stop = self._stopping  # type: ignore[method-assign]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.on_cancel = None
        self._task.cancel()
        with suppress(AttributeError):
            del self._loop.stop
        if error is not None and self._problem:
            raise EngineError(self._problem) from error

    def _stopping(self) -> None:
        self._note("stopped the event loop of the engine")
        self._stop()

    def _note(self, what: str) -> None:
        place = _handler_of(inspect.currentframe())
        if place and not self._problem:
            self._problem = f"{place} {what}; engine.stop(), or the command Drain, ends an engine in order"


class _Watched(asyncio.Task[Any]):
    """A task that does nothing, and says that it is cancelled."""

    on_cancel: Callable[[], None] | None = None

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the task."""
        if self.on_cancel is not None:
            self.on_cancel()
        return super().cancel(msg)


def _handler_of(frame: FrameType | None) -> str:
    """Return the user's function that an engine called and that goes on with this frame; empty: no engine called it."""
    called: FrameType | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((ENGINE, LIBRARY)) or file.startswith(GUESTS):
            called = called or frame
        elif called is not None and file.startswith(ENGINE):
            return f"{called.f_code.co_qualname} ({called.f_code.co_filename}:{called.f_lineno})"
        frame = frame.f_back
    return ""

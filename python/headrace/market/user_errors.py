"""User errors: what an exception out of a user's object becomes, so that it names the object.

Guarantees: an Exception keeps its type, and gets a note; what asyncio or the engine would take for something else is
replaced: a BaseException, a group, the end of an iteration, a cancellation that was not requested.
Does not: change an interrupt, or a cancellation that was requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from headrace.errors import EngineError
from headrace.market.running_loop import has_running_loop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["called", "is_requested", "is_requested_cancellation", "problem_of"]

Result = TypeVar("Result")

# A coroutine or a task group would make something else of them.
MISTAKEN = (BaseExceptionGroup, StopIteration, StopAsyncIteration)


def is_requested_cancellation(error: BaseException) -> bool:
    """Return whether an exception is a cancellation of the current task that was requested."""
    if not has_running_loop():
        return False
    import asyncio  # A loop runs, so it is imported already.

    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_requested(error: BaseException) -> bool:
    """Return whether an exception is an interrupt, a requested cancellation of the current task, or its loop's end."""
    if isinstance(error, GeneratorExit):
        # A coroutine is closed when its loop has ended; inside of a loop it is the user's own.
        return not has_running_loop()
    return isinstance(error, KeyboardInterrupt) or is_requested_cancellation(error)


def problem_of(error: BaseException, where: str) -> str | None:
    """Return the message of the error that replaces this one; None: it may propagate, with a note on where."""
    if is_requested(error):
        return None
    if isinstance(error, Exception) and not isinstance(error, MISTAKEN):
        error.add_note(where)
        return None
    return f"{type(error).__name__} {where}: {error}"


def called(call: Callable[..., Result], where: str, *arguments: object) -> Result:
    """Call a user's function, and name it in what it raises. Raises EngineError for what is replaced."""
    try:
        return call(*arguments)
    except BaseException as error:
        if problem := problem_of(error, f"in {where}"):
            raise EngineError(problem) from error
        raise

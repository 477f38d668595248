"""User errors: what an exception out of a user's object becomes, so that it names the object.

Guarantees: an Exception keeps its type, and gets a note; what asyncio or the engine would take for something else is
replaced: a BaseException, a group, the end of an iteration, a cancellation that was not requested.
Does not: change an interrupt, or a cancellation that was requested.
"""

from __future__ import annotations

from headrace.market.running_loop import has_running_loop

__all__ = ["is_requested", "is_requested_cancellation", "problem_of"]

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
    """Return whether an exception is an interrupt, or a cancellation of the current task that was requested."""
    return isinstance(error, KeyboardInterrupt) or is_requested_cancellation(error)


def problem_of(error: BaseException, where: str) -> str | None:
    """Return the message of the error that replaces this one; None: it may propagate, with a note on where."""
    if is_requested(error):
        return None
    if isinstance(error, Exception) and not isinstance(error, MISTAKEN):
        error.add_note(where)
        return None
    return f"{type(error).__name__} {where}: {error}"

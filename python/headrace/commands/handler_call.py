"""HandlerCall: one command at its handler: called once, answered once, given up when its time is over.

What happens when a handler takes too long
    At the command's deadline it is answered "failed: timeout, outcome unknown", and its handler is cancelled. One that
    has not ended COMMAND_CANCEL_S later is named in the log, counted as abandoned, and left behind.

Guarantees: exactly one outcome, whatever the handler raises or returns; a cancelled submitter stops no command.
Does not: decide when it is the command's turn; that is ``TargetQueues``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING

from headrace.commands.ack import UNKNOWN_OUTCOME, Outcome
from headrace.commands.submission import CURRENT
from headrace.dispatch.faults import error_text
from headrace.limits import COMMAND_CANCEL_S
from headrace.market.user_waits import started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.commands.submission import Submission
    from headrace.commands.table import Handler

__all__ = ["HandlerCall"]

log = logging.getLogger("headrace.commands")


class HandlerCall:
    """One command and its handler.

    on_over : called when the handler has ended, and when it is left behind. outcome : of the command; None: it has none
    yet. has_ended : its handler. has_target, has_worker : what it holds of the queues.
    """

    __slots__ = (
        *("call", "handler", "has_ended", "has_target", "has_worker", "outcome", "task", "was_abandoned"),
        *("_grace", "_on_over", "_waiter"),
    )

    def __init__(self, call: Submission, handler: Handler, *, on_over: Callable[[HandlerCall], None]) -> None:
        self.call = call
        self.handler = handler
        self.outcome: Outcome | None = None
        self.task: asyncio.Task[None] | None = None
        self.has_ended = False
        self.has_target = False
        self.has_worker = False
        self.was_abandoned = False
        self._on_over = on_over
        self._waiter: asyncio.Future[None] | None = None
        self._grace: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Return when something has happened to it; the submitter's task waits here, whatever cancels it."""
        self._waiter = asyncio.get_running_loop().create_future()
        # The bus passes a cancellation on after the answer.
        with contextlib.suppress(asyncio.CancelledError):
            await self._waiter

    def wake(self) -> None:
        """End the submitter's wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def answer(self, outcome: Outcome) -> None:
        """Give the command its outcome; the first one counts."""
        if self.outcome is None:
            self.outcome = outcome
            call = self.call
            if call.started_ns is not None:
                call.ended_ns = call.context.stopwatch_ns()
                # A chain of handlers that each leave a task behind must not grow for ever.
                call.above = None
            self.wake()

    def expire(self) -> None:
        """Answer it: its time is over."""
        if self.call.started_ns is not None:
            self.give_up(f"timeout, {UNKNOWN_OUTCOME}")
        else:
            seconds = f"{self.call.timeout_s:g} s"
            self.answer(Outcome("failed", f"timeout after {seconds} behind other commands: it was not run"))

    def start(self) -> None:
        """Call the handler: a plain one in one go, an async one in a task of its own."""
        call = self.call
        call.started_ns = call.context.stopwatch_ns()
        context = contextvars.copy_context()
        context.run(CURRENT.set, call)
        try:
            result: object = context.run(self.handler, call.command)
            if inspect.isawaitable(result):
                name = f"headrace command {call.command_id} {call.action}"
                self.task = asyncio.get_running_loop().create_task(self._finish(result), name=name, context=context)
                # A task that was cancelled before its first step has never run its own clean-up.
                self.task.add_done_callback(partial(self._clean_up, result))
                started(self.task, f"the handler of command {call.action}")
                return
        except BaseException as error:  # noqa: BLE001 - sys.exit and a panic are the handler's failure, not our end
            result = self._failure(error)
        self._end(result)

    async def _finish(self, awaitable: Awaitable[object]) -> None:
        try:
            result = await awaitable
        except asyncio.CancelledError:
            result = Outcome("failed", f"its handler was cancelled, {UNKNOWN_OUTCOME}")
        except BaseException as error:  # noqa: BLE001 - as in start
            result = self._failure(error)
        self._end(result)

    def _clean_up(self, awaitable: Awaitable[object], task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # An interrupt, which has left the loop already: it needs no other report.
        if not self.has_ended:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            self._end(Outcome("failed", "its handler was cancelled before it began: it was not run"))

    def _failure(self, error: BaseException) -> Outcome:
        """Return the outcome of a handler that raised; an interrupt goes on after it."""
        outcome = Outcome("failed", f"its handler raised {error_text(error)}, {UNKNOWN_OUTCOME}")
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            self._end(outcome)
            raise error
        log.error("the handler of command %r failed", self.call.action, exc_info=error)
        return outcome

    def _end(self, result: object) -> None:
        """Its handler has ended with an outcome; anything else that it returns is its failure."""
        self.has_ended = True
        if not isinstance(result, Outcome):
            result = Outcome("failed", f"its handler returned {result!r:.200}, {UNKNOWN_OUTCOME}: return an Outcome")
        self.answer(result)
        if self._grace is not None:
            self._grace.cancel()
        if self.was_abandoned:
            log.warning("the handler of command %r that was left behind has ended", self.call.action)
        self._on_over(self)

    def give_up(self, reason: str) -> None:
        """Answer a command whose handler goes on, and cancel the handler."""
        if self.outcome is not None:
            return
        log.error("command %r to %s: %s", self.call.action, self.call.target, reason)
        self.answer(Outcome("failed", reason))
        if self.task is not None:
            self.task.cancel()
            self._grace = asyncio.get_running_loop().call_later(COMMAND_CANCEL_S, self.abandon)

    def abandon(self) -> None:
        """Leave the handler behind: nothing waits for it any more."""
        if not self.was_abandoned:
            self.was_abandoned = True
            log.error("the handler of command %r would not be cancelled and is left behind", self.call.action)
            self._on_over(self)

"""TargetQueues: calls the handlers of commands, in order for each target, a few at a time.

::

    run ─▶ its target is busy? wait behind it ─▶ no worker is free? wait ─▶ handler ─▶ Outcome
             └ urgent: neither; at once

What happens when a handler takes too long
    At the command's deadline it is answered "failed: timeout, outcome unknown", its worker is free again and its
    handler is cancelled. Its target waits for the handler's end, at most COMMAND_CANCEL_S: a handler that will not be
    cancelled is named in the log, counted as abandoned, and the target goes on without it.

Guarantees: two commands to one target neither overlap nor swap, an abandoned handler's excepted; each gets exactly one
outcome; a cancelled submitter does not stop its command; a target without a command takes no memory.
Does not: measure time; each command has its ``Deadline``.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING

from headrace.commands.ack import Outcome
from headrace.commands.submission import CURRENT
from headrace.dispatch.faults import safe_text
from headrace.limits import COMMAND_CANCEL_S, COMMANDS_WAITING_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from headrace.commands.family import Command
    from headrace.commands.submission import Submission
    from headrace.commands.table import Handler

__all__ = ["TargetQueues"]

log = logging.getLogger("headrace.commands")


class _Work:
    """One command between its admission and its handler's end.

    may_start : it has its target, and a worker or its submitter's. outcome : what the command is answered; the handler
    may go on after that, when it was given up.
    """

    __slots__ = (
        *("call", "grace", "handler", "has_target", "has_worker", "may_start", "outcome", "task", "waiter"),
        "was_abandoned",
    )

    def __init__(self, call: Submission, handler: Handler) -> None:
        self.call = call
        self.handler = handler
        self.outcome: Outcome | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.grace: asyncio.TimerHandle | None = None
        self.has_target = False
        self.has_worker = False
        self.may_start = False
        self.was_abandoned = False

    def wake(self) -> None:
        """Let its submitter look at it."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class TargetQueues:
    """A FIFO for each busy target, and a bounded number of handlers at work.

    Every collection is a dict, which keeps its order and gives up any of its members at the same cost.
    """

    def __init__(self, workers: int) -> None:
        self._free = workers
        self._closed = "engine not started"  # Why no command is taken; empty: they are.
        # Busy targets, and what waits behind the command that each is busy with.
        self._behind: dict[str, dict[_Work, None]] = {}
        self._ready: dict[_Work, None] = {}  # They have their target, and wait for a worker.
        self._waiting: dict[_Work, None] = {}  # Whatever has not started.
        self._at_work: dict[_Work, None] = {}  # Until its handler has ended, whatever was answered.
        # Type -> id and verb of the newest command that revokes it: what was submitted before that one is not run.
        self._revoked: dict[type[Command], tuple[int, str]] = {}

    @property
    def waiting(self) -> int:
        """Commands that wait for their target or for a worker."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Handlers at work whose command is not answered yet."""
        return sum(work.outcome is None for work in self._at_work)

    @property
    def abandoned(self) -> int:
        """Handlers that go on after they were given up."""
        return sum(work.was_abandoned for work in self._at_work)

    def open(self) -> None:
        """Take commands from now on."""
        self._closed = ""

    async def run(self, call: Submission, handler: Handler) -> Outcome:
        """Call the handler when it is the command's turn, and return its outcome; cancelling us stops nothing."""
        work = _Work(call, handler)
        if self._closed:
            return Outcome("failed", f"{self._closed}: it was not run")
        if call.deadline.is_over:
            # A layer swallowed its cancellation, and handed on late.
            return _too_late(call)
        if call.command.urgent:
            self._revoke(call)
            self._start(work)
        elif refusal := self._refusal(call):
            return Outcome("rejected", refusal)
        else:
            self._enter(work)
            while not work.may_start and work.outcome is None:
                await self._wait(work)
            if work.outcome is None:
                self._start(work)
        while work.outcome is None:
            await self._wait(work)
        return work.outcome

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - it gives others so long
        """Answer what waits, give what runs ``timeout`` seconds, then cancel it."""
        self._closed = "engine stopped"
        for work in list(self._waiting):
            self._answer(work, Outcome("failed", f"{self._closed}: it was not run"))
        await self._wait_for_handlers(timeout)
        for work in self._handlers_of_others():
            self._give_up(work, "engine stopped, outcome unknown")
        await self._wait_for_handlers(COMMAND_CANCEL_S)
        for work in self._handlers_of_others():
            self._abandon(work)

    async def _wait_for_handlers(self, timeout_s: float) -> None:
        tasks = [work.task for work in self._handlers_of_others() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def _handlers_of_others(self) -> list[_Work]:
        """The handlers at work, except the one that stops us itself."""
        own = asyncio.current_task()
        return [work for work in self._at_work if work.task not in (None, own) and not work.was_abandoned]

    # Waiting

    def _refusal(self, call: Submission) -> str:
        """Why the command may not wait for its turn; empty: it may."""
        for kind, (command_id, verb) in self._revoked.items():
            if isinstance(call.command, kind) and call.command_id < command_id:
                return _overtaken(verb)
        above = call.above
        while above is not None and above.is_at_handler:
            if above.target == call.target:
                reason = f"submitted by the handler of {above.action!r}, which has {call.target} until it returns"
                return f"{reason}: do it in that handler, or afterwards"
            above = above.above
        if len(self._waiting) >= COMMANDS_WAITING_MAX:
            return f"{len(self._waiting):,} commands wait already: submit it again when some of them are answered"
        return ""

    def _enter(self, work: _Work) -> None:
        """Give it its target, or put it behind the others there."""
        self._waiting[work] = None
        behind = self._behind.get(work.call.target)
        if behind is None:
            self._behind[work.call.target] = {}
            self._take_target(work)
        else:
            behind[work] = None

    def _take_target(self, work: _Work) -> None:
        work.has_target = True
        # A handler that waits for another command lends it its worker: else as many of them as workers wait for ever.
        if work.call.is_nested:
            work.may_start = True
        elif self._free:
            self._free -= 1
            work.may_start = work.has_worker = True
        else:
            self._ready[work] = None

    async def _wait(self, work: _Work) -> None:
        """Return when something happened to it."""
        work.waiter = asyncio.get_running_loop().create_future()
        try:
            await work.waiter
        except asyncio.CancelledError:
            # A cancelled submitter goes on waiting, and the bus passes the cancellation on after the answer.
            if work.call.deadline.is_over:
                self._expire(work)

    def _expire(self, work: _Work) -> None:
        """The command's time is over."""
        if work in self._at_work:
            self._give_up(work, "timeout, outcome unknown")
        else:
            self._answer(work, _too_late(work.call))

    def _revoke(self, call: Submission) -> None:
        """See to it that nothing submitted earlier undoes an urgent command."""
        revokes, verb = call.command.revokes, call.action
        if not revokes:
            return
        self._revoked |= dict.fromkeys(revokes, (call.command_id, verb))
        for work in list(self._waiting):
            if isinstance(work.call.command, revokes):
                self._answer(work, Outcome("rejected", _overtaken(verb)))
        for work in list(self._at_work):
            if isinstance(work.call.command, revokes):
                self._give_up(work, f"overtaken by {verb!r}, outcome unknown")

    # At work

    def _start(self, work: _Work) -> None:
        self._waiting.pop(work, None)
        self._at_work[work] = None
        work.call.start()
        context = contextvars.copy_context()
        try:
            result = context.run(_call, work)
            if inspect.isawaitable(result):
                name = f"headrace command {work.call.command_id} {work.call.action}"
                loop = asyncio.get_running_loop()
                work.task = loop.create_task(self._finish(work, result), name=name, context=context)
                # A task that was cancelled before its first step has never run its own clean-up.
                work.task.add_done_callback(partial(self._clean_up, work, result))
                return
            outcome = _checked(result)
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._end(work, _failure(error))
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit and a panic are the handler's failure, not our end
            outcome = _reported(work, error)
        self._end(work, outcome)

    async def _finish(self, work: _Work, result: Awaitable[Outcome]) -> None:
        try:
            outcome = _checked(await result)
        except asyncio.CancelledError:
            outcome = Outcome("failed", "its handler was cancelled, outcome unknown")
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._end(work, _failure(error))
            raise
        except BaseException as error:  # noqa: BLE001 - as in _start
            outcome = _reported(work, error)
        self._end(work, outcome)

    def _clean_up(self, work: _Work, result: Awaitable[Outcome], task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # An interrupt, which has left the loop already: it needs no other report.
        if work in self._at_work:
            if inspect.iscoroutine(result):
                result.close()
            self._end(work, Outcome("failed", "its handler was cancelled before it began: it was not run"))

    def _give_up(self, work: _Work, reason: str) -> None:
        """Answer a command whose handler goes on, and cancel that."""
        if work.outcome is not None:
            return
        log.error("command %r to %s: %s", work.call.action, work.call.target, reason)
        self._answer(work, Outcome("failed", reason))
        if work.task is not None:
            work.task.cancel()
            work.grace = asyncio.get_running_loop().call_later(COMMAND_CANCEL_S, self._abandon, work)

    def _abandon(self, work: _Work) -> None:
        if work.was_abandoned:
            return
        work.was_abandoned = True
        log.error("the handler of command %r would not be cancelled and is left behind", work.call.action)
        self._release_target(work)

    def _answer(self, work: _Work, outcome: Outcome) -> None:
        """Give the command its one outcome, and its worker to the next."""
        if work.outcome is not None:
            return
        work.outcome = outcome
        if work in self._at_work:
            work.call.end()
        else:
            del self._waiting[work]
            self._ready.pop(work, None)
            if work.has_target:
                self._release_target(work)
            else:
                del self._behind[work.call.target][work]
        work.wake()
        if work.has_worker:
            self._release_worker(work)

    def _end(self, work: _Work, outcome: Outcome) -> None:
        """The handler has returned."""
        self._answer(work, outcome)
        del self._at_work[work]
        if work.grace is not None:
            work.grace.cancel()
        if work.was_abandoned:
            log.warning("the handler of command %r that was left behind has ended", work.call.action)
        else:
            self._release_target(work)

    def _release_worker(self, work: _Work) -> None:
        work.has_worker = False
        if self._ready:
            following = next(iter(self._ready))
            del self._ready[following]
            following.may_start = following.has_worker = True
            following.wake()
        else:
            self._free += 1

    def _release_target(self, work: _Work) -> None:
        """Let the next command to the same target go on."""
        if not work.has_target:
            return
        work.has_target = False
        behind = self._behind[work.call.target]
        if behind:
            following = next(iter(behind))
            del behind[following]
            self._take_target(following)
            following.wake()
        else:
            del self._behind[work.call.target]


def _call(work: _Work) -> Outcome | Awaitable[Outcome]:
    """Call the handler, in a context of its own."""
    CURRENT.set(work.call)
    return work.handler(work.call.command)


def _checked(result: object) -> Outcome:
    if isinstance(result, Outcome):
        return result
    return Outcome("failed", f"its handler returned {result!r:.200}, outcome unknown: return an Outcome")


def _reported(work: _Work, error: BaseException) -> Outcome:
    log.error("the handler of command %r failed", work.call.action, exc_info=error)
    return _failure(error)


def _failure(error: BaseException) -> Outcome:
    return Outcome("failed", f"its handler raised {type(error).__name__}: {safe_text(error)}, outcome unknown")


def _too_late(call: Submission) -> Outcome:
    return Outcome("failed", f"timeout after {call.timeout_s:g} s behind other commands: it was not run")


def _overtaken(verb: str) -> str:
    return f"overtaken by {verb!r}: submit it again if it is still meant"

"""TargetQueues: a queue for each busy target, and a bounded number of handlers at work.

::

    run ─▶ its target is busy? wait behind it ─▶ no worker is free? wait ─▶ handler ─▶ Outcome
             └ urgent: neither; at once

What happens when a command's time is over
    Its worker is free at once. Its target waits for the handler's end, at most COMMAND_CANCEL_S (``HandlerCall``).

Guarantees: two commands to one target neither overlap nor swap, an abandoned handler's excepted; a handler that waits
for another command never keeps it from a worker; a target without a command takes no memory.
Does not: measure time; each command has its ``Deadline``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.commands.ack import UNKNOWN_OUTCOME, Outcome
from headrace.commands.handler_call import HandlerCall
from headrace.limits import COMMAND_CANCEL_S, COMMANDS_WAITING_MAX

if TYPE_CHECKING:
    from headrace.commands.family import Command
    from headrace.commands.submission import Submission
    from headrace.commands.table import Handler

__all__ = ["TargetQueues"]


class TargetQueues:
    """Calls the handlers of commands in their turn.

    workers : so many at a time, besides urgent and nested ones, and those that take none.
    """

    def __init__(self, workers: int) -> None:
        self._closed = "engine not started"  # Why no command is taken; empty: they are.
        self._workers_free = workers
        # What waits, in order. A dict keeps its order, and gives up any of its members at the same cost.
        self._for_worker: dict[HandlerCall, None] = {}
        self._for_target: dict[str, dict[HandlerCall, None]] = {}  # Behind each busy target.
        self._waiting: dict[HandlerCall, None] = {}  # Whatever has not started.
        self._at_work: dict[HandlerCall, None] = {}  # Until the handler has ended, whatever was answered.
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
        if refusal := self._refusal(call):
            return refusal
        work, deadline = HandlerCall(call, handler, on_over=self._over), call.deadline
        deadline.expire = work.expire
        try:
            if call.command.urgent:
                self._revoke(call)
            else:
                await self._take_turn(work)
            if work.outcome is None:
                self._waiting.pop(work, None)
                self._at_work[work] = None
                work.start()
            while work.outcome is None:
                await work.wait()
        finally:
            deadline.take_back()
            self._waiting.pop(work, None)
            if work.has_worker:
                self._release_worker(work)
            if call.started_ns is None and work.has_target:
                self._release_target(work)
        return work.outcome

    def _refusal(self, call: Submission) -> Outcome | None:
        """Why the command may not wait for its turn; None: it may."""
        if self._closed:
            return Outcome("failed", f"{self._closed}: it was not run")
        if call.deadline.is_over:
            return Outcome("failed", f"timeout after {call.timeout_s:g} s in the middleware: it was not run")
        if call.command.urgent:
            return None
        for kind, (command_id, verb) in self._revoked.items():
            if isinstance(call.command, kind) and call.command_id < command_id:
                return _overtaken(verb)
        above = call.above
        while above is not None and above.is_at_handler:
            if above.target == call.target:
                reason = f"submitted by the handler of {above.action!r}, which has {call.target} until it returns"
                return Outcome("rejected", f"{reason}: do it in that handler, or afterwards")
            above = above.above
        if len(self._waiting) >= COMMANDS_WAITING_MAX:
            reason = f"{len(self._waiting):,} commands wait already: submit it again when some of them are answered"
            return Outcome("rejected", reason)
        return None

    async def _take_turn(self, work: HandlerCall) -> None:
        """Return when the command has its target and a worker, or was answered meanwhile."""
        self._waiting[work] = None
        behind = self._for_target.get(work.call.target)
        if behind is None:
            self._for_target[work.call.target] = {}
            work.has_target = True
        else:
            work.has_target = await _is_next(behind, work)
        # A handler that waits for another command lends it its worker: else as many of them as workers wait for ever.
        above = work.call.above
        is_lent = above is not None and above.is_at_handler
        if work.outcome is not None or is_lent or not work.call.command.takes_worker:
            return
        if self._workers_free:
            self._workers_free -= 1
            work.has_worker = True
        else:
            work.has_worker = await _is_next(self._for_worker, work)

    def _over(self, work: HandlerCall) -> None:
        """Its handler has ended, or was left behind."""
        if work.has_ended:
            del self._at_work[work]
            # Before its submitter gets its turn of the loop, so that the next command loses none.
            if work.has_worker:
                self._release_worker(work)
        if work.has_target:
            self._release_target(work)

    def _release_worker(self, work: HandlerCall) -> None:
        work.has_worker = False
        if self._for_worker:
            _wake_next(self._for_worker)
        else:
            self._workers_free += 1

    def _release_target(self, work: HandlerCall) -> None:
        work.has_target = False
        if behind := self._for_target[work.call.target]:
            _wake_next(behind)
        else:
            del self._for_target[work.call.target]

    def _revoke(self, call: Submission) -> None:
        """See to it that nothing submitted earlier undoes an urgent command."""
        revokes, verb = call.command.revokes, call.action
        self._revoked |= dict.fromkeys(revokes, (call.command_id, verb))
        for work in list(self._waiting):
            if isinstance(work.call.command, revokes):
                work.answer(_overtaken(verb))
        for work in list(self._at_work):
            if isinstance(work.call.command, revokes):
                work.give_up(f"overtaken by {verb!r}, {UNKNOWN_OUTCOME}")

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - it gives others so long
        """Answer what waits, give what runs ``timeout`` seconds, then cancel it."""
        self._closed = "engine stopped"
        for work in self._waiting:
            work.answer(Outcome("failed", f"{self._closed}: it was not run"))
        await self._wait_for_handlers(timeout)
        for work in self._handlers_of_others():
            work.give_up(f"engine stopped, {UNKNOWN_OUTCOME}")
        await self._wait_for_handlers(COMMAND_CANCEL_S)
        for work in self._handlers_of_others():
            work.abandon()

    async def _wait_for_handlers(self, timeout_s: float) -> None:
        tasks = [work.task for work in self._handlers_of_others() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def _handlers_of_others(self) -> list[HandlerCall]:
        """The handlers at work, except the one that stops us itself."""
        own = asyncio.current_task()
        return [work for work in self._at_work if work.task not in (None, own) and not work.was_abandoned]


async def _is_next(line: dict[HandlerCall, None], work: HandlerCall) -> bool:
    """Wait in a line, and return whether the command got its place; False: it was answered before."""
    line[work] = None
    while work in line and work.outcome is None:
        await work.wait()
    if work in line:
        del line[work]
        return False
    return True


def _wake_next(line: dict[HandlerCall, None]) -> None:
    following = next(iter(line))
    del line[following]
    following.wake()


def _overtaken(verb: str) -> Outcome:
    return Outcome("rejected", f"overtaken by {verb!r}: submit it again if it is still meant")

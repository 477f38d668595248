"""Workers: calls the handlers of commands, a few at a time, and in order for each target.

::

    run ─▶ its target is busy? wait behind it ─▶ no worker is free? wait ─▶ handler ─▶ Outcome
             └ urgent: neither; at once

What happens when a handler takes too long
    At the command's timeout it is answered "failed: timeout, outcome unknown", its worker is free again and its handler
    is cancelled. Its target waits for the handler's end, at most COMMAND_CANCEL_S: a handler that will not be cancelled
    is named in the log, counted as abandoned, and the target goes on without it. In a replay nothing depends on the
    wall: a slow handler is named, and awaited.

Guarantees: two commands to one target neither overlap nor swap, an abandoned handler's excepted; each gets exactly one
outcome; who stops waiting for an outcome does not stop the command.
Does not: know middleware; a plain handler runs where it is submitted, between two turns of the engine.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from headrace.commands.ack import Outcome
from headrace.limits import COMMAND_CANCEL_S, COMMANDS_WAITING_MAX

if TYPE_CHECKING:
    from headrace.commands.family import Command
    from headrace.commands.submission import Submission

__all__ = ["Handler", "Workers"]

# A handler takes its own type of command; the bus has made sure of that.
Handler: TypeAlias = Callable[..., Outcome | Awaitable[Outcome]]

log = logging.getLogger("headrace.commands")

# The command that the running code belongs to: what a handler submits must not wait for that very handler.
_running: contextvars.ContextVar[_Ticket | None] = contextvars.ContextVar("headrace_command", default=None)


class _Ticket:
    """One command at the workers."""

    __slots__ = (
        *("call", "command", "context", "handler", "has_worker", "holds_target", "is_over", "outcome", "task", "timer"),
        *("waiter", "was_abandoned"),
    )

    def __init__(self, call: Submission, command: Command, handler: Handler) -> None:
        self.call = call
        self.command = command
        self.handler = handler
        self.context = contextvars.copy_context()
        self.outcome: Outcome | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.has_worker = False
        self.holds_target = False
        self.is_over = False  # The handler has returned; later than the outcome when it was given up.
        self.was_abandoned = False


class Workers:
    """A bounded number of handlers at work, and whatever waits for them."""

    def __init__(self, count: int, *, replay: bool) -> None:
        self._count = self._free = count
        self._replay = replay
        self._closed = "engine not started"  # Why no command is taken; empty: they are.
        self._waiting = 0
        # A target is a key while one of its commands runs; the deque holds those that wait for that one.
        self._targets: dict[str, deque[_Ticket]] = {}
        self._ready: deque[_Ticket] = deque()  # Their target is theirs; they wait for a worker.
        self._running: dict[_Ticket, None] = {}  # A dict keeps their order.
        self._living: dict[_Ticket, None] = {}  # Those with a task, until it ends, whatever was answered.
        self._abandoned = 0
        # Type -> the newest command that revokes it: what was submitted before that one is not run any more.
        self._revoked: dict[type[Command], Submission] = {}
        self._is_employing = False

    @property
    def waiting(self) -> int:
        """Commands that wait for their target or for a worker."""
        return self._waiting

    @property
    def running(self) -> int:
        """Handlers at work whose command was not answered yet."""
        return len(self._running)

    @property
    def abandoned(self) -> int:
        """Handlers that go on after they were given up."""
        return self._abandoned

    def open(self) -> None:
        """Take commands from now on."""
        self._closed = ""

    async def run(self, call: Submission, command: Command, handler: Handler) -> Outcome:
        """Have the command handled and return its outcome. Not cancelled: it waits for the outcome all the same."""
        ticket = _Ticket(call, command, handler)
        self._admit(ticket)
        while ticket.outcome is None:
            ticket.waiter = asyncio.get_running_loop().create_future()
            try:
                await ticket.waiter
            except asyncio.CancelledError:
                # Who stops waiting does not stop the command; the bus passes the cancellation on afterwards.
                continue
        return ticket.outcome

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - it gives others so long
        """Answer what waits, give what runs ``timeout`` seconds, then cancel it."""
        self._closed = "engine stopped"
        for ticket in self._queued():
            self._answer(ticket, Outcome("failed", f"{self._closed}: it was not run"))
        await self._wait_for_living(timeout)
        for ticket in self._living_others():
            self._give_up(ticket, "engine stopped, outcome unknown")
        await self._wait_for_living(COMMAND_CANCEL_S)
        for ticket in self._living_others():
            self._abandon(ticket)

    async def _wait_for_living(self, timeout_s: float) -> None:
        tasks = [ticket.task for ticket in self._living_others() if ticket.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def _living_others(self) -> list[_Ticket]:
        """The handlers at work, but for the one that stops us itself."""
        own = asyncio.current_task()
        return [ticket for ticket in self._living if ticket.task is not own and not ticket.was_abandoned]

    def _queued(self) -> list[_Ticket]:
        return [*self._ready, *(ticket for behind in self._targets.values() for ticket in behind)]

    def _admit(self, ticket: _Ticket) -> None:
        """Run it now, put it behind others, or refuse it."""
        command, target = ticket.command, ticket.command.target
        above = _running.get()
        is_nested = above is not None and above.outcome is None
        if self._closed:
            ticket.outcome = Outcome("failed", f"{self._closed}: it was not run")
        elif command.urgent:
            self._revoke(ticket)
            self._start(ticket)
        elif (newer := self._revoked.get(type(command))) and newer.command_id > ticket.call.command_id:
            ticket.outcome = _overtaken(newer.action)
        elif is_nested and above is not None and above.command.target == target:
            reason = f"submitted by the handler of {above.command.verb!r}, which has {target} until it returns"
            ticket.outcome = Outcome("rejected", f"{reason}: do it in that handler, or afterwards")
        elif self._waiting >= COMMANDS_WAITING_MAX:
            reason = f"{self._waiting:,} commands wait already: submit it again when some of them are answered"
            ticket.outcome = Outcome("rejected", reason)
        elif target in self._targets:
            self._wait(ticket)
            self._targets[target].append(ticket)
        else:
            self._targets[target] = deque()
            ticket.holds_target = True
            # A handler that waits for another command lends it its worker: else four of them wait for ever.
            if is_nested or self._free:
                ticket.has_worker = not is_nested
                self._free -= ticket.has_worker
                self._start(ticket)
            else:
                self._wait(ticket)
                self._ready.append(ticket)

    def _wait(self, ticket: _Ticket) -> None:
        self._waiting += 1
        self._set_timer(ticket)

    def _set_timer(self, ticket: _Ticket) -> None:
        ticket.timer = asyncio.get_running_loop().call_at(ticket.call.deadline, self._expire, ticket)

    def _revoke(self, urgent: _Ticket) -> None:
        """See to it that nothing submitted earlier undoes an urgent command."""
        revokes, verb = urgent.command.revokes, urgent.command.verb
        if not revokes:
            return
        self._revoked |= dict.fromkeys(revokes, urgent.call)
        for ticket in self._queued():
            if isinstance(ticket.command, revokes):
                self._answer(ticket, _overtaken(verb))
        for ticket in list(self._running):
            if isinstance(ticket.command, revokes):
                self._give_up(ticket, f"overtaken by {verb!r}, outcome unknown")

    def _start(self, ticket: _Ticket) -> None:
        self._running[ticket] = None
        ticket.call.start()
        try:
            result = ticket.context.run(_call, ticket)
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._end(ticket, _failure(error))
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit and a panic are the handler's failure, not our end
            self._end(ticket, self._reported(ticket, error))
        else:
            if inspect.isawaitable(result):
                self._start_task(ticket, result)
            else:
                self._end(ticket, _checked(result))

    def _start_task(self, ticket: _Ticket, result: Awaitable[Outcome]) -> None:
        loop = asyncio.get_running_loop()
        name = f"headrace command {ticket.call.command_id} {ticket.command.verb}"
        ticket.task = loop.create_task(self._work(ticket, result), name=name, context=ticket.context)
        self._living[ticket] = None
        # A task that was cancelled before its first step has never run its own clean-up.
        ticket.task.add_done_callback(lambda task: self._clean_up(ticket, task, result))
        if ticket.timer is None:
            self._set_timer(ticket)

    async def _work(self, ticket: _Ticket, result: Awaitable[Outcome]) -> None:
        try:
            outcome = _checked(await result)
        except asyncio.CancelledError:
            outcome = Outcome("failed", "its handler was cancelled, outcome unknown")
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._end(ticket, _failure(error))
            raise
        except BaseException as error:  # noqa: BLE001 - as in _start
            outcome = self._reported(ticket, error)
        self._end(ticket, outcome)

    def _reported(self, ticket: _Ticket, error: BaseException) -> Outcome:
        log.error("the handler of command %r failed", ticket.command.verb, exc_info=error)
        return _failure(error)

    def _clean_up(self, ticket: _Ticket, task: asyncio.Task[None], result: Awaitable[Outcome]) -> None:
        del self._living[ticket]
        if not task.cancelled():
            task.exception()  # An interrupt, which has left the loop already: nobody has to be told again.
        if not ticket.is_over:
            if inspect.iscoroutine(result):
                result.close()
            self._end(ticket, Outcome("failed", "its handler was cancelled before it began: it was not run"))

    def _expire(self, ticket: _Ticket) -> None:
        """The command's time is over."""
        ticket.timer = None
        if self._replay:
            log.warning("command %r was not done within %g s", ticket.command.verb, ticket.call.timeout_s)
        elif ticket not in self._running:
            seconds = f"{ticket.call.timeout_s:g} s"
            self._answer(ticket, Outcome("failed", f"timeout after {seconds} behind other commands: it was not run"))
        else:
            self._give_up(ticket, "timeout, outcome unknown")

    def _give_up(self, ticket: _Ticket, reason: str) -> None:
        """Answer a command whose handler goes on, and cancel that."""
        if ticket.outcome is not None:
            return
        log.error("command %r to %s: %s", ticket.command.verb, ticket.command.target, reason)
        self._answer(ticket, Outcome("failed", reason))
        if ticket.task is not None:
            ticket.task.cancel()
            ticket.timer = asyncio.get_running_loop().call_later(COMMAND_CANCEL_S, self._abandon, ticket)

    def _abandon(self, ticket: _Ticket) -> None:
        if ticket.was_abandoned:
            return
        ticket.was_abandoned = True
        self._abandoned += 1
        log.error("the handler of command %r would not be cancelled and is left behind", ticket.command.verb)
        self._release_target(ticket)

    def _answer(self, ticket: _Ticket, outcome: Outcome) -> None:
        """Give the command its one outcome, and its worker to whoever waits."""
        if ticket.outcome is not None:
            return
        ticket.outcome = outcome
        if ticket in self._running:
            ticket.call.end()
            del self._running[ticket]
        else:
            self._waiting -= 1
        if ticket.timer is not None:
            ticket.timer.cancel()
            ticket.timer = None
        if ticket.waiter is not None and not ticket.waiter.done():
            ticket.waiter.set_result(None)
        if ticket.has_worker:
            ticket.has_worker = False
            self._free += 1
            self._employ()

    def _end(self, ticket: _Ticket, outcome: Outcome) -> None:
        """The handler has returned."""
        ticket.is_over = True
        self._answer(ticket, outcome)
        if ticket.timer is not None:
            ticket.timer.cancel()
        if ticket.was_abandoned:
            self._abandoned -= 1
            log.warning("the handler of command %r that was left behind has ended", ticket.command.verb)
        else:
            self._release_target(ticket)

    def _release_target(self, ticket: _Ticket) -> None:
        """Let the next command to the same target go on."""
        if not ticket.holds_target:
            return
        ticket.holds_target = False
        behind = self._targets[ticket.command.target]
        if not behind:
            del self._targets[ticket.command.target]
            return
        following = behind.popleft()
        following.holds_target = True
        self._ready.append(following)
        self._employ()

    def _employ(self) -> None:
        """Give free workers to what is ready; a few at a time, so that plain handlers leave the loop to others."""
        if self._is_employing:  # Below a handler that returned at once: the loop above goes on.
            return
        self._is_employing = True
        try:
            for _ in range(self._count):
                if not self._free or not self._ready:
                    return
                ticket = self._ready.popleft()
                if ticket.outcome is not None:
                    self._release_target(ticket)
                    continue
                self._waiting -= 1
                self._free -= 1
                ticket.has_worker = True
                self._start(ticket)
        finally:
            self._is_employing = False
        asyncio.get_running_loop().call_soon(self._employ)


def _call(ticket: _Ticket) -> Outcome | Awaitable[Outcome]:
    """Call the handler, in the context of who submitted the command."""
    _running.set(ticket)
    return ticket.handler(ticket.command)


def _checked(result: object) -> Outcome:
    if isinstance(result, Outcome):
        return result
    return Outcome("failed", f"its handler returned {result!r:.200}, outcome unknown: return an Outcome")


def _failure(error: BaseException) -> Outcome:
    return Outcome("failed", f"its handler raised {type(error).__name__}: {error}, outcome unknown")


def _overtaken(verb: str) -> Outcome:
    return Outcome("rejected", f"overtaken by {verb!r}: submit it again if it is still meant")

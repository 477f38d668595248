"""CommandBus: takes an operator's typed command to its handler, and answers with an Ack.

::

    submit ─▶ read and validate ─▶ your middleware ─▶ its target's queue ─▶ handler ─▶ Ack ─▶ Audit event, metric
                                                        Halt: at once ────────▲

What happens when the submitter is cancelled
    A command that is past its middleware is not: the submitter waits for its answer, at most the command's timeout, and
    is cancelled then. Before that it is answered "failed: … the command was not run".

Guarantees: every command is answered, audited and counted exactly once, within its timeout; ``submit`` never raises for
what a command says; the version only rises; one handler for each type of command.
Does not: run on the tick path: handlers run between two turns of the engine, or in tasks of their own. In a replay no
command times out by the wall: a slow one is named in the log, and awaited.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.bus import EventBus
from headrace.commands.audit_trail import AuditTrail
from headrace.commands.deadline import Deadline
from headrace.commands.middleware import default_middleware
from headrace.commands.onion import wrap
from headrace.commands.stats import CommandStats
from headrace.commands.submission import CommandContext, Submission
from headrace.commands.table import CommandTable
from headrace.commands.target_queues import TargetQueues
from headrace.dispatch.latency_meter import LatencyMeter
from headrace.errors import CommandError
from headrace.limits import COMMAND_TIMEOUT_S, COMMAND_WORKERS, DRAIN_RUNNING_S
from headrace.market.checks import of_type
from headrace.market.clock import Clock, Mode

if TYPE_CHECKING:
    from headrace.commands.ack import Ack, AckStatus
    from headrace.commands.family import Command, CommandEntry
    from headrace.commands.onion import Middleware
    from headrace.commands.table import Handler

__all__ = ["CommandBus"]

log = logging.getLogger("headrace.commands")

KEY_CHARACTERS_MAX = 200


class CommandBus:
    """The commands of one engine.

    bus : where audits are published; None: nowhere. When it is a replay's, durations are the clock's, and nothing times
    out by the wall. clock : the engine's. middleware : outermost first; ``default_middleware()`` unless given.
    workers : handlers at work at once. timeout_s : what a command has unless its submitter says otherwise.
    """

    def __init__(
        self,
        *,
        bus: EventBus | None,
        clock: Clock,
        middleware: Iterable[Middleware] | None = None,
        workers: int = COMMAND_WORKERS,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        of_type("bus", bus, EventBus, None)
        of_type("clock", clock, Clock)
        if workers < 1:
            msg = f"workers={workers} handle nothing: give at least 1"
            raise CommandError(msg, command="")
        if not 0 < timeout_s < math.inf:
            msg = f"timeout_s={timeout_s} is no time to handle a command in: give seconds above 0"
            raise CommandError(msg, command="")
        self._timeout_s = timeout_s
        replay = bus is not None and bus.mode is Mode.REPLAY
        stopwatch_ns = clock.now_ns if replay else time.perf_counter_ns
        self._context = CommandContext(clock=clock, replay=replay, stopwatch_ns=stopwatch_ns)
        self._table = CommandTable()
        self._onion = wrap(default_middleware() if middleware is None else list(middleware), self._handle)
        self._queues = TargetQueues(workers)
        self._audits = AuditTrail(bus)
        self._meter: LatencyMeter[tuple[str, AckStatus]] = LatencyMeter()
        self._submitted = 0
        # Those that are not answered yet, by id.
        self._calls: dict[int, Submission] = {}
        self._idle: asyncio.Future[None] | None = None

    @property
    def in_flight(self) -> int:
        """Commands that were submitted and not answered yet."""
        return len(self._calls)

    @property
    def version(self) -> int:
        """How many commands changed something, those whose outcome is unknown included."""
        return self._context.version

    def register(self, command_type: type[Command], handler: Handler) -> None:
        """Have commands of this type handled by ``handler(command)``, plain or async, which returns an Outcome.

        A plain handler runs in one go where the command is submitted; whatever waits for something is async.
        Raises CommandError: no command, one that has a handler already, or a verb or name that another command has.
        """
        self._table.add(command_type, handler)

    def table(self) -> list[CommandEntry]:
        """Return the rows of the commands that have a handler here, the built-in ones first."""
        return self._table.rows()

    def types(self) -> list[type[Command]]:
        """Return the types of the commands that have a handler here, in the order of ``table``."""
        return self._table.types()

    def problem(self, command: Mapping[str, Any] | bytes) -> str:
        """Return what is wrong with a command by its form, as ``submit`` would reject it; empty: nothing."""
        return self._table.read(command)[2]

    async def start(self) -> None:
        """Take commands from now on."""
        self._queues.open()

    async def stop(self, timeout: float = DRAIN_RUNNING_S) -> None:  # noqa: ASYNC109 - it gives others so long
        """Answer what waits with "failed: engine stopped", and give what runs ``timeout`` seconds."""
        await self._queues.stop(timeout)
        if self._calls:
            # Their handlers are answered; what is left is in its middleware.
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle], timeout=timeout)
            for call in self._calls.values():
                call.deadline.hurry()
        self._audits.close()

    async def submit(
        self,
        command: Command | Mapping[str, Any] | bytes,
        *,
        key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the handler, not our waiting
        actor: str = "local",
    ) -> Ack:
        """Take a command to its handler and return the answer.

        command : of the family, or such a one as a mapping or as JSON, its name under ``"command"``.
        key : a repetition with the same key and command gets the first one's Ack. timeout : seconds, the bus's own
        unless given. actor : the audit names it.
        Never raises for what the command says: what is wrong with it is the Ack's reason.
        """
        read, target, malformed = self._table.read(command)
        wanted_s = self._timeout_s if timeout is None else timeout
        problem = _problem_around(key, wanted_s, actor) or malformed
        context = self._context
        self._submitted += 1
        call = Submission(
            command=read,
            action=read.verb,
            target=target,
            key=key,
            actor=actor,
            timeout_s=self._timeout_s if problem else wanted_s,
            command_id=self._submitted,
            context=context,
            submitted_ns=context.stopwatch_ns(),
        )
        call.deadline = Deadline(call.timeout_s, partial(_name_slow, call) if context.replay else None)
        self._calls[call.command_id] = call
        is_cancelled = False
        try:
            ack = call.answer("rejected", problem) if problem else await self._onion(call)
            duration_ns = context.stopwatch_ns() - call.submitted_ns
            self._audits.record(call, ack, duration_ns, is_malformed=bool(malformed))
            self._meter.record((call.action, ack.status), duration_ns)
        finally:
            is_cancelled = call.deadline.close()
            # Its task and timer hold the context of a handler that submitted this, and so that handler's command.
            del call.deadline
            del self._calls[call.command_id]
            if self._idle is not None and not self._calls and not self._idle.done():
                self._idle.set_result(None)
        if is_cancelled:
            raise asyncio.CancelledError
        return ack

    async def _handle(self, call: Submission) -> Ack:
        """The innermost of the onion: the command is sound, and every layer has handed it on."""
        handler = self._table.handlers.get(type(call.command))
        if handler is None:
            known = ", ".join(entry.verb for entry in self.table()) or "no command at all"
            return call.answer("rejected", f"nobody handles {call.action!r} here: this engine takes {known}")
        outcome = await self._queues.run(call, handler)
        is_unknown = outcome.status == "failed" and call.started_ns is not None
        if call.command.changes and (outcome.status == "accepted" or is_unknown):
            self._context.version += 1
        return call.answer(outcome.status, outcome.reason, outcome.detail, target_version=outcome.version)

    def stats(self) -> CommandStats:
        """Return what became of the commands, with latencies by verb and outcome."""
        return CommandStats(
            submitted=self._submitted,
            answered=self._submitted - self.in_flight,
            in_flight=self.in_flight,
            waiting=self._queues.waiting,
            running=self._queues.running,
            abandoned=self._queues.abandoned,
            version=self.version,
            outcomes=self._meter.latencies(),
            audits_waiting=self._audits.waiting,
            audits_lost=self._audits.lost,
        )


def _name_slow(call: Submission) -> None:
    log.warning("command %r was not done within %g s", call.action, call.timeout_s)


def _problem_around(key: str | None, timeout_s: float, actor: str) -> str:
    """Say what is wrong with what comes with a command; empty: nothing."""
    if key is not None and not 0 < len(key) <= KEY_CHARACTERS_MAX:
        return f"a key of {len(key)} characters is not allowed: give 1 to {KEY_CHARACTERS_MAX}"
    if not 0 < timeout_s < math.inf:
        return f"timeout={timeout_s!r} is not allowed: give seconds above 0"
    if not 0 < len(actor) <= KEY_CHARACTERS_MAX:
        return f"an actor of {len(actor)} characters is not allowed: give 1 to {KEY_CHARACTERS_MAX}"
    return ""

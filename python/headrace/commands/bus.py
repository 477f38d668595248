"""CommandBus: takes an operator's typed command to its handler, and answers with an Ack.

::

    submit(command) ─▶ middleware ─▶ order of its target ─▶ a free worker ─▶ handler ─▶ Ack, Audit event, metric
                                          Halt: at once ──────────────────────▲

What happens when the submitter is cancelled
    A command that is with its handler is not: the submitter waits for its answer, at most the command's timeout, and is
    cancelled then. What was not there yet is answered "failed: … the command was not run".

Guarantees: every command is answered exactly once, within its timeout; ``submit`` never raises for what a command says;
the version only rises; one handler for each type of command.
Does not: run on the tick path: handlers run between two turns of the engine, or in tasks of their own.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.commands.deadline import Deadline
from headrace.commands.family import COMMANDS, Command, CommandEntry, entry_of
from headrace.commands.meter import CommandStats
from headrace.commands.middleware import AuditTrail, Telemetry, default_middleware
from headrace.commands.onion import wrap
from headrace.commands.submission import CommandDesk, Submission
from headrace.commands.workers import Handler, Workers
from headrace.errors import CommandError
from headrace.limits import COMMAND_TIMEOUT_S, COMMAND_WORKERS, DRAIN_RUNNING_S
from headrace.market.clock import Mode

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.commands.ack import Ack
    from headrace.commands.onion import Middleware
    from headrace.market.clock import Clock

__all__ = ["CommandBus"]

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
        run_id: str = "",
        middleware: Iterable[Middleware] | None = None,
        workers: int = COMMAND_WORKERS,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        if workers < 1:
            msg = f"workers={workers} handle nothing: give at least 1"
            raise CommandError(msg, command="")
        if not 0 < timeout_s < math.inf:
            msg = f"timeout_s={timeout_s} is no time to handle a command in: give seconds above 0"
            raise CommandError(msg, command="")
        self._timeout_s = timeout_s
        self._middleware = default_middleware() if middleware is None else list(middleware)
        self._replay = replay = bus is not None and bus.mode is Mode.REPLAY
        self._desk = CommandDesk(
            events=bus,
            clock=clock,
            run_id=run_id,
            replay=replay,
            stopwatch_ns=clock.now_ns if replay else time.perf_counter_ns,
            version=lambda: self._version,
        )
        self._onion = wrap(self._middleware, self._execute)
        self._workers = Workers(workers, replay=replay)
        self._entries: dict[type[Command], CommandEntry] = dict(COMMANDS)
        self._handlers: dict[type[Command], Handler] = {}
        self._decoder: msgspec.json.Decoder[Command] | None = None
        self._version = 0
        self._submitted = 0
        self._answered = 0
        self._deadlines: dict[int, Deadline] = {}
        self._idle: asyncio.Future[None] | None = None

    @property
    def in_flight(self) -> int:
        """Commands that were submitted and not answered yet."""
        return self._submitted - self._answered

    @property
    def version(self) -> int:
        """How many commands changed something, those whose outcome is unknown included."""
        return self._version

    def register(self, command_type: type[Command], handler: Handler) -> None:
        """Have commands of this type handled by ``handler(command)``, plain or async, which returns an Outcome.

        A plain handler runs in one go where the command is submitted; whatever waits for something is async.
        Raises CommandError: no command, one that has a handler already, or a verb or name that another command has.
        """
        entry = entry_of(command_type)
        if command_type in self._handlers:
            msg = f"{entry.name} has a handler already, {self._handlers[command_type]!r}: a command has one"
            raise CommandError(msg, command=entry.name)
        for other, known in self._entries.items():
            if other is not command_type and (known.verb == entry.verb or known.name == entry.name):
                msg = f"{entry.name} ({entry.verb!r}) is taken by {known.name} ({known.verb!r}): choose another name"
                raise CommandError(msg, command=entry.name)
        self._entries[command_type] = entry
        self._handlers[command_type] = handler
        self._decoder = None

    def table(self) -> list[CommandEntry]:
        """Return the rows of the commands that have a handler here, the built-in ones first."""
        return [entry for kind, entry in self._entries.items() if kind in self._handlers]

    async def start(self) -> None:
        """Take commands from now on."""
        self._workers.open()

    async def stop(self, timeout: float = DRAIN_RUNNING_S) -> None:  # noqa: ASYNC109 - it gives others so long
        """Answer what waits with "failed: engine stopped", and give what runs ``timeout`` seconds."""
        await self._workers.stop(timeout)
        if self.in_flight:
            # Their handlers are answered; what is left is in its middleware.
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle], timeout=timeout)
            for deadline in self._deadlines.values():
                deadline.hurry()
        for layer in self._middleware:
            if isinstance(layer, AuditTrail):
                layer.close(self._desk)

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
        unless given. actor : who asks.
        Never raises for what the command says: what is wrong with it is the Ack's reason.
        """
        wanted_s = self._timeout_s if timeout is None else timeout
        call = self._submission(command, key=key, timeout_s=wanted_s, actor=actor)
        self._submitted += 1
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        try:
            with Deadline(None if self._replay else call.deadline) as deadline:
                self._deadlines[call.command_id] = deadline
                ack = await self._onion(call)
        finally:
            del self._deadlines[call.command_id]
            self._answered += 1
            if self._idle is not None and not self._deadlines and not self._idle.done():
                self._idle.set_result(None)
        if task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
        return ack

    def stats(self) -> CommandStats:
        """Return what became of the commands; latencies by outcome come from the Telemetry layer."""
        meters = [layer.meter for layer in self._middleware if isinstance(layer, Telemetry)]
        trails = [layer for layer in self._middleware if isinstance(layer, AuditTrail)]
        return CommandStats(
            submitted=self._submitted,
            answered=self._answered,
            in_flight=self.in_flight,
            waiting=self._workers.waiting,
            running=self._workers.running,
            abandoned=self._workers.abandoned,
            version=self._version,
            outcomes=meters[0].outcomes() if meters else {},
            audits_waiting=sum(trail.waiting for trail in trails),
            audits_lost=sum(trail.lost for trail in trails),
        )

    async def _execute(self, call: Submission) -> Ack:
        """The innermost of the onion: the command is sound, its actor may give it."""
        command = call.command
        if command is None:
            return call.answer("rejected", call.problem)
        handler = self._handlers.get(type(command))
        if handler is None:
            known = ", ".join(entry.verb for entry in self.table()) or "no command at all"
            return call.answer("rejected", f"nobody handles {call.action!r} here: this engine takes {known}")
        outcome = await self._workers.run(call, command, handler)
        is_unknown = outcome.status == "failed" and call.has_started
        if command.changes and (outcome.status == "accepted" or is_unknown):
            self._version += 1
        return call.answer(outcome.status, outcome.reason, outcome.detail, target_version=outcome.version)

    def _submission(
        self, command: Command | Mapping[str, Any] | bytes, *, key: str | None, timeout_s: float, actor: str
    ) -> Submission:
        problem = _problem_around(key, timeout_s, actor)
        read: Command | None = None
        is_command = isinstance(command, Command)
        if isinstance(command, Command):
            read = command
        else:
            try:
                read = self._read(command)
            except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
                problem = problem or f"malformed command: {error}{self._hint(error)}"
        if not 0 < timeout_s < math.inf:
            timeout_s = self._timeout_s
        return Submission(
            read,
            problem=problem,
            key=key,
            actor=actor,
            timeout_s=timeout_s,
            deadline=asyncio.get_running_loop().time() + timeout_s,
            command_id=self._submitted + 1,
            desk=self._desk,
            is_checked=not is_command,
        )

    def _hint(self, error: Exception) -> str:
        """Name the commands when what was wrong is the command's name."""
        if not str(error).endswith("`$.command`") and "`command`" not in str(error):
            return ""
        return f"; there are {', '.join(entry.name for entry in self._entries.values())}"

    def _read(self, data: Mapping[str, Any] | bytes) -> Command:
        if self._decoder is None:
            union: Any = None
            for kind in self._entries:
                union = kind if union is None else union | kind
            self._decoder = msgspec.json.Decoder(union)
        if isinstance(data, bytes):
            return self._decoder.decode(data)
        return msgspec.convert(data, self._decoder.type)


def _problem_around(key: str | None, timeout_s: float, actor: str) -> str:
    """Say what is wrong with what comes with a command; empty: nothing."""
    if key is not None and not 0 < len(key) <= KEY_CHARACTERS_MAX:
        return f"a key of {len(key)} characters is not allowed: give 1 to {KEY_CHARACTERS_MAX}"
    if not 0 < timeout_s < math.inf:
        return f"timeout={timeout_s!r} is not allowed: give seconds above 0"
    if not 0 < len(actor) <= KEY_CHARACTERS_MAX:
        return f"an actor of {len(actor)} characters is not allowed: give 1 to {KEY_CHARACTERS_MAX}"
    return ""

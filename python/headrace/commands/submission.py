"""Submission: one command on its way to its Ack, as every middleware sees it.

Guarantees: the command is sound, and does not change on its way; ``answer`` costs nothing, and changes nothing.
Does not: carry the answer; that is what each middleware returns.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.commands.ack import Ack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.bus import EventBus
    from headrace.commands.ack import AckStatus
    from headrace.commands.deadline import Deadline
    from headrace.commands.family import Command
    from headrace.market.clock import Clock

__all__ = ["CommandContext", "Submission", "current_submission"]

# The command that the running code belongs to: what a handler submits must not wait for that very handler.
CURRENT: ContextVar[Submission | None] = ContextVar("headrace_command", default=None)


def current_submission() -> Submission | None:
    """Return the submission whose handler runs this code, with its actor and key; None outside of a handler."""
    return CURRENT.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """What the command bus gives each submission.

    events : the event bus, if there is one. clock : the engine's. replay : whether time is a recording's.
    stopwatch_ns : for durations; the wall live, T in a replay. version : the state's, now.
    """

    events: EventBus | None
    clock: Clock
    run_id: str
    replay: bool
    stopwatch_ns: Callable[[], int]
    version: Callable[[], int]


class Submission:
    """One submitted command.

    action : its verb. target : what it is about. key : a repetition with the same key gets the first one's Ack.
    actor : who. timeout_s : it is answered within that time. deadline : watches over it. above : the submission whose
    handler submitted this one; None for the others. has_started : its handler was called.
    """

    __slots__ = (
        *("above", "action", "actor", "command", "command_id", "context", "deadline", "has_started", "key", "target"),
        *("timeout_s", "_ended_ns", "_started_ns", "_submitted_ns"),
    )

    deadline: Deadline

    def __init__(
        self,
        command: Command,
        *,
        target: str,
        key: str | None,
        actor: str,
        timeout_s: float,
        command_id: int,
        context: CommandContext,
    ) -> None:
        self.command = command
        self.action = command.verb
        self.target = target
        self.key = key
        self.actor = actor
        self.timeout_s = timeout_s
        self.command_id = command_id
        self.context = context
        self.above = CURRENT.get()
        self.has_started = False
        self._submitted_ns = context.stopwatch_ns()
        self._started_ns = 0
        self._ended_ns: int | None = None

    @property
    def duration_ns(self) -> int:
        """Time since its submission."""
        return self.context.stopwatch_ns() - self._submitted_ns

    @property
    def is_nested(self) -> bool:
        """Whether a handler that is still at work submitted it, and may wait for it."""
        return self.above is not None and self.above.is_at_handler

    @property
    def is_at_handler(self) -> bool:
        """Whether its handler was called, and it is not answered yet."""
        return self.has_started and self._ended_ns is None

    def start(self) -> None:
        """Note that its handler is called now."""
        self.has_started = True
        self._started_ns = self.context.stopwatch_ns()

    def end(self) -> None:
        """Note that its handler is done, or given up."""
        self._ended_ns = self.context.stopwatch_ns()
        # A chain of handlers that each leave a task behind must not grow for ever.
        self.above = None

    def answer(
        self,
        status: AckStatus,
        reason: str = "",
        detail: Mapping[str, Any] | None = None,
        *,
        target_version: int | None = None,
    ) -> Ack:
        """Return an Ack for it, with the version and the timings of now."""
        context = self.context
        queued_until_ns = self._started_ns if self.has_started else context.stopwatch_ns()
        return Ack(
            status=status,
            version=context.version(),
            target_version=target_version,
            reason=reason,
            command_id=self.command_id,
            key=self.key,
            actor=self.actor,
            queued_ns=queued_until_ns - self._submitted_ns,
            handled_ns=0 if self._ended_ns is None else self._ended_ns - self._started_ns,
            detail=detail or {},
        )

"""Submission: one command on its way to its Ack, as every middleware sees it.

Guarantees: the command is sound, and does not change on its way; ``answer`` costs nothing, and changes nothing.
Does not: carry the answer; that is what each middleware returns.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.commands.ack import Ack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


@dataclass(slots=True, kw_only=True)
class CommandContext:
    """What the command bus gives each submission.

    clock : the engine's. replay : whether time is a recording's. stopwatch_ns : for durations; the wall live, T in a
    replay. version : the bus's, now.
    """

    clock: Clock
    replay: bool
    stopwatch_ns: Callable[[], int]
    version: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Submission:
    """One submitted command.

    action : its verb. target : what it is about. key : a repetition with the same key gets the first one's Ack.
    actor : who. timeout_s : it is answered within that time. submitted_ns, started_ns, ended_ns : by the stopwatch:
    when it came, when its handler was called, and when that was done or given up. deadline : its limit. above : the
    submission whose handler submitted this one; None for the others.
    """

    command: Command
    action: str
    target: str
    key: str | None
    actor: str
    timeout_s: float
    command_id: int
    context: CommandContext
    submitted_ns: int
    started_ns: int | None = None
    ended_ns: int | None = None
    deadline: Deadline = field(init=False)
    above: Submission | None = field(default_factory=CURRENT.get)

    @property
    def is_at_handler(self) -> bool:
        """Whether its handler was called, and it is not answered yet."""
        return self.started_ns is not None and self.ended_ns is None

    def answer(
        self,
        status: AckStatus,
        reason: str = "",
        detail: Mapping[str, Any] | None = None,
        *,
        target_version: int | None = None,
    ) -> Ack:
        """Return an Ack for it, with the version and the timings of now."""
        started_ns, ended_ns = self.started_ns, self.ended_ns
        return Ack(
            status=status,
            version=self.context.version,
            target_version=target_version,
            reason=reason,
            command_id=self.command_id,
            key=self.key,
            actor=self.actor,
            queued_ns=(self.context.stopwatch_ns() if started_ns is None else started_ns) - self.submitted_ns,
            handled_ns=0 if started_ns is None or ended_ns is None else ended_ns - started_ns,
            detail=detail or {},
        )

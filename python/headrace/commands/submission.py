"""Submission: one command on its way to its Ack, as every middleware sees it.

Guarantees: the command does not change on its way; ``answer`` may be called by anybody, and costs nothing.
Does not: carry the answer; that is what each middleware returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headrace.commands.ack import Ack

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.commands.ack import AckStatus
    from headrace.commands.family import Command
    from headrace.market.clock import Clock

__all__ = ["CommandDesk", "Submission"]

MALFORMED = "malformed"


class CommandDesk:
    """What the command bus lends its middleware.

    events : the event bus, if there is one. clock : the engine's. replay : whether time is a recording's.
    stopwatch_ns : for durations; the wall live, T in a replay. version : the state's, now.
    """

    __slots__ = ("clock", "events", "replay", "run_id", "stopwatch_ns", "version")

    def __init__(
        self,
        *,
        events: EventBus | None,
        clock: Clock,
        run_id: str,
        replay: bool,
        stopwatch_ns: Callable[[], int],
        version: Callable[[], int],
    ) -> None:
        self.events = events
        self.clock = clock
        self.run_id = run_id
        self.replay = replay
        self.stopwatch_ns = stopwatch_ns
        self.version = version


class Submission:
    """One command that somebody submitted.

    command : None when what came was none; then ``problem`` says why, and where. key : whoever repeats a command with
    its key gets its first answer. actor : who. timeout_s : within so long it is answered. deadline : that moment, by
    the event loop's time. is_checked : its fields are known to be good. has_started : its handler was called.
    """

    __slots__ = (
        *("actor", "command", "command_id", "deadline", "desk", "has_started", "is_checked", "key", "problem"),
        "timeout_s",
        *("_ended_ns", "_started_ns", "_submitted_ns"),
    )

    def __init__(
        self,
        command: Command | None,
        *,
        problem: str,
        key: str | None,
        actor: str,
        timeout_s: float,
        deadline: float,
        command_id: int,
        desk: CommandDesk,
        is_checked: bool,
    ) -> None:
        self.command = command
        self.problem = problem
        self.key = key
        self.actor = actor
        self.timeout_s = timeout_s
        self.deadline = deadline
        self.command_id = command_id
        self.desk = desk
        self.is_checked = is_checked
        self.has_started = False
        self._submitted_ns = desk.stopwatch_ns()
        self._started_ns = 0
        self._ended_ns = 0

    @property
    def action(self) -> str:
        """The command's verb; "malformed" when it is none."""
        return MALFORMED if self.command is None else self.command.verb

    @property
    def target(self) -> str:
        """What the command is about; empty when it is none."""
        return "" if self.command is None else self.command.target

    @property
    def duration_ns(self) -> int:
        """Time since its submission."""
        return self.desk.stopwatch_ns() - self._submitted_ns

    def start(self) -> None:
        """Note that its handler is called now."""
        self.has_started = True
        self._started_ns = self.desk.stopwatch_ns()

    def end(self) -> None:
        """Note that its handler is done, or given up."""
        self._ended_ns = self.desk.stopwatch_ns()

    def answer(
        self,
        status: AckStatus,
        reason: str = "",
        detail: Mapping[str, Any] | None = None,
        *,
        target_version: int | None = None,
    ) -> Ack:
        """Return an Ack for it, with the version and the timings of now."""
        queued_ns = self._started_ns - self._submitted_ns if self.has_started else self.duration_ns
        return Ack(
            status=status,
            version=self.desk.version(),
            target_version=target_version,
            reason=reason,
            command_id=self.command_id,
            key=self.key,
            actor=self.actor,
            queued_ns=queued_ns,
            handled_ns=self._ended_ns - self._started_ns if self._ended_ns else 0,
            detail=detail or {},
        )

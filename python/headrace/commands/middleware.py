"""The middleware that every command goes through, unless a bus is given another onion.

::

    Telemetry ─▶ AuditTrail ─▶ Validation ─▶ Authorization ─▶ RateLimit ─▶ Idempotency ─▶ handler

Who counts and who records stand outside, so that what the others refuse is counted and recorded as well. Authorization
stands before Idempotency, so that nobody gets the answer to a command that he may not give.

Guarantees: bounded memory; all times are the engine's, so a replay decides alike.
Does not: hold a command up: only your authorization hook may await something.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from headrace.commands.meter import CommandMeter
from headrace.errors import BusError, ClosedError
from headrace.limits import AUDITS_WAITING_MAX, COMMAND_KEYS_MAX, COMMAND_KEYS_S, COMMAND_RATE
from headrace.market.events import Audit

if TYPE_CHECKING:
    from headrace.commands.ack import Ack
    from headrace.commands.family import Command
    from headrace.commands.onion import Middleware, Proceed
    from headrace.commands.submission import CommandDesk, Submission

__all__ = [
    "AuditTrail",
    "Authorization",
    "Authorize",
    "Idempotency",
    "RateLimit",
    "Telemetry",
    "Validation",
    "default_middleware",
]

log = logging.getLogger("headrace.commands")

# Returns why an actor may not give a command; None: he may.
Authorize: TypeAlias = Callable[[str, "Command"], str | Awaitable[str | None] | None]


def default_middleware(*, authorize: Authorize | None = None, rate_max: float | None = None) -> list[Middleware]:
    """Return the layers, outermost first: add your own in front of them (outside) or behind them (inside).

    authorize : your hook; None lets everybody. rate_max : commands a second; COMMAND_RATE unless given.
    """
    limit = RateLimit(COMMAND_RATE if rate_max is None else rate_max)
    return [Telemetry(), AuditTrail(), Validation(), Authorization(authorize), limit, Idempotency()]


class Telemetry:
    """Counts every command and its latency by verb and outcome; ``CommandBus.stats`` shows them."""

    def __init__(self) -> None:
        self.meter = CommandMeter()

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on and record."""
        ack = await proceed()
        self.meter.record(call.action, ack.status, call.duration_ns)
        return ack


class AuditTrail:
    """Publishes an ``Audit`` event for every command.

    A control lane that is full holds up no answer: the audit waits, and goes first with the next one. Of more than
    AUDITS_WAITING_MAX the oldest goes to the log instead.
    """

    def __init__(self) -> None:
        self._waiting: deque[Audit] = deque()
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Audits that the lane had no room for yet."""
        return len(self._waiting)

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on and publish."""
        ack = await proceed()
        if call.desk.events is not None:
            self._waiting.append(_audit(call, ack))
            self.flush(call.desk)
            if len(self._waiting) > AUDITS_WAITING_MAX:
                self._lose(self._waiting.popleft())
        return ack

    def flush(self, desk: CommandDesk) -> None:
        """Publish what waits, oldest first, as far as there is room."""
        assert desk.events is not None
        while self._waiting:
            try:
                desk.events.publish_nowait(self._waiting[0])
            except (BusError, ClosedError):
                return
            self._waiting.popleft()

    def close(self, desk: CommandDesk) -> None:
        """Publish what waits; what finds no room now never will."""
        if desk.events is not None:
            self.flush(desk)
        while self._waiting:
            self._lose(self._waiting.popleft())

    def _lose(self, audit: Audit) -> None:
        self.lost += 1
        log.error("an audit found no room on the bus: %s", msgspec.json.encode(audit).decode())


def _audit(call: Submission, ack: Ack) -> Audit:
    detail: dict[str, object] = {"command_id": call.command_id}
    if call.key is not None:
        detail["key"] = call.key
    if call.command is not None:
        detail["command"] = msgspec.to_builtins(call.command)
    if ack.command_id != call.command_id:
        detail["repeats"] = ack.command_id
    return Audit(
        source="commands",
        actor=call.actor,
        action=call.action,
        target=call.target,
        outcome=ack.status,
        reason=ack.reason,
        duration_ns=call.duration_ns,
        version=ack.version,
        detail=detail,
    )


class Validation:
    """Rejects what is no command, with the path of what is wrong in it."""

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what is sound."""
        if call.problem:
            return call.answer("rejected", call.problem)
        if not call.is_checked:
            # A struct made in Python is not checked when it is made; reading it back in is.
            try:
                msgspec.convert(msgspec.to_builtins(call.command), type(call.command))
            except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
                return call.answer("rejected", f"malformed {call.action!r}: {error}")
        return await proceed()


class Authorization:
    """Asks your hook whether the actor may give the command; without one, everybody may."""

    def __init__(self, authorize: Authorize | None = None) -> None:
        self._authorize = authorize

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what the hook lets pass."""
        if self._authorize is not None and call.command is not None:
            refusal = self._authorize(call.actor, call.command)
            if inspect.isawaitable(refusal):
                refusal = await refusal
            if refusal is not None:
                return call.answer("rejected", f"{call.actor!r} may not: {refusal}")
        return await proceed()


class RateLimit:
    """Lets ``per_s`` commands a second pass, whoever sends them, with a burst of as many; urgent ones always pass."""

    def __init__(self, per_s: float = COMMAND_RATE) -> None:
        self._per_s = per_s
        self._tokens = float(per_s)
        self._filled_ns: int | None = None

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what is within the rate."""
        if call.command is not None and not call.command.urgent and not self._take(call.desk.clock.now_ns()):
            reason = f"more than {self._per_s:g} commands a second: slow down, and submit it again"
            return call.answer("rejected", reason)
        return await proceed()

    def _take(self, now_ns: int) -> bool:
        if self._filled_ns is not None:
            self._tokens = min(self._per_s, self._tokens + (now_ns - self._filled_ns) * self._per_s / 1e9)
        self._filled_ns = now_ns
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Flight:
    """A command with a key that is on its way."""

    __slots__ = ("ack", "command", "landed")

    def __init__(self, command: Command | None) -> None:
        self.command = command
        self.ack: Ack | None = None
        self.landed = asyncio.Event()


class Idempotency:
    """Gives a repeated command the Ack of its first submission: same key and command, one Ack; also while on its way.

    The same key with another command is rejected. Remembered is what reached its handler, whatever came of it: a
    repetition never handles a command twice. keys_max, keys_s : so many answers, so long, by the engine's clock.
    """

    def __init__(self, *, keys_max: int = COMMAND_KEYS_MAX, keys_s: float = COMMAND_KEYS_S) -> None:
        self._keys_max = keys_max
        self._keys_ns = int(keys_s * 1e9)
        self._flights: dict[str, _Flight] = {}
        # In the order of their expiry, as every key is kept equally long.
        self._answers: dict[str, tuple[Command | None, Ack, int]] = {}

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what is new."""
        key, command = call.key, call.command
        if key is None:
            return await proceed()
        now_ns = call.desk.clock.now_ns()
        self._forget(now_ns)
        flight, answer = self._flights.get(key), self._answers.get(key)
        first = flight.command if flight is not None else answer[0] if answer is not None else command
        if first != command:
            action = "nothing" if first is None else first.verb
            reason = f"key {key!r} belongs to another command ({action!r}): give each command a key of its own"
            return call.answer("rejected", reason)
        if answer is not None:
            return answer[1]
        if flight is not None:
            await flight.landed.wait()
            assert flight.ack is not None
            return flight.ack
        return await self._fly(key, call, proceed)

    async def _fly(self, key: str, call: Submission, proceed: Proceed) -> Ack:
        flight = self._flights[key] = _Flight(call.command)
        flight.ack = call.answer("failed", "its first submission was broken off, outcome unknown")
        try:
            ack = flight.ack = await proceed()
        finally:
            del self._flights[key]
            flight.landed.set()
            if call.has_started:
                self._remember(key, call, flight.ack)
        return ack

    def _remember(self, key: str, call: Submission, ack: Ack) -> None:
        if len(self._answers) >= self._keys_max:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = (call.command, ack, call.desk.clock.now_ns() + self._keys_ns)

    def _forget(self, now_ns: int) -> None:
        while self._answers:
            key, (_, _, expires_ns) = next(iter(self._answers.items()))
            if expires_ns > now_ns:
                return
            del self._answers[key]

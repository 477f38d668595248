"""Ready-made middleware: the onion of a bus that is given no other one.

::

    Authorization (with a hook) ─▶ RateLimit ─▶ Idempotency ─▶ handler

Authorization stands before Idempotency, so that no actor gets the answer to a command that is not allowed to it.

Guarantees: bounded memory; all times are the engine's, so a replay decides alike.
Does not: hold a command up: only your authorization hook may await something.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from headrace.commands.ack import UNKNOWN_OUTCOME
from headrace.limits import COMMAND_KEYS_MAX, COMMAND_KEYS_S, COMMAND_RATE
from headrace.market.checks import rate

if TYPE_CHECKING:
    from headrace.commands.ack import Ack
    from headrace.commands.family import Command
    from headrace.commands.onion import Middleware, Proceed
    from headrace.commands.submission import Submission

__all__ = ["Authorization", "Authorize", "Idempotency", "RateLimit", "default_middleware"]

# Returns why an actor may not give a command; None: he may.
Authorize: TypeAlias = Callable[[str, "Command"], str | Awaitable[str | None] | None]


def default_middleware(*, authorize: Authorize | None = None, rate_max: float | None = None) -> list[Middleware]:
    """Return the layers, outermost first: add your own in front of them (outside) or behind them (inside).

    authorize : your hook; without one every actor may give every command. rate_max : commands a second; COMMAND_RATE
    unless given.
    """
    usual: list[Middleware] = [RateLimit(COMMAND_RATE if rate_max is None else rate_max), Idempotency()]
    return usual if authorize is None else [Authorization(authorize), *usual]


class Authorization:
    """Rejects the commands that your hook refuses to their actor."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what the hook lets pass."""
        refusal = self._authorize(call.actor, call.command)
        if inspect.isawaitable(refusal):
            refusal = await refusal
        if refusal is not None:
            return call.answer("rejected", f"{call.actor!r} may not: {refusal}")
        return await proceed()


class RateLimit:
    """Lets ``per_s`` commands a second pass, of all actors, with a burst of a second's worth; urgent ones always pass.

    Below one a second a single command passes when none has for long enough. Raises OptionError.
    """

    def __init__(self, per_s: float = COMMAND_RATE) -> None:
        self._per_s = rate("per_s", per_s, "commands")
        self._spacing_ns = round(min(1e9 / self._per_s, 2.0**62))
        self._burst_ns = (max(1, int(self._per_s)) - 1) * self._spacing_ns
        # The time at which the commands so far would have passed, evenly spaced, and the next one may.
        self._next_ns = -(1 << 63)

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what is within the rate."""
        if call.command.urgent:
            return await proceed()
        now_ns = call.context.clock.now_ns()
        next_ns = max(self._next_ns, now_ns)
        if next_ns - now_ns > self._burst_ns:
            reason = f"more than {self._per_s:g} commands a second: slow down, and submit it again"
            return call.answer("rejected", reason)
        self._next_ns = next_ns + self._spacing_ns
        return await proceed()


class Idempotency:
    """Gives a repeated command the Ack of its first submission: same key and command, one Ack; also while on its way.

    The same key with another command is rejected. Remembered is what reached its handler, whatever came of it: a
    repetition never handles a command twice. keys_max, keys_s : so many answers, so long, by the engine's clock.
    """

    def __init__(self, *, keys_max: int = COMMAND_KEYS_MAX, keys_s: float = COMMAND_KEYS_S) -> None:
        self._keys_max = keys_max
        self._keys_ns = int(keys_s * 1e9)
        # Commands on their way, each with its coming answer.
        self._flights: dict[str, tuple[Command, asyncio.Future[Ack]]] = {}
        # In the order of their expiry, as every key is kept equally long.
        self._answers: dict[str, tuple[Command, Ack, int]] = {}

    async def __call__(self, call: Submission, proceed: Proceed) -> Ack:
        """Hand on what is new."""
        key, command = call.key, call.command
        if key is None:
            return await proceed()
        now_ns = call.context.clock.now_ns()
        self._forget(now_ns)
        flight, answer = self._flights.get(key), self._answers.get(key)
        first = (flight or answer or (command,))[0]
        if first != command:
            reason = f"key {key!r} belongs to another command ({first.verb!r}): give each command a key of its own"
            return call.answer("rejected", reason)
        if answer is not None:
            return answer[1]
        if flight is not None:
            return await asyncio.shield(flight[1])
        return await self._fly(key, call, proceed)

    async def _fly(self, key: str, call: Submission, proceed: Proceed) -> Ack:
        flight: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._flights[key] = (call.command, flight)
        ack = call.answer("failed", f"its first submission was broken off, {UNKNOWN_OUTCOME}")
        try:
            ack = await proceed()
        finally:
            del self._flights[key]
            flight.set_result(ack)
            if call.started_ns is not None:
                self._remember(key, call, ack)
        return ack

    def _remember(self, key: str, call: Submission, ack: Ack) -> None:
        if len(self._answers) >= self._keys_max:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = (call.command, ack, call.context.clock.now_ns() + self._keys_ns)

    def _forget(self, now_ns: int) -> None:
        while self._answers:
            key, (_, _, expires_ns) = next(iter(self._answers.items()))
            if expires_ns > now_ns:
                return
            del self._answers[key]

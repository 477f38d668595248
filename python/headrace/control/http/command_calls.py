"""CommandCalls: a command that came over HTTP, from its body to its answer, each key once.

::

    body ─▶ 404 · 422 by its form ─▶ key known? ─▶ first answer again, or 409
                                       └ new ─▶ CommandBus ─▶ Ack ─▶ 200 · 409 rejected · 500 failed · 504 unknown

What happens when the file of answers cannot be read or written
    A halt goes through all the same; any other command is answered 503 and not submitted. An answer that cannot be kept
    is given all the same, and the log says so.

Guarantees: simultaneous calls with one key are one command; a command whose outcome is not known is never repeated; a
call that did not reach the command bus has an audit of its own.
Does not: authenticate; the guard does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import sqlite3
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.control.http.exchange import JSON, PROBLEM_JSON, shown
from headrace.control.http.problems import ProblemError
from headrace.control.plain import encoded
from headrace.market.checks import nearest_name

if TYPE_CHECKING:
    from headrace.commands import Ack, CommandBus, CommandEntry
    from headrace.control.http.answer_store import AnswerStore
    from headrace.control.http.audit import HttpAudit
    from headrace.control.http.exchange import Exchange
    from headrace.control.tokens import Actor

__all__ = ["TIMEOUT_HEADER", "TIMEOUT_S_MAX", "Answer", "CommandCalls"]

log = logging.getLogger(__name__)

# After so many seconds the outcome of a command is unknown.
TIMEOUT_HEADER = "Command-Timeout"
TIMEOUT_S_MAX = 3_600
# An urgent command does not wait longer for a disk.
URGENT_LOOK_S = 0.1
_PLACE = re.compile(r" - at `\$\.?([^`]*)`|field `([^`]*)`")


class Answer(NamedTuple):
    """An answer as it is kept. is_repeated : the first call with this key got it."""

    status: int
    body: bytes
    is_repeated: bool = False

    @property
    def media_type(self) -> bytes:
        """The body's."""
        return JSON if self.status == HTTPStatus.OK else PROBLEM_JSON


class CommandCalls:
    """The commands of one bus. audit : of calls that do not reach it."""

    def __init__(self, commands: CommandBus, answers: AnswerStore, audit: HttpAudit) -> None:
        self._commands = commands
        self._answers = answers
        self._audit = audit
        # Calls on their way, by actor and key: the command's digest, and the coming answer.
        self._flights: dict[tuple[str, str], tuple[bytes, asyncio.Future[Answer]]] = {}

    async def call(self, verb: str, exchange: Exchange) -> Answer:
        """Take a command to its answer. Raises ProblemError."""
        actor, key = exchange.actor, exchange.key
        assert actor is not None
        try:
            entry = self._entry(verb)
            self._check_may(actor, entry)
            command = self._command(entry, exchange.body)
            timeout_s = _timeout_s(exchange)
            if not entry.changes:
                return _answer(await self._submit(command, exchange, timeout_s))
            answer = await self._once((actor.name, _required(key)), entry, command, exchange, timeout_s)
        except ProblemError as error:
            self._audit.refused_call(exchange, verb, error.problem)
            raise
        if answer.is_repeated:
            self._audit.repeated_call(exchange, verb, answer.status)
        return answer

    def _entry(self, verb: str) -> CommandEntry:
        table = {entry.verb: entry for entry in self._commands.table()}
        if verb in table:
            return table[verb]
        close = nearest_name(verb[:100], table)
        hint = f"did you mean {close}? " if close else ""
        detail = f"there is no command {shown(verb)}: {hint}GET /v1/commands lists them"
        raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail, nearest=close)

    def _check_may(self, actor: Actor, entry: CommandEntry) -> None:
        if entry.changes and not actor.may_command:
            detail = f"the token of {actor.name} is read-only: use another one for commands"
            raise ProblemError(HTTPStatus.FORBIDDEN, "read-only", detail, field="Authorization")

    def _command(self, entry: CommandEntry, body: bytes) -> bytes:
        """Return a command as the bus reads it; its fields are sorted, so that equal commands are equal bytes."""
        try:
            fields = msgspec.json.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            detail = f"the body is no JSON ({error}): send an object of the command's fields, {{}} without any"
            raise _invalid(detail) from error
        if not isinstance(fields, dict):
            detail = f"the body is {type(fields).__name__}: send an object of the command's fields, {{}} without any"
            raise _invalid(detail)
        known = [argument.name for argument in entry.arguments]
        for name in fields:
            if name not in known:
                close = nearest_name(name[:100], known)
                hint = f"did you mean {close}? " if close else ""
                there = ", ".join(known) or "none"
                raise _invalid(f"{entry.verb} has no field {shown(name)}: {hint}it has {there}", name[:100], close)
        # 2.0 is an integer in JSON.
        given = {name: int(own) if isinstance(own, float) and own.is_integer() else own for name, own in fields.items()}
        try:
            command = msgspec.json.encode({"command": entry.name, **given}, order="deterministic")
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _invalid(f"the body cannot be read: {error}") from error
        if problem := self._commands.problem(command):
            place = _PLACE.search(problem)
            raise _invalid(problem, "" if place is None else place[1] or place[2] or "")
        return command

    async def _submit(self, command: bytes, exchange: Exchange, timeout_s: float | None) -> Ack:
        """Submit a command under the actor's own key, and return its Ack with the key as it was sent."""
        actor, key = exchange.actor, exchange.key
        assert actor is not None
        own = None if key is None else f"{actor.name}/{key}"
        ack = await self._commands.submit(command, key=own, timeout=timeout_s, actor=self._audit.actor(exchange))
        return msgspec.structs.replace(ack, key=key)

    async def _once(
        self,
        slot: tuple[str, str],
        entry: CommandEntry,
        command: bytes,
        exchange: Exchange,
        timeout_s: float | None,
    ) -> Answer:
        digest = hashlib.sha256(command).digest()
        if slot in self._flights:
            first, coming = self._flights[slot]
            if first != digest:
                raise _reused(slot[1])
            return (await asyncio.shield(coming))._replace(is_repeated=True)
        flight: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._flights[slot] = (digest, flight)
        answer = _unknown("its first call was broken off")
        try:
            kept = await self._kept(slot, digest, is_urgent=entry.urgent)
            if kept is None:
                ack = await self._submit(command, exchange, timeout_s)
                answer = _answer(ack)
                await self._keep(slot, digest, answer, is_urgent=entry.urgent)
            else:
                answer = kept
        finally:
            del self._flights[slot]
            flight.set_result(answer)
        return answer

    async def _kept(self, slot: tuple[str, str], digest: bytes, *, is_urgent: bool) -> Answer | None:
        """Return the first answer; None: the key is new, and is kept now. Raises ProblemError."""
        try:
            async with asyncio.timeout(URGENT_LOOK_S if is_urgent else None):
                kept = await self._answers.look(*slot)
                if kept is None and not is_urgent:
                    await self._answers.begin(*slot, digest)
        except (sqlite3.Error, TimeoutError) as error:
            if is_urgent:
                return None
            log.exception("a key cannot be kept, and its command is not submitted")
            detail = "the answer to this command could not be kept: it was not run; see the engine's log"
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail) from error
        if kept is None:
            return None
        if kept.digest != digest:
            raise _reused(slot[1])
        if kept.status is None or kept.body is None:
            return _unknown("the engine ended before it was answered")._replace(is_repeated=True)
        return Answer(kept.status, kept.body, is_repeated=True)

    async def _keep(self, slot: tuple[str, str], digest: bytes, answer: Answer, *, is_urgent: bool) -> None:
        try:
            if is_urgent:
                async with asyncio.timeout(URGENT_LOOK_S):
                    await self._answers.begin(*slot, digest)
                    await self._answers.finish(*slot, answer.status, answer.body)
            else:
                await self._answers.finish(*slot, answer.status, answer.body)
        except (sqlite3.Error, TimeoutError):
            log.exception("the answer to a command is not kept: a repetition gets %d", HTTPStatus.GATEWAY_TIMEOUT)


def _answer(ack: Ack) -> Answer:
    """Return an Ack as HTTP says it."""
    if ack.is_done:
        return Answer(HTTPStatus.OK, encoded(ack))
    if ack.status == "rejected":
        error = ProblemError(HTTPStatus.CONFLICT, "rejected", ack.reason, ack=ack)
    elif ack.is_unknown:
        error = ProblemError(HTTPStatus.GATEWAY_TIMEOUT, "unknown-outcome", ack.reason, ack=ack)
    else:
        error = ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", ack.reason, ack=ack)
    return Answer(error.problem.status, encoded(error.problem))


def _unknown(why: str) -> Answer:
    detail = f"{why}, outcome unknown: look at the engine's state before you give the command again, with a new key"
    error = ProblemError(HTTPStatus.GATEWAY_TIMEOUT, "unknown-outcome", detail)
    return Answer(error.problem.status, encoded(error.problem))


def _invalid(detail: str, field: str = "", nearest: str = "") -> ProblemError:
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, field=field, nearest=nearest)


def _reused(key: str) -> ProblemError:
    detail = f"the key {key} belongs to another command: give each command a key of its own"
    return ProblemError(HTTPStatus.CONFLICT, "key-reused", detail, field="Idempotency-Key")


def _required(key: str | None) -> str:
    if key is None:
        detail = "Idempotency-Key is missing: send a text of your own, another one for each command"
        raise _invalid(detail, "Idempotency-Key")
    return key


def _timeout_s(exchange: Exchange) -> float | None:
    """Return how long the command may take, by its header, s; None: as long as the bus says."""
    name = TIMEOUT_HEADER.lower().encode()
    if name not in exchange.headers:
        return None
    try:
        seconds = float(exchange.header(name) or b"")
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_S_MAX:
        detail = f"{TIMEOUT_HEADER} is no time: send seconds above 0, up to {TIMEOUT_S_MAX:,}"
        raise _invalid(detail, TIMEOUT_HEADER)
    return seconds

"""Onion: the user's middleware around the handler, each layer contained, so that every command comes out with an Ack.

::

    submit: validate ─▶ yours ─▶ yours ─▶ … ─▶ handler
    audit, count ◀─ Ack ◀─┴────────┴──────┴───────┘

What happens when a layer raises, returns no Ack, hands on twice, or still waits when the command's time is over
    The layer outside of it gets a "failed" Ack that names it, and goes on as with any other.

Guarantees: a layer hands on at most once, so that no command is handled twice; no layer can lose an answer.
Does not: undo what was done inside; a failed Ack says that the outcome is unknown when the handler had been called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from headrace.commands.ack import Ack
from headrace.dispatch.faults import safe_text
from headrace.errors import CommandError

if TYPE_CHECKING:
    from headrace.commands.submission import Submission

__all__ = ["Core", "Middleware", "Proceed", "wrap"]

log = logging.getLogger("headrace.commands")

Proceed: TypeAlias = Callable[[], Awaitable[Ack]]
Core: TypeAlias = Callable[["Submission"], Awaitable[Ack]]


class Middleware(Protocol):
    """One layer: ``async def mine(call, proceed): …; ack = await proceed(); …; return ack``.

    It sees sound commands only. It may answer one without handing on (``return call.answer("rejected", "why")``), or
    hand on and look at the answer.
    """

    async def __call__(self, call: Submission, proceed: Proceed, /) -> Ack:
        """Answer a command, or hand it on and return the answer."""


def wrap(middleware: Sequence[Middleware], core: Core) -> Core:
    """Return ``core`` inside of all the layers; the first of them is the outermost."""
    for layer in reversed(middleware):
        core = _Layer(layer, core)
    return core


class _Layer:
    """One layer and what is inside of it."""

    def __init__(self, middleware: Middleware, inner: Core) -> None:
        self._middleware = middleware
        self._inner = inner
        self._name = getattr(middleware, "__qualname__", type(middleware).__qualname__)

    async def __call__(self, call: Submission) -> Ack:
        door = _Door(self._inner, call, self._name)
        try:
            ack: object = await self._middleware(call, door)
        except asyncio.CancelledError:
            # The deadline's, or the submitter's own: the bus passes the latter on when it has the Ack.
            return self._failed(call, door, "was cancelled, or at it when the command's time was over")
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            # So are sys.exit and a panic: the middleware's failure, not our end.
            log.exception("middleware %s failed at command %r", self._name, call.action)
            return self._failed(call, door, f"raised {type(error).__name__}: {safe_text(error)}")
        finally:
            door.is_shut = True
        if not isinstance(ack, Ack):
            return self._failed(call, door, f"returned {ack!r:.200} and no Ack")
        return ack

    def _failed(self, call: Submission, door: _Door, what: str) -> Ack:
        if door.ack is not None:
            after = f"after the answer {door.ack.status!r}"
        else:
            after = "outcome unknown" if call.has_started else "the command was not run"
        return call.answer("failed", f"middleware {self._name} {what}: {after}")


class _Door:
    """The way on to the next layer, open once."""

    __slots__ = ("_call", "_inner", "_name", "ack", "is_shut")

    def __init__(self, inner: Core, call: Submission, name: str) -> None:
        self._inner = inner
        self._call = call
        self._name = name
        self.ack: Ack | None = None
        self.is_shut = False

    async def __call__(self) -> Ack:
        if self.is_shut:
            msg = f"middleware {self._name} hands on a command twice, or after its answer: await proceed() once"
            raise CommandError(msg, command=self._call.action)
        self.is_shut = True
        self.ack = await self._inner(self._call)
        return self.ack

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

from headrace.commands.ack import UNKNOWN_OUTCOME, Ack
from headrace.dispatch.faults import error_text
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
        is_open, answer = True, None

        async def proceed() -> Ack:
            nonlocal is_open, answer
            if not is_open:
                msg = f"middleware {self._name} hands on a command twice, or after its answer: await proceed() once"
                raise CommandError(msg, command=call.action)
            is_open = False
            answer = await self._inner(call)
            return answer

        try:
            ack: object = await self._middleware(call, proceed)
        except asyncio.CancelledError:
            # The deadline's, or the submitter's own: the bus passes the latter on when it has the Ack.
            return self._failed(call, answer, "was cancelled, or at it when the command's time was over")
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            # So are sys.exit and a panic: the middleware's failure, not our end.
            log.exception("middleware %s failed at command %r", self._name, call.action)
            return self._failed(call, answer, f"raised {error_text(error)}")
        finally:
            is_open = False
        return ack if isinstance(ack, Ack) else self._failed(call, answer, f"returned {ack!r:.200} and no Ack")

    def _failed(self, call: Submission, answer: Ack | None, what: str) -> Ack:
        if answer is not None:
            after = f"after the answer {answer.status!r}"
        else:
            after = "the command was not run" if call.started_ns is None else UNKNOWN_OUTCOME
        return call.answer("failed", f"middleware {self._name} {what}: {after}")

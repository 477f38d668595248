"""Ack: the one answer that every command gets, and Outcome: what its handler says of it.

Guarantees: immutable; ``accepted`` and ``noop`` leave the engine as the command asked for, the other two may not.
Does not: travel as an exception; what a command says is never a reason to raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from headrace.market.checks import of_type, one_of

__all__ = ["UNKNOWN_OUTCOME", "Ack", "AckStatus", "Outcome"]

# In the reason of a failed command whose handler may have done something, or nothing.
UNKNOWN_OUTCOME = "outcome unknown"

AckStatus: TypeAlias = Literal["accepted", "noop", "rejected", "failed"]


class Outcome(msgspec.Struct, frozen=True):
    """What a handler made of a command.

    status : "accepted": done, or begun. "noop": it was so already. "rejected": it is not possible, and nothing changed.
    "failed": it went wrong; ``reason`` says how, and whether anything changed.
    detail : what there is to tell, of types that JSON holds. version : of what the command is about, if that has one.
    Raises OptionError.
    """

    status: AckStatus
    reason: str = ""
    detail: Mapping[str, Any] = {}
    version: int | None = None

    def __post_init__(self) -> None:
        one_of("status", self.status, get_args(AckStatus))
        of_type("reason", self.reason, str)
        of_type("detail", self.detail, Mapping)
        of_type("version", self.version, int, None)


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    version : of the command bus; rises with every change that a command made. target_version : of what the command is
    about (a strategy's rises with every change of its state), None if that has none. command_id : rises by one with
    every command; a repeated one has the first one's. queued_ns : from its submission to its handler. handled_ns : its
    handler's own time, 0 when none was called. Both by the wall; by T in a replay.
    """

    status: AckStatus
    version: int
    target_version: int | None = None
    reason: str = ""
    command_id: int
    key: str | None = None
    actor: str = ""
    queued_ns: int = 0
    handled_ns: int = 0
    detail: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        one_of("status", self.status, get_args(AckStatus))

    @property
    def is_done(self) -> bool:
        """Whether the engine is as the command asked for: accepted, or a noop."""
        return self.status in ("accepted", "noop")

    @property
    def is_unknown(self) -> bool:
        """Whether it failed in a way that leaves open whether anything changed."""
        return self.status == "failed" and UNKNOWN_OUTCOME in self.reason

"""Problem: every refusal of the control API, as one document (application/problem+json, RFC 9457).

Guarantees: it says the fact and what to do next, and names the field and the nearest name where there is one; nothing
of the inside: no path of a file, no traceback.
Does not: decide; the guard and the handlers do.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from headrace.commands import Ack

__all__ = ["Problem", "ProblemError"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not done.

    type : a word of a closed list: "host", "origin", "rate", "token", "read-only", "not-found", "method", "too-large",
        "media-type", "malformed", "invalid", "key-reused", "rejected", "failed", "unknown-outcome", "unavailable",
        "internal".
    title : the status in words. status : the HTTP status. detail : the fact, and what to do next.
    field : the part of the request that is wrong. nearest : the name that was probably meant.
    ack : of a command that reached its handler or the bus.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str = ""
    nearest: str = ""
    ack: Ack | None = None


class ProblemError(Exception):
    """Ends a request with a Problem. headers : further ones of the answer."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        *,
        field: str = "",
        nearest: str = "",
        ack: Ack | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            type=kind,
            title=status.phrase,
            status=int(status),
            detail=detail,
            field=field,
            nearest=nearest,
            ack=ack,
        )
        self.headers = headers

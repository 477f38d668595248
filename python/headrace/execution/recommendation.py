"""Recommendation: what a pipeline proposes, and the row that a worker claims.

Guarantees: a new one is checked before any statement; the same idempotency key with other content is an error.
Does not: hold a status; the database does.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.errors import RecommendationError
from headrace.execution.database.base import transaction
from headrace.execution.values import json_object, ms_of, refuse_value
from headrace.market.checks import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headrace.execution.database.base import Connection, Row, Value
    from headrace.execution.values import Time

__all__ = [
    "CLAIMED_COLUMNS",
    "Bar",
    "Claimed",
    "Features",
    "NewRecommendation",
    "claimed_of",
    "insert_recommendations",
]

KEY_LENGTH_MAX = 256


class Claimed(NamedTuple):
    """A recommendation that this worker holds. epoch : of this claim. reason, cause : JSON objects."""

    id: int
    ticker: str
    action: str
    confidence: float
    reason: dict[str, Any]
    created_ms: int
    epoch: int
    attempts: int
    idempotency_key: str
    cause: dict[str, Any] | None


CLAIMED_COLUMNS = (
    "id, ticker, action, confidence, CAST(reason AS TEXT), MS(created_at), epoch, attempts, idempotency_key,"
    " CAST(cause_json AS TEXT)"
)


def claimed_of(row: Row) -> Claimed:
    """Return a row of ``CLAIMED_COLUMNS``; what follows them is not looked at."""
    number, ticker, action, confidence, reason, created, epoch, attempts, key, cause = row[:10]
    decoded = None if cause is None else msgspec.json.decode(cause)
    return Claimed(
        number, ticker, action, confidence, msgspec.json.decode(reason), created, epoch, attempts, key, decoded
    )


class Bar(NamedTuple):
    """A closed bar. end_ms : its end."""

    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Features(NamedTuple):
    """What was computed of a ticker at one time; None: there was not enough data."""

    end_ms: int
    sma_20: Decimal | None
    sma_50: Decimal | None
    volume_ratio: Decimal | None
    trend: int | None
    recent_vol: Decimal | None


class NewRecommendation(NamedTuple):
    """A recommendation, checked, as it is stored. Times are ms, JSON is canonical text."""

    ticker: str
    action: str
    confidence: float
    reason: str
    idempotency_key: str
    priority: int = 0
    not_before: int | None = None
    expires_at: int | None = None
    cause: str | None = None
    requeue_of: int | None = None

    @classmethod
    def checked(
        cls,
        *,
        ticker: str,
        action: str,
        confidence: float,
        reason: Mapping[str, Any] | str,
        idempotency_key: str,
        priority: int = 0,
        not_before: Time | None = None,
        expires_at: Time | None = None,
        cause: Mapping[str, Any] | str | None = None,
    ) -> NewRecommendation:
        """Return a recommendation whose fields are valid. Raises RecommendationError."""
        return cls(
            ticker=_text("ticker", ticker, 64),
            action=_text("action", action, 32),
            confidence=_confidence(confidence),
            reason=json_object("reason", reason),
            idempotency_key=_text("idempotency_key", idempotency_key, KEY_LENGTH_MAX),
            priority=_priority(priority),
            not_before=None if not_before is None else ms_of("not_before", not_before),
            expires_at=None if expires_at is None else ms_of("expires_at", expires_at),
            cause=None if cause is None else json_object("cause", cause),
        )


def insert_recommendations(connection: Connection, new: Iterable[NewRecommendation]) -> list[int]:
    """Store recommendations in one transaction and return their ids; a key that is there already keeps its row.

    Raises RecommendationError for a key that is there with other content, StoreError. Then nothing is stored.
    """
    with transaction(connection):
        return [_insert(connection, own) for own in new]


def _insert(connection: Connection, new: NewRecommendation) -> int:
    values: dict[str, Value] = dict(new._asdict())
    rows = connection.rows(_KNOWN, {"key": new.idempotency_key})
    if not rows:
        # Another writer may insert the key between the two statements; then this one returns nothing.
        rows = connection.rows(_INSERT.get(connection.dialect.name, _INSERT_ALONE), values)
        if rows:
            return int(rows[0][0])
        rows = connection.rows(_KNOWN, {"key": new.idempotency_key})
    [[found, ticker, action, confidence, reason, edited]] = rows
    same = (ticker, action, confidence) == (new.ticker, new.action, new.confidence)
    if not edited and not (same and msgspec.json.decode(reason) == msgspec.json.decode(new.reason)):
        msg = (
            f"idempotency_key {new.idempotency_key!r} belongs to recommendation {found}, which is"
            f" {action} {ticker} at {confidence:g} with another content: use a new key for a new recommendation"
        )
        raise RecommendationError(msg, field="idempotency_key")
    return int(found)


_KNOWN = """
SELECT r.id, r.ticker, r.action, r.confidence, CAST(r.reason AS TEXT), (SELECT COUNT(*) FROM dispatch_controls c
    WHERE c.verb = 'edit' AND c.scope = 'recommendation' AND c.target = CAST(r.id AS TEXT))
FROM dispatch_recommendations r WHERE r.idempotency_key = :key
"""
_INSERT_ALONE = """
INSERT INTO dispatch_recommendations
    (ticker, action, confidence, reason, idempotency_key, priority, not_before, expires_at, cause_json, requeue_of)
VALUES (:ticker, :action, :confidence, JSON(:reason), :idempotency_key, :priority, AT(:not_before), AT(:expires_at),
    JSON(:cause), :requeue_of)
RETURNING id
"""
# SQLite has one writer at a time, and its triggers refuse what would be ignored.
_INSERT = {"postgresql": _INSERT_ALONE.replace("RETURNING", "ON CONFLICT (idempotency_key) DO NOTHING RETURNING")}


def _text(field: str, value: object, length_max: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= length_max or "\0" in value:
        raise refuse_value(field, value, f"a text of 1 to {length_max} characters")
    return value


def _confidence(value: object) -> float:
    try:
        found = number("confidence", float(value) if isinstance(value, Decimal) else value)
    except ValueError as error:
        raise RecommendationError(str(error), field="confidence") from None
    if not (0 <= found <= 1 and math.isfinite(found)):
        raise refuse_value("confidence", value, "a number from 0 to 1")
    return found


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 1_000_000:
        raise refuse_value("priority", value, "a whole number; the highest goes first")
    return value

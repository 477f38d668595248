"""Recommendation: what a pipeline proposes, and the row that a worker claims.

Guarantees: a new one is checked before any statement; the same idempotency key with other content is an error.
Does not: hold a status; the database does.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.errors import RecommendationError, StoreRefusedError
from headrace.execution.database.base import transaction
from headrace.execution.values import json_list, json_object, ms_of, refuse_value
from headrace.market.checks import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.execution.database.base import Connection, Row
    from headrace.execution.values import Time

__all__ = [
    "CLAIMED_COLUMNS",
    "PRIORITY_MAX",
    "Bar",
    "Claimed",
    "Features",
    "Known",
    "NewRecommendation",
    "claimed_of",
    "insert_recommendations",
    "known_recommendations",
]

KEY_LENGTH_MAX = 256
PRIORITY_MAX = 1_000_000


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


class Known(NamedTuple):
    """A recommendation that is stored. is_edited : an operator changed it since, so that it is not compared."""

    id: int
    ticker: str
    action: str
    confidence: float
    reason: str
    is_edited: bool | int

    def check_same(self, new: NewRecommendation) -> None:
        """Raise RecommendationError when a recommendation with the same key has other content."""
        same = (self.ticker, self.action, self.confidence) == (new.ticker, new.action, new.confidence)
        if not self.is_edited and not (same and _is_same_json(self.reason, new.reason)):
            msg = (
                f"idempotency_key {new.idempotency_key!r} belongs to recommendation {self.id}, which is"
                f" {self.action} {self.ticker} at {self.confidence:g} with another content:"
                " use a new key for a new recommendation"
            )
            raise RecommendationError(msg, field="idempotency_key")


def insert_recommendations(connection: Connection, new: Sequence[NewRecommendation]) -> list[int]:
    """Store recommendations in one transaction and return their ids; a key that is there already keeps its row.

    Four statements or fewer for all that are new. Raises RecommendationError for a key that is there with other
    content, StoreError; one that the database refuses is named. Then nothing is stored.
    """
    try:
        with transaction(connection):
            return _insert(connection, new)
    except StoreRefusedError:
        for own in new:
            _refuse_alone(connection, own)
        raise


def known_recommendations(connection: Connection, keys: Sequence[str]) -> dict[str, Known]:
    """Return what is stored under these keys, by key. Raises StoreError."""
    rows = connection.rows(_KNOWN, {"keys": json_list(keys)})
    return {row[0]: Known(*row[1:]) for row in rows}


def _insert(connection: Connection, new: Sequence[NewRecommendation]) -> list[int]:
    """Return the ids of recommendations, inside of a transaction."""
    known = known_recommendations(connection, [own.idempotency_key for own in new])
    missing: dict[str, NewRecommendation] = {}
    for own in new:
        if own.idempotency_key not in known:
            missing.setdefault(own.idempotency_key, own)
    if missing:
        text = _INSERT.get(connection.dialect.name, _INSERT_ALONE)
        connection.many(text, [own._asdict() for own in missing.values()])
        # Also what another writer inserted between the two statements.
        known |= known_recommendations(connection, list(missing))
    for own in new:
        known[own.idempotency_key].check_same(own)
    return [known[own.idempotency_key].id for own in new]


def _refuse_alone(connection: Connection, own: NewRecommendation) -> None:
    """Raise StoreRefusedError with the key of a recommendation that the database refuses; store nothing."""
    connection.begin()
    try:
        _insert(connection, [own])
    except StoreRefusedError as error:
        msg = f"idempotency_key {own.idempotency_key!r}: {error}"
        raise StoreRefusedError(msg, url=error.url) from error
    finally:
        connection.rollback()


def _is_same_json(first: str, second: str) -> bool:
    """Return whether two texts hold the same JSON; PostgreSQL gives another text than it got."""
    return first == second or msgspec.json.decode(first) == msgspec.json.decode(second)


_KNOWN = """
SELECT r.idempotency_key, r.id, r.ticker, r.action, r.confidence, CAST(r.reason AS TEXT),
    EXISTS (SELECT 1 FROM dispatch_controls c
        WHERE c.verb = 'edit' AND c.scope = 'recommendation' AND c.target = CAST(r.id AS TEXT))
FROM dispatch_recommendations r WHERE r.idempotency_key = EACH(:keys)
"""
_INSERT_ALONE = """
INSERT INTO dispatch_recommendations
    (ticker, action, confidence, reason, idempotency_key, priority, not_before, expires_at, cause_json, requeue_of)
VALUES (:ticker, :action, :confidence, JSON(:reason), :idempotency_key, :priority, AT(:not_before), AT(:expires_at),
    JSON(:cause), :requeue_of)
"""
# SQLite has one writer at a time, and its triggers refuse what would be ignored.
_INSERT = {"postgresql": f"{_INSERT_ALONE} ON CONFLICT (idempotency_key) DO NOTHING"}


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
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > PRIORITY_MAX:
        raise refuse_value("priority", value, "a whole number; the highest goes first")
    return value

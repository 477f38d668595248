"""The queue in the database: expire, reap, claim, renew, release; each is one short transaction.

::

    PENDING, older than the look-back ──expire──▶ SKIPPED       PROCESSING, lease over ──reap──▶ PENDING or FAILED
    PENDING ──claim──▶ PROCESSING (owner, epoch + 1, lease) ──release──▶ PENDING (epoch + 1, the attempt given back)

Guarantees: a row is claimed by one worker, whatever plan the database chooses: the chosen rows are locked in a
MATERIALIZED part of the statement; a row that was claimed before is claimed alone; leases are by the database's clock.
Does not: finish a row; ``ledger`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headrace.execution.database.base import transaction
from headrace.execution.recommendation import CLAIMED_COLUMNS, claimed_of
from headrace.limits import STORE_BATCH_MAX

if TYPE_CHECKING:
    from headrace.execution.database.base import Connection, Value
    from headrace.execution.recommendation import Claimed
    from headrace.execution.settings import ExecutionSettings

__all__ = ["Backlog", "Reaped", "backlog", "claim", "expire", "has_work", "reap", "release", "renew"]

# Of a simulated day; else the database's own.
_NOW = "COALESCE(AT(:now), NOW())"
_SINCE = "CASE WHEN q.not_before > q.created_at THEN q.not_before ELSE q.created_at END"
_OPEN = f"""q.status = 'PENDING' AND {_SINCE} >= AT(:oldest)
    AND (q.not_before IS NULL OR q.not_before <= {_NOW}) AND (q.expires_at IS NULL OR q.expires_at > {_NOW})
    AND NOT EXISTS (SELECT 1 FROM dispatch_pauses p WHERE p.scope = 'all'
        OR (p.scope = 'ticker' AND p.target = q.ticker) OR (p.scope = 'action' AND p.target = q.action))"""

CLAIM = f"""
WITH s AS MATERIALIZED (
    SELECT q.id AS own, q.attempts AS tries, q.priority AS rank, q.created_at AS since
    FROM dispatch_recommendations q WHERE {_OPEN}
    ORDER BY q.priority DESC, q.created_at, q.id LIMIT :most LOCKED(q)
), head AS (SELECT own, tries FROM s ORDER BY rank DESC, since, own LIMIT 1)
UPDATE dispatch_recommendations AS r
SET status = 'PROCESSING', owner = :owner, epoch = r.epoch + 1, attempts = r.attempts + 1,
    lease_until = LATER(:lease), dispatcher_run_id = :run
FROM s WHERE r.id = s.own AND CASE WHEN (SELECT tries FROM head) = 0 THEN s.tries = 0
    ELSE s.own = (SELECT own FROM head) END
RETURNING {CLAIMED_COLUMNS}, priority
"""
_REAPED = """
WITH s AS MATERIALIZED (
    SELECT q.id AS own, q.attempts AS tries FROM dispatch_recommendations q
    WHERE q.status = 'PROCESSING' AND q.lease_until < NOW()
    ORDER BY q.lease_until, q.id LIMIT :most LOCKED(q)
)
UPDATE dispatch_recommendations AS r SET
"""
REAP = f"""{_REAPED} status = 'PENDING', epoch = r.epoch + 1, owner = NULL, lease_until = NULL
FROM s WHERE r.id = s.own AND s.tries < :attempts RETURNING id
"""
REAP_FAILED = f"""{_REAPED} status = 'FAILED', processed_at = NOW(), dispatcher_run_id = :run,
    failure_reason = 'max_attempts: its worker ended, or lost its lease, each time'
FROM s WHERE r.id = s.own AND s.tries >= :attempts RETURNING id
"""
EXPIRE = f"""
WITH s AS MATERIALIZED (
    SELECT q.id AS own FROM dispatch_recommendations q
    WHERE q.status = 'PENDING' AND ({_SINCE} < AT(:oldest) OR q.expires_at <= {_NOW})
    ORDER BY q.id LIMIT :most LOCKED(q)
)
UPDATE dispatch_recommendations AS r SET status = 'SKIPPED', processed_at = NOW(), dispatcher_run_id = :run,
    failure_reason = 'expired' FROM s WHERE r.id = s.own RETURNING id
"""
_RENEW = (
    "UPDATE dispatch_recommendations SET lease_until = LATER(:lease) WHERE status = 'PROCESSING' AND owner = :owner"
)
_RELEASE = """
UPDATE dispatch_recommendations
SET status = 'PENDING', epoch = epoch + 1, attempts = attempts - 1, owner = NULL, lease_until = NULL
WHERE id = :id AND status = 'PROCESSING' AND owner = :owner AND epoch = :epoch
"""
_HAS_WORK = f"""
SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM dispatch_recommendations q WHERE {_OPEN} LIMIT 1) c),
    (SELECT COUNT(*) FROM (SELECT 1 FROM dispatch_recommendations q
        WHERE q.status = 'PROCESSING' AND q.lease_until < NOW()
        OR q.status = 'PENDING' AND ({_SINCE} < AT(:oldest) OR q.expires_at <= {_NOW}) LIMIT 1) o)
"""
_BACKLOG = """
SELECT (SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'PENDING'),
    (SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'PROCESSING'),
    (SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'SENT'),
    (SELECT MS(MIN(created_at)) FROM dispatch_recommendations WHERE status = 'PENDING'), MS(NOW())
"""


class Reaped(NamedTuple):
    """Rows whose lease was over. released : claimable again. failed : past their last attempt."""

    released: list[int]
    failed: list[int]


class Backlog(NamedTuple):
    """What waits. age_s : of the oldest pending one; 0 without any."""

    pending: int
    processing: int
    sent: int
    age_s: float


def oldest_ms(connection: Connection, settings: ExecutionSettings, now_ms: int | None) -> int:
    """Return the time that the look-back reaches."""
    if now_ms is None:
        [[now_ms]] = connection.rows("SELECT MS(NOW())")
    return now_ms - settings.lookback_ms


def expire(connection: Connection, run: str, settings: ExecutionSettings, now_ms: int | None) -> int:
    """End what is older than the look-back, or past its own expiry, as SKIPPED; return how many."""
    values: dict[str, Value] = {
        "run": run,
        "now": now_ms,
        "oldest": oldest_ms(connection, settings, now_ms),
        "most": STORE_BATCH_MAX,
    }
    total = 0
    while True:
        with transaction(connection):
            count = len(connection.rows(EXPIRE, values))
        total += count
        if count < STORE_BATCH_MAX:
            return total


def reap(connection: Connection, run: str, settings: ExecutionSettings) -> Reaped:
    """Release every row whose lease is over; one past its last attempt ends as FAILED."""
    values: dict[str, Value] = {"run": run, "attempts": settings.max_attempts, "most": STORE_BATCH_MAX}
    failed, released = [], []
    while True:
        with transaction(connection):
            ended = [row[0] for row in connection.rows(REAP_FAILED, values)]
            freed = [row[0] for row in connection.rows(REAP, {key: values[key] for key in ("attempts", "most")})]
        failed += ended
        released += freed
        if len(ended) + len(freed) < STORE_BATCH_MAX:
            return Reaped(released, failed)


def claim(
    connection: Connection, owner: str, run: str, settings: ExecutionSettings, most: int, now_ms: int | None = None
) -> list[Claimed]:
    """Claim at most so many rows, highest priority and oldest first. Raises StoreError."""
    values: dict[str, Value] = {
        "owner": owner,
        "run": run,
        "most": most,
        "lease": settings.lease_ms,
        "now": now_ms,
        "oldest": oldest_ms(connection, settings, now_ms),
    }
    with transaction(connection):
        rows = connection.rows(CLAIM, values)
        assert len(rows) <= most, f"{len(rows)} rows were claimed, and {most} allowed"
    rows.sort(key=lambda row: (-row[10], row[5], row[0]))
    return [claimed_of(row) for row in rows]


def renew(connection: Connection, owner: str, settings: ExecutionSettings) -> int:
    """Renew the leases of all rows that a worker holds; return how many."""
    with transaction(connection):
        return connection.changed(_RENEW, {"owner": owner, "lease": settings.lease_ms})


def release(connection: Connection, owner: str, held: list[Claimed]) -> int:
    """Give rows back that were not begun; it costs them no attempt. Returns how many were still held."""
    with transaction(connection):
        return sum(connection.changed(_RELEASE, {"id": own.id, "owner": owner, "epoch": own.epoch}) for own in held)


def has_work(connection: Connection, settings: ExecutionSettings, now_ms: int | None = None) -> bool:
    """Return whether a run would find something to claim, to reap or to expire."""
    values = {"now": now_ms, "oldest": oldest_ms(connection, settings, now_ms)}
    [[open_, over]] = connection.rows(_HAS_WORK, values)
    return bool(open_ or over)


def backlog(connection: Connection) -> Backlog:
    """Return what waits."""
    [[pending, processing, sent, oldest, now]] = connection.rows(_BACKLOG)
    return Backlog(pending, processing, sent, 0.0 if oldest is None else max(0, now - oldest) / 1000)

"""The queue in the database: expire, reap, claim, renew, release; each is one short transaction.

::

    PENDING, older than the look-back ──expire──▶ SKIPPED       PROCESSING, lease over ──reap──▶ PENDING or FAILED
    PENDING ──claim──▶ PROCESSING (owner, epoch + 1, lease) ──release──▶ PENDING (epoch + 1, the attempt given back)

Guarantees: a row is claimed by one worker, whatever plan the database chooses: the chosen rows are locked in a
MATERIALIZED part of the statement; a row that was claimed before is claimed alone; leases are by the database's clock;
what a statement reads does not grow with what waits.
Does not: finish a row; ``ledger`` does.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from headrace.execution.database.base import transaction
from headrace.execution.recommendation import CLAIMED_COLUMNS, claimed_of
from headrace.limits import STORE_BATCH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.execution.database.base import Connection, Value
    from headrace.execution.recommendation import Claimed
    from headrace.execution.settings import ExecutionSettings

__all__ = ["Backlog", "Reaped", "backlog", "by_index", "claim", "expire", "has_work", "reap", "release", "renew"]

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
_LEASE_IS_OVER = "q.status = 'PROCESSING' AND q.lease_until < NOW()"
_REAPED = f"""
WITH s AS MATERIALIZED (
    SELECT q.id AS own, q.attempts AS tries FROM dispatch_recommendations q
    WHERE {_LEASE_IS_OVER}
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
# What has expired, in two parts, each by an index of its own: no run reads all that waits. A row is never due before it
# was created.
_TOO_OLD = f"q.status = 'PENDING' AND q.created_at < AT(:oldest) AND {_SINCE} < AT(:oldest)"
_PAST_ITS_EXPIRY = f"q.status = 'PENDING' AND q.expires_at <= {_NOW}"
EXPIRE_TOO_OLD, EXPIRE_PAST_ITS_EXPIRY = (
    f"""
WITH s AS MATERIALIZED (
    SELECT q.id AS own FROM dispatch_recommendations q WHERE {expired} ORDER BY {first} LIMIT :most LOCKED(q)
)
UPDATE dispatch_recommendations AS r SET status = 'SKIPPED', processed_at = NOW(), dispatcher_run_id = :run,
    failure_reason = 'expired' FROM s WHERE r.id = s.own RETURNING id
"""
    for expired, first in ((_TOO_OLD, "q.created_at, q.id"), (_PAST_ITS_EXPIRY, "q.expires_at, q.id"))
)
_RENEW = (
    "UPDATE dispatch_recommendations SET lease_until = LATER(:lease) WHERE status = 'PROCESSING' AND owner = :owner"
)
_RELEASE = """
UPDATE dispatch_recommendations
SET status = 'PENDING', epoch = epoch + 1, attempts = attempts - 1, owner = NULL, lease_until = NULL
WHERE id = :id AND status = 'PROCESSING' AND owner = :owner AND epoch = :epoch
"""
HAS_WORK = "SELECT " + " OR ".join(
    f"EXISTS (SELECT 1 FROM dispatch_recommendations q WHERE {rows})"
    for rows in (_OPEN, _LEASE_IS_OVER, _TOO_OLD, _PAST_ITS_EXPIRY)
)
_BACKLOG = """
SELECT (SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'PENDING'),
    (SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'PROCESSING'),
    (SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'SENT'),
    (SELECT MS(MIN(created_at)) FROM dispatch_recommendations WHERE status = 'PENDING'), MS(NOW())
"""


# PostgreSQL estimates how many rows wait. Where its statistics are old, as after a load, it estimates a few: then each
# claim would read and sort all that waits (of 90,000: 450 ms, by the index 20 ms).
_BY_INDEX = "; ".join(
    f"SET LOCAL {name} = off" for name in ("enable_sort", "enable_bitmapscan", "enable_seqscan", "jit")
)


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


@contextmanager
def by_index(connection: Connection, *, writes: bool = True) -> Iterator[None]:
    """Open a transaction whose statements follow the indexes of the queue. writes : no: SQLite needs none."""
    if connection.dialect.name == "postgresql":
        with transaction(connection):
            connection.script(_BY_INDEX)
            yield
    elif writes:
        with transaction(connection):
            yield
    else:
        yield


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
    parts = ((EXPIRE_TOO_OLD, ("oldest", "most", "run")), (EXPIRE_PAST_ITS_EXPIRY, ("now", "most", "run")))
    total = 0
    for statement, names in parts:
        count = STORE_BATCH_MAX
        while count == STORE_BATCH_MAX:
            with by_index(connection):
                count = len(connection.rows(statement, {name: values[name] for name in names}))
            total += count
    return total


def reap(connection: Connection, run: str, settings: ExecutionSettings) -> Reaped:
    """Release every row whose lease is over; one past its last attempt ends as FAILED."""
    values: dict[str, Value] = {"run": run, "attempts": settings.max_attempts, "most": STORE_BATCH_MAX}
    failed, released = [], []
    while True:
        with by_index(connection):
            ended = [row[0] for row in connection.rows(REAP_FAILED, values)]
            freed = [row[0] for row in connection.rows(REAP, {key: values[key] for key in ("attempts", "most")})]
        failed += ended
        released += freed
        if len(ended) + len(freed) < STORE_BATCH_MAX:
            return Reaped(released, failed)


def claim(
    connection: Connection, owner: str, run: str, settings: ExecutionSettings, most: int, now_ms: int | None = None
) -> list[Claimed]:
    """Claim at most so many rows, and at most 500, highest priority and oldest first. Raises StoreError."""
    most = min(most, STORE_BATCH_MAX)
    values: dict[str, Value] = {
        "owner": owner,
        "run": run,
        "most": most,
        "lease": settings.lease_ms,
        "now": now_ms,
        "oldest": oldest_ms(connection, settings, now_ms),
    }
    with by_index(connection):
        rows = connection.rows(CLAIM, values)
        assert len(rows) <= most, f"{len(rows)} rows were claimed, and {most} allowed"
    rows.sort(key=lambda row: (-row[10], row[5], row[0]))
    return [claimed_of(row) for row in rows]


def renew(connection: Connection, owner: str, settings: ExecutionSettings) -> int:
    """Renew the leases of all rows that a worker holds; return how many."""
    with by_index(connection):
        return connection.changed(_RENEW, {"owner": owner, "lease": settings.lease_ms})


def release(connection: Connection, owner: str, held: list[Claimed]) -> int:
    """Give rows back that were not begun; it costs them no attempt. Returns how many were still held."""
    with by_index(connection):
        return connection.many(_RELEASE, [{"id": own.id, "owner": owner, "epoch": own.epoch} for own in held])


def has_work(connection: Connection, settings: ExecutionSettings, now_ms: int | None = None) -> bool:
    """Return whether a run would find something to claim, to reap or to expire."""
    values = {"now": now_ms, "oldest": oldest_ms(connection, settings, now_ms)}
    with by_index(connection, writes=False):
        [[has_work]] = connection.rows(HAS_WORK, values)
    return bool(has_work)


def backlog(connection: Connection) -> Backlog:
    """Return what waits."""
    [[pending, processing, sent, oldest, now]] = connection.rows(_BACKLOG)
    return Backlog(pending, processing, sent, 0.0 if oldest is None else max(0, now - oldest) / 1000)

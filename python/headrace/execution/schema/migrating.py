"""Migrations: what version a database has, and what brings it to the one of this release.

When two start at once
    One applies a migration, the other polls outside of any transaction and then finds it applied.
When a database is newer than this release
    It is refused, by every verb: an older worker does not know what its columns mean.

Guarantees: each migration is one transaction with the row that records it.
Does not: go back.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import SchemaVersionError, StoreError, StoreUnavailableError
from headrace.execution.database.base import transaction
from headrace.execution.database.sqlite import SQLITE_NOW
from headrace.execution.schema.tables import pipeline_tables_sql, tables_sql
from headrace.execution.schema.triggers import triggers_sql
from headrace.execution.schema.views import views_sql
from headrace.limits import MIGRATION_LOCK_S, STORE_POLL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.execution.database.base import Connection, Database, Value

__all__ = ["MIGRATIONS", "Migration", "SchemaStatus", "check_version", "migrate", "schema_problems", "schema_status"]

# Two numbers of our own in PostgreSQL's space of advisory locks.
_LOCK = "SELECT CASE WHEN pg_try_advisory_xact_lock(1214606958, 13) THEN 1 ELSE 0 END"


class Migration(NamedTuple):
    """One step. version : from 1, dense. sql : returns its statements for one database."""

    version: int
    name: str
    sql: Callable[[str], str]

    def digest(self, dialect: str) -> str:
        """Return the SHA-256 of its statements, which a database records."""
        return hashlib.sha256(self.sql(dialect).encode()).hexdigest()


MIGRATIONS = (
    Migration(1, "tables", lambda dialect: tables_sql(dialect) + triggers_sql(dialect)),
    Migration(2, "views", views_sql),
    Migration(3, "pipeline", pipeline_tables_sql),
)


class SchemaStatus(NamedTuple):
    """What a database has. version : 0 for an empty one. newest : of this release. applied : names and times, ms."""

    version: int
    newest: int
    applied: tuple[tuple[int, str, int], ...]


def migrate(database: Database) -> list[str]:
    """Bring a database to the newest version; return the names of what was applied. Raises StoreError."""
    connection = database.connect()
    applied = []
    try:
        deadline = time.monotonic() + MIGRATION_LOCK_S
        while True:
            name = _next(connection)
            if name:
                applied.append(name)
            elif name is None:
                return applied
            elif time.monotonic() > deadline:
                msg = f"{database.url}: another process migrates for more than {MIGRATION_LOCK_S:g} s: see db status"
                raise StoreUnavailableError(msg, url=database.url)
            else:
                time.sleep(STORE_POLL_S)
    finally:
        connection.close()


def _next(connection: Connection) -> str | None:
    """Apply the next migration. Returns its name, "" when another process holds the lock, None when none is left."""
    dialect = connection.dialect.name
    with transaction(connection):
        if dialect == "postgresql" and connection.rows(_LOCK) != [(1,)]:
            return ""
        connection.script(_record_sql(dialect))
        version = check_version(connection)
        if version == len(MIGRATIONS):
            return None
        step = MIGRATIONS[version]
        connection.script(step.sql(dialect))
        values: dict[str, Value] = {"version": step.version, "name": step.name, "digest": step.digest(dialect)}
        connection.changed(
            "INSERT INTO headrace_migrations (version, name, digest) VALUES (:version, :name, :digest)", values
        )
    return step.name


def _record_sql(dialect: str) -> str:
    time_type, now = ("INTEGER", f"({SQLITE_NOW})") if dialect == "sqlite" else ("timestamptz(3)", "clock_timestamp()")
    return (
        "CREATE TABLE IF NOT EXISTS headrace_migrations (version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL,"
        f" digest TEXT NOT NULL, applied_at {time_type} NOT NULL DEFAULT {now});"
    )


def check_version(connection: Connection, *, complete: bool = False) -> int:
    """Return a database's version. complete : it must be the newest. Raises SchemaVersionError."""
    [[version]] = connection.rows("SELECT COALESCE(MAX(version), 0) FROM headrace_migrations")
    newest = len(MIGRATIONS)
    if version > newest:
        msg = f"the database has version {version}, and this release knows {newest}: upgrade headrace"
        raise SchemaVersionError(msg, version=version, newest=newest)
    if complete and version < newest:
        msg = f"the database has version {version}, and this release needs {newest}: run headrace db migrate"
        raise SchemaVersionError(msg, version=version, newest=newest)
    return int(version)


def schema_status(database: Database) -> SchemaStatus:
    """Return what a database has; version 0 for an empty one. Raises StoreError."""
    connection = database.connect()
    try:
        rows = connection.rows("SELECT version, name, MS(applied_at) FROM headrace_migrations ORDER BY version")
    except StoreUnavailableError:
        raise
    except StoreError:
        rows = []
    finally:
        connection.close()
    applied = tuple((int(version), str(name), int(at)) for version, name, at in rows)
    return SchemaStatus(applied[-1][0] if applied else 0, len(MIGRATIONS), applied)


def schema_problems(database: Database) -> list[str]:
    """Return what is wrong with a database's schema and content; empty when nothing is. Raises StoreError."""
    connection = database.connect()
    try:
        check_version(connection, complete=True)
        dialect = connection.dialect.name
        known = {step.version: step.digest(dialect) for step in MIGRATIONS}
        problems = [
            f"migration {version} was applied from other statements than this release has: restore it from a copy"
            for version, digest in connection.rows("SELECT version, digest FROM headrace_migrations")
            if known[version] != digest
        ]
        for what, text in _CHECKS:
            [[number]] = connection.rows(text)
            if number:
                problems.append(f"{number} {what}")
        return problems
    finally:
        connection.close()


_CHECKS = (
    (
        "recommendations are SIMULATED or EXECUTED and have no execution",
        (
            "SELECT COUNT(*) FROM dispatch_recommendations r WHERE r.status IN ('SIMULATED', 'EXECUTED')"
            " AND NOT EXISTS (SELECT 1 FROM dispatch_executions e WHERE e.recommendation_id = r.id)"
        ),
    ),
    (
        "executions have a recommendation in another state",
        (
            "SELECT COUNT(*) FROM dispatch_executions e JOIN dispatch_recommendations r ON r.id = e.recommendation_id"
            " WHERE r.status NOT IN ('SIMULATED', 'EXECUTED')"
        ),
    ),
    (
        "recommendations are PROCESSING with a lease that has ended: the next run releases them",
        "SELECT COUNT(*) FROM dispatch_recommendations WHERE status = 'PROCESSING' AND lease_until < NOW()",
    ),
)

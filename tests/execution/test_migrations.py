"""Migrations: one at a time, each in a transaction, whoever starts them; an unknown version is refused."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from headrace.errors import OptionError, SchemaVersionError, StoreError, StoreUnavailableError
from headrace.execution import Store
from headrace.execution.database import open_database
from headrace.execution.schema import MIGRATIONS, grant, migrate, owner_warning, schema_problems, schema_status
from headrace.execution.schema.migrating import Migration
from tests.support.databases import administer
from tests.support.executing import market, recommend, run

# The lock of migrations, taken by a transaction.
LOCK = "SELECT pg_advisory_xact_lock(1214606958, 13)"


def test_migrate_applies_each_migration_once(empty_url: str) -> None:
    database = open_database(empty_url)
    assert schema_status(database).version == 0
    assert migrate(database) == [step.name for step in MIGRATIONS]
    assert migrate(database) == []
    status = schema_status(database)
    assert status.version == status.newest == len(MIGRATIONS)
    assert schema_problems(database) == []


def test_two_that_start_at_once_apply_each_migration_once(empty_url: str) -> None:
    with ThreadPoolExecutor() as pool:
        applied = [*pool.map(migrate, [open_database(empty_url) for _ in range(4)])]
    assert sorted(name for own in applied for name in own) == sorted(step.name for step in MIGRATIONS)
    assert schema_problems(open_database(empty_url)) == []


def test_a_migration_that_fails_leaves_the_version_before(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration(len(MIGRATIONS) + 1, "broken", lambda _: "CREATE TABLE half (id INTEGER); SELECT nothing;")
    monkeypatch.setattr("headrace.execution.schema.migrating.MIGRATIONS", (*MIGRATIONS, broken))
    database = open_database(empty_url)
    with pytest.raises(StoreError):
        migrate(database)
    assert schema_status(database).version == len(MIGRATIONS)
    connection = database.connect()
    with pytest.raises(StoreError):
        connection.rows("SELECT * FROM half")
    connection.close()


def test_a_newer_database_is_refused_by_all(url: str) -> None:
    with Store(url) as store:
        store.query("INSERT INTO headrace_migrations (version, name, digest) VALUES (99, 'later', 'x')")
    for use in (migrate, schema_problems):
        with pytest.raises(SchemaVersionError, match="upgrade headrace"):
            use(open_database(url))
    with pytest.raises(SchemaVersionError):
        Store(url)


def test_check_finds_other_statements_than_this_release_has(url: str) -> None:
    with Store(url) as store:
        store.query("UPDATE headrace_migrations SET digest = 'other' WHERE version = 1")
    assert "migration 1" in schema_problems(open_database(url))[0]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_role_without_tables_can_work_and_cannot_undo(url: str) -> None:
    role = "headrace_test_worker"
    administer(f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    database = open_database(url)
    connection = database.connect()
    assert owner_warning(connection)
    grant(database, role)
    with Store(re.sub("postgres:?@", f"{role}@", url)) as store:
        other = store.database.connect()
        assert owner_warning(other) == ""
        other.close()
        market(store)
        recommend(store)
        assert run(store).counts.simulated == 1
        for text in ("ALTER TABLE dispatch_executions DISABLE TRIGGER USER", "DROP TABLE dispatch_executions"):
            with pytest.raises(StoreError, match="must be owner"):
                store.query(text)
    connection.script(f"DROP OWNED BY {role}")
    connection.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_role_is_refused_where_there_are_none(url: str) -> None:
    with pytest.raises(OptionError, match="leave --role out"):
        grant(open_database(url), "worker")


@pytest.mark.parametrize("text", ["sqlite:/tmp/x", "mysql://x/y", "x", "sqlite:///", "sqlite:///x?mode=ro", ""])
def test_a_url_that_names_no_database_is_an_error_with_the_forms(text: str) -> None:
    with pytest.raises(OptionError, match="sqlite:////absolute/path"):
        open_database(text)


def test_a_password_is_in_no_error() -> None:
    with pytest.raises(StoreUnavailableError) as raised:
        Store("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(raised.value)
    with pytest.raises(OptionError) as refused:
        open_database("mysql://me:secret@host/x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_a_migration_waits_for_its_lock_outside_of_a_transaction(empty_url: str) -> None:
    """A transaction that waits would hold back the vacuum, and a pooler's connection."""
    with psycopg.connect(empty_url) as holder, ThreadPoolExecutor() as pool:
        holder.execute(LOCK.encode())
        waiting = pool.submit(migrate, open_database(f"{empty_url}&application_name=migrating"))
        longest, seen = 0.0, 0
        with psycopg.connect(empty_url, autocommit=True) as watcher:
            while seen < 10:
                row = watcher.execute(
                    "SELECT COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - MIN(xact_start)), 0), COUNT(*)"
                    " FROM pg_stat_activity WHERE application_name = 'migrating'"
                ).fetchone()
                assert row is not None
                longest, seen = max(longest, float(row[0])), seen + int(row[1])
                time.sleep(0.05)
        assert not waiting.done()
        holder.rollback()
        assert waiting.result(20) == [step.name for step in MIGRATIONS]
    assert longest < 1

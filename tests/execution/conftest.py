"""One suite for both databases: each test that takes ``url`` or ``store`` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.execution import Store
from headrace.execution.database import Database, open_database
from headrace.execution.schema import migrate
from tests.support.databases import emptied, postgres_database, postgres_schema, sqlite_folder

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with sqlite_folder() as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database of this run."""
    with postgres_database() as made:
        yield made


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        path = folder / f"{secrets.token_hex(6)}.sqlite"
        yield f"sqlite:///{path}"
        path.unlink(missing_ok=True)
    else:
        with postgres_schema(request.getfixturevalue("postgres")) as made:
            yield made


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> Iterator[str]:
    """The URL of a migrated schema, which tests use one after another."""
    with postgres_schema(postgres) as made:
        migrate(open_database(made))
        yield made


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of a migrated database."""
    if request.param == "sqlite":
        path = folder / f"{secrets.token_hex(6)}.sqlite"
        migrate(open_database(f"sqlite:///{path}"))
        yield f"sqlite:///{path}"
        path.unlink(missing_ok=True)
    else:
        made = request.getfixturevalue("migrated_postgres")
        yield made
        emptied(made)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as made:
        yield made


@pytest.fixture
def database(url: str) -> Database:
    return open_database(url)

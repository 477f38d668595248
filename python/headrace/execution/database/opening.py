"""A database from its URL: ``sqlite:///relative``, ``sqlite:////absolute``, ``postgresql://…``.

Guarantees: a URL that names no database is an OptionError with the forms that do; no error shows a password.
Does not: connect.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from headrace.errors import OptionError
from headrace.execution.database.postgres import PostgresDatabase
from headrace.execution.database.sqlite import SqliteDatabase
from headrace.trading.state_folder import state_folder

if TYPE_CHECKING:
    from headrace.execution.database.base import Database

__all__ = ["default_url", "open_database"]

FORMS = "sqlite:////absolute/path, sqlite:///relative/path or postgresql://user@host/database"
DEFAULT_NAME = "execution.sqlite"


def default_url() -> str:
    """Return the URL of the embedded database under the state folder. Raises StateFolderError."""
    return f"sqlite:///{state_folder() / DEFAULT_NAME}"


def open_database(url: str | None = None) -> Database:
    """Return the database that a URL names. url : None: the embedded one under the state folder. Raises OptionError."""
    text = default_url() if url is None else url
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        path = unquote(rest.removeprefix("/"))
        if "?" in path or "#" in path:
            msg = f"db={text!r} has options, and a file of SQLite takes none: use {FORMS}"
            raise OptionError(msg, option="db")
        return SqliteDatabase(Path(path))
    if separator and scheme in ("postgresql", "postgres"):
        return PostgresDatabase(text)
    shown = re.sub(r"(?<=:)[^:@/]*(?=@)", "***", text)
    msg = f"db={shown!r} names no database: use {FORMS}"
    raise OptionError(msg, option="db")

"""One database behind one door: SQLite and PostgreSQL, the same statements, the same errors.

::

    Database(url).connect() ─▶ Connection: rows(sql, name=value) · changed(sql, …) · transaction()

Guarantees: a transaction is committed or rolled back; what a database raises becomes a StoreError.
Does not: hold tables or statements of its own; those are in ``schema`` and beside their users.
"""

from headrace.execution.database.base import Connection, Database, Dialect, Row, Value, transaction
from headrace.execution.database.opening import open_database

__all__ = ["Connection", "Database", "Dialect", "Row", "Value", "open_database", "transaction"]

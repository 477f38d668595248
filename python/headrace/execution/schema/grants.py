"""Grants: what a worker's role may do in PostgreSQL. It owns no table, so it cannot drop a trigger.

Guarantees: the role may insert executions and controls, and neither update nor delete them, triggers aside.
Does not: make the role; ``CREATE ROLE name LOGIN`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import OptionError
from headrace.execution.database.base import transaction
from headrace.execution.schema.views import VIEWS

if TYPE_CHECKING:
    from headrace.execution.database.base import Connection, Database

__all__ = ["grant", "owner_warning"]

_APPEND = ("dispatch_executions", "dispatch_controls")
_WRITE = ("dispatch_recommendations", "dispatcher_runs", "lane_telemetry", "lane_features", "watchlist_state")
_EVENTS = ("inbound_events_raw", "inbound_events_classified", "pipeline_runs")
_OWNS = """
SELECT COUNT(*) FROM pg_tables t JOIN pg_roles r ON r.rolname = current_user
WHERE t.tablename = 'dispatch_executions' AND t.schemaname = current_schema()
    AND (r.rolsuper OR pg_has_role(current_user, t.tableowner, 'USAGE'))
"""


def grant(database: Database, role: str) -> None:
    """Grant a role what a worker needs. Raises OptionError for SQLite, StoreError for a role that is not there."""
    if database.dialect.name != "postgresql":
        msg = f"role={role!r} is for PostgreSQL, and {database.url} has no roles: leave --role out"
        raise OptionError(msg, option="role")
    name = '"' + role.replace('"', '""') + '"'
    connection = database.connect()
    try:
        with transaction(connection):
            connection.script(
                f"DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO {name}', current_schema()); END $$;"
                f"GRANT SELECT, INSERT ON {', '.join(_APPEND)} TO {name};"
                f"GRANT SELECT, INSERT, UPDATE ON {', '.join((*_WRITE, *_EVENTS))} TO {name};"
                f"GRANT SELECT ON headrace_migrations, {', '.join(VIEWS)} TO {name};"
                f"GRANT DELETE ON watchlist_state TO {name};"
            )
    finally:
        connection.close()


def owner_warning(connection: Connection) -> str:
    """Return what to warn of: a worker whose role could drop the triggers; empty for others, and for SQLite."""
    if connection.dialect.name != "postgresql" or connection.rows(_OWNS) == [(0,)]:
        return ""
    return (
        "this role owns the ledger's table, or is a superuser, so it could drop the triggers that protect it:"
        " give workers a role of their own, headrace db migrate --role NAME"
    )

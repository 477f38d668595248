"""Migration 1, second part: the triggers that keep the state machine and the ledger, whatever writes to the tables.

What they refuse
    a status that the table of ``states`` does not lead to, a recommendation that does not begin as PENDING, a change of
    its content after it was claimed, of its key ever, of anything once it has ended; a claim or a release that keeps
    the epoch; an execution whose recommendation is in another state; any change of an execution or a control.

Guarantees: INSERT OR REPLACE, UPDATE OR REPLACE and UPSERT of SQLite are refused on any connection, whatever its
pragmas: a row that would be replaced is found before the insert. PostgreSQL's triggers fire for replicas, too.
Does not: stop the owner of a table from dropping its triggers; ``db migrate --role`` makes workers who own nothing.
"""

from __future__ import annotations

from headrace.execution.schema.states import END_STATES, TRANSITIONS

__all__ = ["NOTIFY_CHANNEL", "triggers_sql"]

NOTIFY_CHANNEL = "headrace_recommendations"
_ALLOWED = " OR ".join(f"(OLD.status = '{before}' AND NEW.status = '{after}')" for before, after in sorted(TRANSITIONS))
_ENDS = ", ".join(f"'{state}'" for state in sorted(END_STATES))


def _changed(*columns: str) -> str:
    return "(" + " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns) + ")"


def _rewritten(*columns: str) -> str:
    """Return whether a column that had a value has another one."""
    changes = (f"(OLD.{column} IS NOT NULL AND NEW.{column} IS DISTINCT FROM OLD.{column})" for column in columns)
    return f"({' OR '.join(changes)})"


# When a row of recommendations is refused, and with which words. Written in PostgreSQL's SQL.
_INSERTS = (
    (
        "NEW.status <> 'PENDING' OR NEW.epoch <> 0 OR NEW.attempts <> 0",
        "a recommendation begins as PENDING, never claimed",
    ),
)
_UPDATES = (
    (f"OLD.status IN ({_ENDS})", "a recommendation that has ended does not change: requeue it as a new one"),
    (f"NEW.status <> OLD.status AND NOT ({_ALLOWED})", "this change of status is not allowed by the state machine"),
    (_changed("id", "idempotency_key", "created_at", "requeue_of"), "the identity of a recommendation does not change"),
    (
        "(OLD.status <> 'PENDING' OR NEW.status <> 'PENDING') AND "
        + _changed("ticker", "action", "confidence", "reason", "cause_json", "priority", "not_before", "expires_at"),
        "the content of a recommendation changes only while it is PENDING",
    ),
    (_rewritten("client_order_id", "sent_at", "plan_json"), "what was sent to a broker does not change"),
    (
        (
            "NEW.epoch <> OLD.epoch + (CASE WHEN NEW.status = 'PROCESSING' AND OLD.status = 'PENDING'"
            " OR NEW.status = 'PENDING' AND OLD.status = 'PROCESSING' THEN 1 ELSE 0 END)"
        ),
        "the epoch rises by 1 with each claim and release, and never else",
    ),
    (
        "OLD.status = 'PROCESSING' AND NEW.status = 'PROCESSING' AND NEW.owner IS DISTINCT FROM OLD.owner",
        "the owner of a claimed recommendation does not change",
    ),
)
_EXECUTION = (
    (
        "NOT EXISTS (SELECT 1 FROM dispatch_recommendations r WHERE r.id = NEW.recommendation_id"
        " AND r.idempotency_key = NEW.idempotency_key AND r.ticker = NEW.ticker AND r.action = NEW.action"
        " AND r.status = CASE NEW.execution_mode WHEN 'REAL' THEN 'EXECUTED' ELSE 'SIMULATED' END)"
    ),
    "an execution needs its recommendation, SIMULATED or EXECUTED in the same transaction",
)
# Rows that an INSERT OR REPLACE of SQLite would delete without a trigger.
_REPLACED = {
    "dispatch_recommendations": "id = NEW.id OR idempotency_key = NEW.idempotency_key OR requeue_of = NEW.requeue_of",
    "dispatch_executions": (
        "execution_id = NEW.execution_id OR recommendation_id = NEW.recommendation_id"
        " OR idempotency_key = NEW.idempotency_key"
    ),
    "dispatch_controls": "id = NEW.id",
}
_IMMUTABLE = {"dispatch_executions": "the ledger of executions", "dispatch_controls": "the record of controls"}
_KEPT = "recommendations are not deleted: cancel them"


def triggers_sql(dialect: str) -> str:
    """Return the statements of one database. dialect : "sqlite" or "postgresql"."""
    return "\n".join(_sqlite() if dialect == "sqlite" else _postgres())


def _sqlite() -> list[str]:
    def trigger(name: str, event: str, table: str, *rules: tuple[str, str]) -> str:
        checks = "\n".join(
            f"  SELECT RAISE(ABORT, '{words}') WHERE {when.replace('IS DISTINCT FROM', 'IS NOT')};"
            for when, words in rules
        )
        return f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} BEGIN\n{checks}\nEND;"

    def replaced(table: str) -> tuple[str, str]:
        return f"EXISTS (SELECT 1 FROM {table} WHERE {_REPLACED[table]})", f"UNIQUE constraint failed: {table}, keys"

    # An UPDATE OR REPLACE would delete the row that has this id already.
    order = (
        (
            "NEW.client_order_id IS NOT NULL AND EXISTS (SELECT 1 FROM dispatch_recommendations"
            " WHERE client_order_id = NEW.client_order_id AND id <> OLD.id)"
        ),
        "UNIQUE constraint failed: client_order_id",
    )
    own = "dispatch_recommendations"
    return [
        trigger("insert", "INSERT", own, *_INSERTS, replaced(own)),
        trigger("update", "UPDATE", own, *_UPDATES, order),
        trigger("delete", "DELETE", own, ("1", _KEPT)),
        trigger("insert", "INSERT", "dispatch_executions", replaced("dispatch_executions"), _EXECUTION),
        trigger("insert", "INSERT", "dispatch_controls", replaced("dispatch_controls")),
        *(
            trigger(event.lower(), event, table, ("1", f"{what} is append-only"))
            for table, what in _IMMUTABLE.items()
            for event in ("UPDATE", "DELETE")
        ),
    ]


def _postgres() -> list[str]:
    def function(name: str, *rules: tuple[str, str], result: str = "NEW") -> str:
        checks = "\n".join(
            f"  IF {when} THEN RAISE EXCEPTION '{words}' USING ERRCODE = 'integrity_constraint_violation'; END IF;"
            for when, words in rules
        )
        head = f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        return f"{head}\n{checks}\n  RETURN {result};\nEND $$;"

    def trigger(table: str, name: str, event: str, function: str, each: str = "ROW") -> str:
        # ALWAYS: also where session_replication_role switches ordinary triggers off.
        return (
            f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}();\n"
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{name};"
        )

    own = "dispatch_recommendations"
    made = [
        function(f"{own}_insert", *_INSERTS),
        function(f"{own}_update", *_UPDATES),
        function(f"{own}_kept", ("TRUE", _KEPT), result="NULL"),
        function("dispatch_executions_insert", _EXECUTION),
        trigger(own, "insert", "INSERT", f"{own}_insert"),
        trigger(own, "update", "UPDATE", f"{own}_update"),
        trigger(own, "delete", "DELETE", f"{own}_kept"),
        trigger(own, "truncate", "TRUNCATE", f"{own}_kept", "STATEMENT"),
        trigger("dispatch_executions", "insert", "INSERT", "dispatch_executions_insert"),
    ]
    for table, what in _IMMUTABLE.items():
        made += [
            function(f"{table}_kept", ("TRUE", f"{what} is append-only"), result="NULL"),
            trigger(table, "change", "UPDATE OR DELETE", f"{table}_kept"),
            trigger(table, "truncate", "TRUNCATE", f"{table}_kept", "STATEMENT"),
        ]
    # Wakes the workers that listen; others poll.
    made.append(
        f"CREATE FUNCTION {own}_notify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
        f"  PERFORM pg_notify('{NOTIFY_CHANNEL}', '');\n  RETURN NULL;\nEND $$;\n"
        f"CREATE TRIGGER {own}_notify AFTER INSERT ON {own} FOR EACH STATEMENT EXECUTE FUNCTION {own}_notify();"
    )
    return made

"""The schema: numbered migrations, each in a transaction, and the state machine that the database enforces."""

from headrace.execution.schema.grants import grant, owner_warning
from headrace.execution.schema.migrating import MIGRATIONS, SchemaStatus, migrate, schema_problems, schema_status
from headrace.execution.schema.states import TRANSITIONS, RecommendationStatus

__all__ = [
    "MIGRATIONS",
    "TRANSITIONS",
    "RecommendationStatus",
    "SchemaStatus",
    "grant",
    "migrate",
    "owner_warning",
    "schema_problems",
    "schema_status",
]

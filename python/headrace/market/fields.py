"""The field table: the parameter names that a handler may declare.

The rows come from the native core, which also makes the values: binding, documentation and ``headrace fields`` read the
same table.

Guarantees: one row per name.
Does not: hold rows of kinds that are registered later in ``FIELDS``; call ``fields()`` for those.
"""

from __future__ import annotations

from typing import NamedTuple

import headrace._native as _native

__all__ = ["FIELDS", "Field", "fields"]


class Field(NamedTuple):
    """One row: name, Python type in singular handlers, dtype in plural ones (None: not there), unit, formula, kinds."""

    name: str
    singular: str | None
    plural: str | None
    unit: str
    formula: str
    kinds: tuple[str, ...]


def fields() -> tuple[Field, ...]:
    """Return every row, those of registered kinds included."""
    return tuple(
        Field(name, singular, plural, unit, formula, tuple(kinds))
        for name, singular, plural, unit, formula, kinds in _native.field_table()
    )


FIELDS = fields()
"""The rows of the built-in kinds."""
